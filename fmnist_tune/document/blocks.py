"""A document: sections of text, findings, tables, plots and code, all in plain text.

Renderers escape the text, and add capitals and full stops: a terminal shows a text as it is, a page as a sentence. Text
between two backticks is code.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

PHONE_WIDTH = 46  # characters in a line of a table, without the gaps between its columns
PNG_SCALE = 180 / 130  # PNG pixels per pixel of a wide page


@dataclass(frozen=True)
class Note:
    """A less prominent text."""

    text: str


@dataclass(frozen=True)
class Fact:
    """A key figure at the top of a page."""

    label: str
    value: str
    note: str = ""


@dataclass(frozen=True)
class Finding:
    """A list item; a warning is highlighted."""

    text: str
    is_warning: bool = False


@dataclass(frozen=True)
class Plot:
    """A figure.

    Attributes:
        file: the PNG's name, or its URL.
        alt: what it shows.
        png: the file's content; empty if it could not be drawn, or is stored elsewhere.
        error: why it could not be drawn.
        is_photo: whether it consists of images, which a dark page must not invert.
    """

    file: str
    alt: str
    png: bytes = b""
    error: str = ""
    is_photo: bool = False

    @property
    def width_px(self) -> int:
        """Its width on a sufficiently wide page."""
        return round(int.from_bytes(self.png[16:20]) / PNG_SCALE)  # a PNG's width in pixels

    @property
    def data_uri(self) -> str:
        """The image as a data URI."""
        return "data:image/png;base64," + base64.b64encode(self.png).decode()


@dataclass(frozen=True)
class Table:
    """Rows of text; the first column names the row.

    Attributes:
        left: titles of the left-aligned columns besides the first; others are right-aligned, as numbers are.
        optional: titles of columns that a narrow terminal leaves out, group by group.
    """

    header: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]
    left: tuple[str, ...] = ()
    optional: tuple[tuple[str, ...], ...] = ()

    @property
    def columns(self) -> list[tuple[str, ...]]:
        """The cells of each column."""
        return list(zip(*self.rows, strict=True)) if self.rows else [()] * len(self.header)

    @property
    def is_wide(self) -> bool:
        """Whether it is too wide for a phone, even with a line break at every space."""
        columns = zip(self.header, *self.rows, strict=True)
        return (
            sum(max(len(word) for cell in column for word in [*cell.split(), ""]) for column in columns) > PHONE_WIDTH
        )


@dataclass(frozen=True)
class Code:
    """Lines of code, or commands, which are never wrapped."""

    text: str
    language: str = ""


@dataclass(frozen=True)
class Section:
    """Blocks under a heading; the outermost section is the document."""

    title: str
    blocks: Sequence[Block]

    @property
    def sections(self) -> list[Section]:
        """The subsections."""
        return [block for block in self.blocks if isinstance(block, Section)]

    @property
    def plots(self) -> list[Plot]:
        """Every plot, drawn or not."""
        own = [block for block in self.blocks if isinstance(block, Plot)]
        return [*own, *(plot for section in self.sections for plot in section.plots)]

    def grouped(self) -> Iterator[tuple[str, list[Any]]]:
        """Yield runs of blocks of one type, with the type's name, `str` for paragraphs."""
        for kind, blocks in groupby(self.blocks, type):
            yield kind.__name__, list(blocks)


Block = str | Note | Fact | Finding | Plot | Table | Code | Section


@dataclass(frozen=True)
class Content:
    """The content of one half of a report; `csv` by file name."""

    facts: tuple[Fact, ...]
    findings: tuple[Finding, ...]
    section: Section
    csv: Mapping[str, str]


def sentence(text: str) -> str:
    """Return a text with a capital letter and a full stop."""
    return capital(text) + ("" if not text or text[-1] in ".:!?" else ".")


def capital(text: str) -> str:
    """Return a text with a capital letter at the start."""
    return text[:1].upper() + text[1:]


def clipped(text: str, length: int) -> str:
    """Return text cut to at most `length` characters."""
    return text if len(text) <= length else text[: length - 1] + "…"
