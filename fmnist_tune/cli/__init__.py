"""The command line: arguments in, exit codes out."""

from __future__ import annotations

import argparse
import importlib
import os
import sys
import time

from fmnist_tune.cli.arguments import parse_arguments
from fmnist_tune.cli.streams import OutputError, discard_output, standard_streams
from fmnist_tune.errors import UserError, file_problem
from fmnist_tune.escaping import printable
from fmnist_tune.search.signals import sigterm_as_ctrl_c

EXIT_OK, EXIT_USER, EXIT_INTERRUPTED = 0, 2, 130  # 1, for a bug of ours, is Python's own


def main(argv: list[str] | None = None) -> int:
    """Run a command; return the exit code."""
    started = time.monotonic()
    storage: str | None = None
    with standard_streams():
        try:
            try:
                arguments = parse_arguments(argv)
                storage = arguments.storage
                return _run(arguments, started)
            finally:
                sys.stdout.flush()
        except KeyboardInterrupt:
            say("interrupted")
            return EXIT_INTERRUPTED
        except BrokenPipeError:  # `fmnist-tune show cnn | head`
            discard_output()
            return EXIT_OK
        except Exception as error:
            reason = _reason(error)
            if reason is None:
                raise
            if isinstance(error, OutputError):
                discard_output()
            say(_masked(reason, storage))
            return EXIT_USER


def _run(arguments: argparse.Namespace, started: float) -> int:
    if arguments.plain:
        os.environ["TTY_COMPATIBLE"] = "0"  # makes rich treat no stream as a terminal
    with sigterm_as_ctrl_c():
        module = importlib.import_module(f"fmnist_tune.cli.{arguments.module}")
        return int(getattr(module, arguments.command)(arguments, started))


def _reason(error: Exception) -> str | None:
    """Return the message of an error that a user can fix; None for a bug of ours."""
    if isinstance(error, UserError):
        return str(error)
    if isinstance(error, ImportError) and not (error.name or "").startswith("fmnist_tune"):
        return f"a library cannot be imported: {error}; install fmnist-tune and what it needs anew"
    if isinstance(error, OSError) and (problem := file_problem(error)) is not None:
        return problem
    from fmnist_tune.registry import blame  # imports pydantic
    from fmnist_tune.study.database import database_problem  # imports SQLAlchemy

    return blame(error) or database_problem(error)


def _masked(text: str, storage: str | None) -> str:
    """Return a message without the secrets of a database's URL."""
    if storage is None and "://" not in text:
        return text
    from fmnist_tune.study.url import mask  # imports SQLAlchemy

    return mask(text, storage)


def say(text: str) -> None:
    """Print a message on stderr, apart from the command's result."""
    print(f"fmnist-tune: {printable(text)}", file=sys.stderr)
