"""The command line: arguments in, exit codes out."""

from __future__ import annotations

import argparse
import importlib
import os
import sys
import time

from fmnist_tune.cli.arguments import parse_arguments
from fmnist_tune.errors import UserError
from fmnist_tune.escaping import printable
from fmnist_tune.search.signals import sigterm_as_ctrl_c

EXIT_OK, EXIT_USER, EXIT_INTERRUPTED = 0, 2, 130  # 1, a bug of ours, is Python's own


def main(argv: list[str] | None = None) -> int:
    """Run a command; returns the exit code."""
    started = time.monotonic()
    arguments = parse_arguments(argv)
    if arguments.plain:
        os.environ["TTY_COMPATIBLE"] = "0"  # by which rich takes nothing for a terminal
    try:
        with sigterm_as_ctrl_c():
            module = importlib.import_module(f"fmnist_tune.cli.{arguments.module}")
            code = int(getattr(module, arguments.command)(arguments, started))
            sys.stdout.flush()
            return code
    except UserError as error:
        say(_masked(str(error), arguments))
        return EXIT_USER
    except BrokenPipeError:  # `fmnist-tune show cnn | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or Python complains when it ends
        return EXIT_OK
    except KeyboardInterrupt:
        say("interrupted")
        return EXIT_INTERRUPTED
    except Exception as error:
        reason = _database_trouble(error)
        if reason is None:
            raise
        say(_masked(reason, arguments))
        return EXIT_USER


def _masked(text: str, arguments: argparse.Namespace) -> str:
    """Return a message without the secrets of a database's URL."""
    storage = getattr(arguments, "storage", None)
    if storage is None and "://" not in text:
        return text
    from fmnist_tune.study.url import mask  # imports SQLAlchemy

    return mask(text, storage)


def _database_trouble(error: Exception) -> str | None:
    """Return what is wrong with the database, such as a server that went away; None if an error is something else."""
    if "sqlalchemy" not in sys.modules:
        return None
    from fmnist_tune.study.database import database_trouble

    return database_trouble(error)


def say(text: str) -> None:
    """Print what there is to say beside a command's result, on stderr."""
    print(f"fmnist-tune: {printable(text)}", file=sys.stderr)
