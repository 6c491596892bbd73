"""Columns of text on a terminal; what does not fit its width is cut, never folded."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderResult
from rich.text import Text

from fmnist_tune.escaping import printable

GAP = 2
LEAST_CUT = 12  # cells; a text that would be cut to less is left out


@dataclass(frozen=True)
class Column:
    """A titled column.

    Attributes:
        cells: from the top row to the bottom one.
        is_right: whether the cells stand at the right, as numbers do.
        most: its greatest width in terminal cells; None for as wide as its content.
    """

    title: str
    cells: Sequence[Text | str]
    is_right: bool = False
    most: int | None = field(default=None, kw_only=True)

    @cached_property
    def width(self) -> int:
        """Its width in terminal cells."""
        width = max(cell_len(str(text)) for text in (self.title, *self.cells))
        return width if self.most is None else max(cell_len(self.title), min(width, self.most))


def total_width(columns: Iterable[Column]) -> int:
    """Return how many terminal cells columns take beside each other."""
    widths = [column.width for column in columns]
    return sum(widths) + GAP * max(0, len(widths) - 1)


def table_lines(
    columns: Sequence[Column], *, styles: Sequence[str] = (), tails: Mapping[int, tuple[int, Text, int]] | None = None
) -> Iterator[Text]:
    """Yield a header and a line for each row, without spaces at the end.

    Args:
        columns: at least one, all with as many cells.
        styles: of the rows; none by default.
        tails: rows that end otherwise: from which column on, with what text, cut to which width.
    """
    tails = tails or {}
    yield _line([(Text(column.title, style="bold"), column) for column in columns])
    for row in range(len(columns[0].cells)):
        n_kept, tail, room = tails.get(row, (len(columns), None, 0))
        cells = [(_text(column.cells[row]), column) for column in columns[:n_kept]]
        line = _line(cells, is_end=tail is None)
        if tail is not None and room >= LEAST_CUT:
            line.append_text(_cut(tail, room))
        line.rstrip()
        line.style = styles[row] if styles else ""
        yield line


@dataclass(frozen=True)
class NamedTable:
    """A table of things with names that are never cut; to be printed with `crop=False`.

    Attributes:
        names: of the rows.
        tiers: columns after the name, from the most of them to the fewest; the first that fit are shown.
        facts: of each row in words, shown below its name where the width has no room for any tier.
        title: of the names.
    """

    names: Sequence[str]
    tiers: Sequence[Sequence[Column]]
    facts: Sequence[str]
    title: str = "study"

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Yield its lines."""
        for columns in self.tiers:
            table = [Column(self.title, self.names), *columns]
            if total_width(table) <= options.max_width:
                yield from table_lines(table)
                return
        for name, fact in zip(self.names, self.facts, strict=True):
            yield Text(name, style="bold", no_wrap=True, overflow="ignore")
            for line in Text(fact).wrap(console, max(1, options.max_width - GAP)):
                line.rstrip()
                yield Text(" " * GAP).append_text(line)


@dataclass(frozen=True)
class FittingTable:
    """The first of several choices of columns that fits, or the last one.

    Attributes:
        tiers: from the most columns to the fewest.
        indent: cells to the left of each line.
    """

    tiers: Sequence[Sequence[Column]]
    indent: int = GAP

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Yield its lines."""
        room = options.max_width - self.indent
        columns = next((tier for tier in self.tiers if total_width(tier) <= room), self.tiers[-1])
        for line in table_lines(columns):
            yield Text(" " * self.indent, no_wrap=True, overflow="ignore").append_text(line)


def one_line(text: object) -> str:
    """Return a text on one line, without control characters."""
    return " ".join(printable(str(text)).split())


def _line(cells: Sequence[tuple[Text, Column]], *, is_end: bool = True) -> Text:
    line = Text(no_wrap=True, overflow="ignore")
    for text, column in cells:
        text = _cut(text, column.width)
        padding = " " * (column.width - text.cell_len)
        line.append(padding if column.is_right else "").append_text(text)
        line.append("" if column.is_right else padding).append(" " * GAP)
    if is_end:
        line.rstrip()
    return line


def _text(cell: Text | str) -> Text:
    return Text(cell) if isinstance(cell, str) else cell


def _cut(text: Text, width: int) -> Text:
    text = text.copy()
    text.truncate(width, overflow="ellipsis")
    return text
