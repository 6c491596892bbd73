"""What the commands share: the studies that their options name, and standard output."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment

from fmnist_tune.escaping import printable
from fmnist_tune.study.database import database_url, open_database
from fmnist_tune.study.layout import StudyPaths
from fmnist_tune.study.record import StudyRecord

PIPE_WIDTH = 200


def load_record(arguments: argparse.Namespace) -> StudyRecord:
    """Open the study that a command names.

    Raises:
        UserError: there is no such database or study.
    """
    storage = open_database(storage_url(arguments), create=False)
    return StudyRecord.load(storage, StudyPaths(arguments.studies_dir, arguments.study, arguments.storage))


def storage_url(arguments: argparse.Namespace) -> str:
    """Return the URL of the database that a command works on."""
    return str(arguments.storage or database_url(arguments.studies_dir))


class _PlainConsole(Console):
    """A console for which text is text: it knows no markup, and what would control a terminal is left out."""

    def __init__(self, *, stderr: bool = False, width: int | None = None) -> None:
        super().__init__(stderr=stderr, width=width, markup=False, emoji=False, highlight=False)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterator[Segment]:
        """Render without control characters in the text."""
        for segment in super().render(renderable, options):
            yield segment if segment.control else Segment(printable(segment.text), segment.style)


class _Results(_PlainConsole):
    """A console whose reader may go away, which is no mistake; rich would end the program with code 1."""

    def on_broken_pipe(self) -> None:
        raise BrokenPipeError


class _Progress(_PlainConsole):
    """A console whose reader may go away, which is no reason to stop training."""

    def on_broken_pipe(self) -> None:
        self.quiet = True
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())


def stderr(arguments: argparse.Namespace) -> Console:
    """Return a console for progress."""
    console = _Progress(stderr=True)
    console.quiet = arguments.quiet
    console.is_interactive &= sys.stderr.isatty() and not _is_in_notebook()
    return console


def _is_in_notebook() -> bool:
    """Tell whether a notebook's cell runs the command: what looks like a terminal there cannot move its cursor back.

    A kernel has Jupyter's process in its environment, or at least what ipykernel puts there for `!command`.
    """
    is_ipykernel = os.environ.get("TERM") == "xterm-color" and os.environ.get("GIT_PAGER") == "cat"
    return "JPY_PARENT_PID" in os.environ or is_ipykernel


def stdout() -> Console:
    """Return a console for results; what is piped is wide enough not to be cut."""
    return _Results(width=None if sys.stdout.isatty() else PIPE_WIDTH)
