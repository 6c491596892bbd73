"""Parsing the command line, with messages about mistakes."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Mapping, Sequence
from importlib.metadata import version

from fmnist_tune.cli.parser import build_parser
from fmnist_tune.errors import did_you_mean

_OPTION = re.compile(r"(?<![\w-])--?[a-z][a-z-]*")  # in a usage
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")  # argparse uses colour from Python 3.14 on
_NUMBER = re.compile(r"-[0-9.]")


def parse_arguments(words: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse a command line; the namespace has the command's `module` and `command`.

    Args:
        words: without the program's name; the process's own by default.

    Raises:
        SystemExit: code 0 after `--help` and `--version`; 2 for a mistake, after the command's usage and a message.
    """
    words = sys.argv[1:] if words is None else words
    parser, commands = build_parser()
    if not words:
        parser.print_help(sys.stderr)
        parser.exit(2)
    _check_command(words, parser, commands)
    if words[0] == "--version":
        print(f"fmnist-tune {version('fmnist-tune')}")
        parser.exit()
    if words[0] not in commands:
        return parser.parse_args(words)
    command = commands[words[0]]
    _check_options(words[1:], command)
    arguments, unknown = parser.parse_known_args(words)
    if unknown:
        command.error(f"too many arguments: {' '.join(unknown)}")
    return arguments


def _check_command(
    words: Sequence[str], parser: argparse.ArgumentParser, commands: Mapping[str, argparse.ArgumentParser]
) -> None:
    """Refuse a first word that is neither a command nor an option of the program."""
    word, own = words[0], _options(parser)
    if word in commands or word in own:
        return
    meant = did_you_mean(word, [*commands, *own])
    if not word.startswith("-"):
        parser.error(f"unknown command {word!r}; commands are {', '.join(commands)}{meant}")
    if any(word.partition("=")[0] in _options(command) for command in commands.values()):
        name = next((w for w in words if w in commands), "COMMAND")
        meant = f"; an option stands after its command: fmnist-tune {name} ... {word}"
    parser.error(f"unknown option {word}{meant}")


def _check_options(words: Sequence[str], command: argparse.ArgumentParser) -> None:
    """Refuse an option unknown to the command: argparse would first misread its value."""
    known = _options(command)
    for word in words:
        if word == "--":
            return
        option = word.partition("=")[0]
        if word.startswith("-") and word != "-" and " " not in word and not _NUMBER.match(word) and option not in known:
            command.error(f"unknown option {option}{did_you_mean(option, known)}")


def _options(parser: argparse.ArgumentParser) -> list[str]:
    return ["-h", "--help", *_OPTION.findall(_COLOUR.sub("", parser.format_usage()))]
