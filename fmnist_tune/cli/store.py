"""Shared by the commands: opening the studies of their options, and output."""

from __future__ import annotations

import argparse
import errno
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment

from fmnist_tune.cli import say
from fmnist_tune.errors import UserError
from fmnist_tune.escaping import printable
from fmnist_tune.study.database import database_url, open_database
from fmnist_tune.study.layout import StudyPaths, check_folder
from fmnist_tune.study.record import StudyRecord

TERMINAL_WIDTH, PIPE_WIDTH, LEAST_WIDTH = 80, 200, 40


def load_record(arguments: argparse.Namespace, study: str | None = None) -> StudyRecord:
    """Open a study, by default the command's, and complete an unfinished renaming.

    Raises:
        UserError: there is no such database or study.
    """
    storage = open_database(storage_url(arguments), create=False)
    record = StudyRecord.load(storage, study_paths(arguments, study))
    if record.former_name is not None and not record.is_running:
        from fmnist_tune.retrain.renaming import finish_renaming  # heavy, and unused by most commands

        text = f"study {record.paths.name} was {record.former_name} before; its files have the new name now"
        finish_renaming(record)
        say(text)
    return record


def study_paths(arguments: argparse.Namespace, study: str | None = None) -> StudyPaths:
    """Return the paths of a study, by default the command's."""
    return StudyPaths(arguments.studies_dir, study or arguments.study, arguments.storage)


def plot_path(output: Path | None, default: Path) -> Path:
    """Return the path of a plot.

    Args:
        output: from `--output`.
        default: the path without it.

    Raises:
        UserError: it cannot be written there, or its name is not a PNG file's.
    """
    path = output or default
    if path.is_dir():
        if output is None:
            raise UserError(f"{path}: a directory, where the plot would go; --output FILE.png puts it elsewhere")
        raise UserError(f"--output {path}: a directory; name a PNG file, such as {path / default.name}")
    if path.suffix.lower() != ".png":
        raise UserError(f"--output {path}: the plot is a PNG file; its name has to end in .png")
    check_folder(path.parent)
    check_writable(path)
    return path


def check_writable(file: Path) -> None:
    """Raise a UserError for a file that is there already and cannot be written."""
    if file.exists() and not os.access(file, os.W_OK):
        raise UserError(f"{file}: cannot be written: {os.strerror(errno.EACCES)}")


def storage_url(arguments: argparse.Namespace) -> str:
    """Return the URL of a command's database."""
    return str(arguments.storage or database_url(arguments.studies_dir))


class _PlainConsole(Console):
    """A console for plain text: without markup, and without control characters."""

    def __init__(self, *, stderr: bool = False, width: int | None = None) -> None:
        super().__init__(stderr=stderr, width=width, markup=False, emoji=False, highlight=False)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterator[Segment]:
        """Render without control characters in the text."""
        for segment in super().render(renderable, options):
            yield segment if segment.control else Segment(printable(segment.text), segment.style)


class _Results(_PlainConsole):
    """A console whose reader may go away, which is no error; rich would exit with code 1."""

    def on_broken_pipe(self) -> None:
        raise BrokenPipeError


def stderr(arguments: argparse.Namespace) -> Console:
    """Return a console for progress."""
    console = _PlainConsole(stderr=True)
    console.quiet = arguments.quiet
    console.is_interactive &= sys.stderr.isatty() and not _is_in_notebook()
    return console


def _is_in_notebook() -> bool:
    """Return whether a notebook's cell runs the command: its apparent terminal cannot move the cursor back.

    A kernel's environment has Jupyter's process, or at least the variables that ipykernel sets for `!command`.
    """
    is_ipykernel = os.environ.get("TERM") == "xterm-color" and os.environ.get("GIT_PAGER") == "cat"
    return "JPY_PARENT_PID" in os.environ or is_ipykernel


def stdout() -> Console:
    """Return a console for results."""
    return _Results(width=_width())


def _width() -> int:
    """Return the width of results: $COLUMNS, or the terminal's, or else PIPE_WIDTH."""
    columns = os.environ.get("COLUMNS", "")
    if columns.isdecimal() and int(columns) > 0:
        return max(LEAST_WIDTH, int(columns))
    return shutil.get_terminal_size((TERMINAL_WIDTH, 24)).columns if sys.stdout.isatty() else PIPE_WIDTH
