"""Progress on the screen: a live view on a terminal; elsewhere lines and a regular status."""

from __future__ import annotations

import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from rich.console import Console, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from fmnist_tune.search.progress import EpochProgress
from fmnist_tune.units import clock, percent

REFRESH_PER_S = 2
STATUS_EVERY_S = 20.0
BAR_FROM_WIDTH, BAR_WIDTH = 80, 12


class Screen(ABC):
    """Permanent lines and, as a context manager, the current state.

    On a terminal with a movable cursor, the state is a view below the lines, redrawn twice a second. Elsewhere (a pipe,
    a file, a notebook, TERM=dumb, --plain) it is a status line every 20 seconds.
    """

    def __init__(self, console: Console, started: float, status_every_s: float = STATUS_EVERY_S) -> None:
        """Make a screen.

        Args:
            console: writes to stderr.
            started: time.monotonic() at the start of the command.
            status_every_s: seconds between status lines without a view.
        """
        self._console = console
        self._started = started
        self._status_every_s = status_every_s
        self._live: Live | None = None
        self._ended = threading.Event()
        self._ticker = threading.Thread(target=self._tick, daemon=True)

    @abstractmethod
    def view(self, width: int) -> RenderableType:
        """Return the current state, `width` columns wide."""

    @abstractmethod
    def status(self) -> str:
        """Return the current state on one line."""

    @property
    def _is_live(self) -> bool:
        return self._console.is_interactive and not self._console.quiet

    @property
    def elapsed_s(self) -> float:
        """Seconds since the start of the command."""
        return time.monotonic() - self._started

    def __enter__(self) -> Self:
        console = self._console
        if self._is_live:
            self._live = Live(
                console=console,
                get_renderable=lambda: self.view(console.width),
                refresh_per_second=REFRESH_PER_S,
                transient=True,
            )
            self._live.start()
        elif not self._console.quiet:
            self._ticker.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        if self._live is not None:
            self._live.stop()
        if self._ticker.is_alive():
            self._ticker.join()

    def line(self, text: str, style: str = "dim") -> None:
        """Print a permanent line; on a terminal, a long one continues indented below its own text."""
        self._print(text, style)

    def _print(self, text: str, style: str = "dim") -> None:
        time_of_it = Text(f"[{clock(self.elapsed_s)}]", style=style)
        if not self._is_live:
            self._console.print(time_of_it, Text(text, style=style), soft_wrap=True)
            return
        table = Table.grid(padding=(0, 1, 0, 0))
        table.add_row(time_of_it, Text(text, style=style, overflow="fold"))
        self._console.print(table)

    def _tick(self) -> None:
        while not self._ended.wait(self._status_every_s):
            with suppress(OSError):  # the reader is gone or the disk is full: no reason to stop training
                self._print(self.status())


class Work(Screen):
    """A single piece of work: its name and the share that is done."""

    def __init__(self, console: Console, started: float) -> None:
        """Make one; arguments as for `Screen`."""
        super().__init__(console, started)
        self._text, self._share = "getting ready", 0.0

    def phase(self, text: str) -> None:
        """Print a permanent line about what starts."""
        self._text, self._share = text.strip(), 0.0
        self.line(text)

    def step(self, text: str, share: float) -> None:
        """Update the progress, 0 to 1."""
        self._text, self._share = text, share

    def status(self) -> str:
        """Return the current state on one line."""
        return f"{self._text} ..."

    def view(self, width: int) -> RenderableType:
        """Return the current state, `width` columns wide."""
        return headline(self._text, self._share, f"{clock(self.elapsed_s)} elapsed", width)


@dataclass(frozen=True)
class Row:
    """A training under way.

    Attributes:
        name: of the training, or the number of its trial.
        epochs: ended.
        n_epochs: in total.
        progress: within the next epoch; None if its worker has reported none.
        accuracy: the latest, as text; empty before the first evaluation.
        state: shown without progress, such as `starting`.
        note: additional text.
    """

    name: str
    epochs: int
    n_epochs: int
    progress: EpochProgress | None
    accuracy: str
    state: str
    note: str = ""

    @property
    def done(self) -> str:
        """Epochs ended of all."""
        return f"{self.epochs}/{self.n_epochs}"

    @property
    def doing(self) -> str:
        """Progress within the next epoch."""
        if self.progress is None:
            return self.state
        return f"epoch {self.progress.epoch}, {percent(self.progress.share, 0)}"

    @property
    def text(self) -> str:
        """The whole row on one line."""
        known = f" at {self.accuracy}" if self.accuracy else ""
        return f"{self.name}: {self.done} epochs{known}{f', {self.doing}' if self.doing else ''}"


def rows_table(rows: Sequence[Row], width: int, *, names: str, accuracy: str, notes: str) -> Table:
    """Return trainings as a table, `width` columns wide, without wrapping.

    Args:
        rows: one for each training.
        width: of the terminal.
        names, accuracy, notes: headers of these columns; without notes, that column is left out.
    """
    has_bar = width >= BAR_FROM_WIDTH
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim", expand=True)
    for header in (names, "epochs", "under way", *([""] if has_bar else []), accuracy):
        table.add_column(header, no_wrap=True, min_width=15 if header == "under way" else len(header))
    table.add_column(notes, no_wrap=True, overflow="ellipsis", ratio=1)
    for row in rows:
        share = 0.0 if row.progress is None else row.progress.share
        table.add_row(
            row.name,
            row.done,
            row.doing,
            *([ProgressBar(total=1, completed=share, width=BAR_WIDTH)] if has_bar else []),
            row.accuracy or "-",
            Text(row.note, style="dim"),
        )
    return table


def headline(name: str, share: float, time_text: str, width: int) -> Table:
    """Return a line, `width` columns wide: a name, a progress bar and the time."""
    head = Table.grid(padding=(0, 2, 0, 0), expand=True)
    head.add_column(no_wrap=True, overflow="ellipsis", max_width=max(8, width - len(time_text) - 14))
    head.add_column(ratio=1)
    head.add_column(no_wrap=True, overflow="ellipsis")
    head.add_row(Text(name, style="bold cyan"), ProgressBar(total=1, completed=share), Text(time_text, style="dim"))
    return head


def packed(parts: Iterable[str], separator: str, width: int) -> str:
    """Return parts joined into as few lines of `width` columns as possible; a part is never broken."""
    lines: list[str] = []
    for part in parts:
        longer = f"{lines[-1]}{separator}{part}" if lines else part
        if lines and len(longer) > width:
            lines[-1] += separator.rstrip()
            lines.append(part)
        else:
            lines[-1:] = [longer]
    return "\n".join(lines)
