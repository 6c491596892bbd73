"""A document on a terminal; table content that does not fit is left out or cut, never wrapped."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderResult
from rich.text import Text

from fmnist_tune.document.blocks import Block, Code, Fact, Finding, Note, Plot, Section, Table
from fmnist_tune.escaping import printable

GAP = 2
LEAST_CUT = 12  # cells; a text that would be cut shorter is left out


@dataclass(frozen=True)
class View:
    """A document, a section or a table for a terminal, to be printed with `crop=False`.

    A section's first paragraph is beside its title, the other blocks below it. Commands are not wrapped, so that they
    can be copied.
    """

    block: Block
    indent: int = 0

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Yield its lines."""
        block, room = self.block, max(1, options.max_width - self.indent)
        if isinstance(block, Section):
            blocks = list(block.blocks)
            first = f" {blocks.pop(0)}" if blocks and isinstance(blocks[0], str) else ""
            style = "bold green" if first and self.indent else "bold"
            yield from _wrapped(Text(f"{block.title}:{first}", style=style), options.max_width, console)
            yield from (View(part, GAP) for part in blocks)
        elif isinstance(block, Table):
            yield from self._indented(_table(block, room, console))
        elif isinstance(block, Code):
            lines = block.text.splitlines()
            yield from self._indented(Text(line, no_wrap=True, overflow="ignore") for line in lines)
        elif not isinstance(block, Plot):
            yield from self._indented(_wrapped(_text(block), room, console))

    def _indented(self, lines: Iterable[Text]) -> Iterator[Text]:
        for line in lines:
            yield Text(" " * self.indent, no_wrap=True, overflow="ignore").append_text(line)


def _plain(cell: str) -> str:
    """Return a cell that is code as a whole without its backticks."""
    return cell[1:-1] if len(cell) > 2 and cell[0] == cell[-1] == "`" and "`" not in cell[1:-1] else cell


def _text(block: str | Note | Fact | Finding) -> Text:
    if isinstance(block, Fact):
        return Text(f"{block.label}: {block.value} {block.note}")
    if isinstance(block, Finding):
        return Text(block.text, style="yellow" if block.is_warning else "")
    return Text(block.text, style="dim") if isinstance(block, Note) else Text(block)


def _wrapped(text: Text, width: int, console: Console) -> Iterator[Text]:
    for line in text.wrap(console, width):
        line.rstrip()
        yield line


def _table(table: Table, width: int, console: Console) -> Iterator[Text]:
    """Yield a table's lines: with all columns, without optional ones, or with each row's cells below its name."""
    left = (table.header[0], *table.left)
    columns = [
        Column(title, [_plain(one_line(cell)) for cell in cells], is_right=title not in left)
        for title, cells in zip(table.header, table.columns, strict=True)
    ]
    for titles in ((), *table.optional):
        columns = [column for column in columns if column.title not in titles]
        if total_width(columns) <= width:
            yield from table_lines(columns)
            return
    for name, *cells in table.rows:
        yield Text(name, style="bold", no_wrap=True, overflow="ignore")
        named = zip(table.header[1:], cells, strict=True)
        facts = ", ".join(f"{title} {cell}" for title, cell in named if cell)
        for line in _wrapped(Text(facts), max(1, width - GAP), console):
            yield Text(" " * GAP).append_text(line)


@dataclass(frozen=True)
class Column:
    """A titled column.

    Attributes:
        cells: from the top row to the bottom one.
        is_right: whether the cells are right-aligned, as numbers are.
        most: its maximum width in terminal cells; None for the width of its content.
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
    """Return the width of columns side by side in terminal cells."""
    widths = [column.width for column in columns]
    return sum(widths) + GAP * max(0, len(widths) - 1)


def table_lines(
    columns: Sequence[Column], *, styles: Sequence[str] = (), tails: Mapping[int, tuple[int, Text, int]] | None = None
) -> Iterator[Text]:
    """Yield a header and a line for each row, without trailing spaces.

    Args:
        columns: at least one, all with the same number of cells.
        styles: of the rows; none by default.
        tails: by row, a different ending: the column it starts at, its text, and its maximum width.
    """
    yield _line([(Text(column.title, style="bold"), column) for column in columns])
    for row in range(len(columns[0].cells)):
        n_kept, tail, room = (tails or {}).get(row, (len(columns), None, 0))
        kept = columns[:n_kept]
        cells = (column.cells[row] for column in kept)
        line = _line([(Text(c) if isinstance(c, str) else c, column) for c, column in zip(cells, kept, strict=True)])
        if tail is not None and room >= LEAST_CUT:
            line.append(" " * (total_width(kept) + GAP - line.cell_len)).append_text(_cut(tail, room))
        line.style = styles[row] if styles else ""
        yield line


def one_line(text: object) -> str:
    """Return a text on one line, without control characters."""
    return " ".join(printable(str(text)).split())


def _line(cells: Iterable[tuple[Text, Column]]) -> Text:
    line = Text(no_wrap=True, overflow="ignore")
    for text, column in cells:
        text = _cut(text, column.width)
        padding = " " * (column.width - text.cell_len)
        line.append(padding if column.is_right else "").append_text(text)
        line.append("" if column.is_right else padding).append(" " * GAP)
    line.rstrip()
    return line


def _cut(text: Text, width: int) -> Text:
    text = text.copy()
    text.truncate(width, overflow="ellipsis")
    return text
