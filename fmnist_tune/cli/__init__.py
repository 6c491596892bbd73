"""The command line: arguments in, exit codes out."""

from __future__ import annotations

import importlib
import os
import sys
import time

from fmnist_tune.cli.arguments import parse_arguments
from fmnist_tune.cli.streams import OutputError, discard_output, standard_streams
from fmnist_tune.errors import UserError, file_trouble
from fmnist_tune.escaping import printable
from fmnist_tune.search.signals import sigterm_as_ctrl_c

EXIT_OK, EXIT_USER, EXIT_INTERRUPTED = 0, 2, 130  # 1, a bug of ours, is Python's own


def main(argv: list[str] | None = None) -> int:
    """Run a command; returns the exit code."""
    started = time.monotonic()
    with standard_streams():
        try:
            try:
                return _run(argv, started)
            finally:
                sys.stdout.flush()
        except UserError as error:
            if isinstance(error, OutputError):
                discard_output()
            say(str(error))
            return EXIT_USER
        except ImportError as error:
            if (error.name or "").startswith("fmnist_tune"):
                raise
            say(f"a library cannot be imported: {error}; install fmnist-tune and what it needs anew")
            return EXIT_USER
        except BrokenPipeError:  # `fmnist-tune show cnn | head`
            discard_output()
            return EXIT_OK
        except OSError as error:
            reason = file_trouble(error)
            if reason is None:
                raise
            say(reason)
            return EXIT_USER
        except KeyboardInterrupt:
            say("interrupted")
            return EXIT_INTERRUPTED


def _run(argv: list[str] | None, started: float) -> int:
    arguments = parse_arguments(argv)
    if arguments.plain:
        os.environ["TTY_COMPATIBLE"] = "0"  # by which rich takes nothing for a terminal
    with sigterm_as_ctrl_c():
        module = importlib.import_module(f"fmnist_tune.cli.{arguments.module}")
        return int(getattr(module, arguments.command)(arguments, started))


def say(text: str) -> None:
    """Print what there is to say beside a command's result, on stderr."""
    print(f"fmnist-tune: {printable(text)}", file=sys.stderr)
