"""A report as a page: sections of text, plots and tables, written as HTML that needs nothing else and as Markdown."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import resources

from jinja2 import Environment
from markupsafe import Markup
from matplotlib.figure import Figure

from fmnist_tune.escaping import as_code_block, as_html, as_markdown, in_table
from fmnist_tune.report.drawing import CSS_PX, DPI, P, png

TEMPLATE = "report.html.jinja"
PHONE_WIDTH = 46  # characters in a line of a table, the gaps between its columns aside


@dataclass(frozen=True)
class Fact:
    """A figure at the top of the page."""

    label: str
    value: str
    note: str = ""


@dataclass(frozen=True)
class Finding:
    """One thing that the report says unasked; a warning asks for attention. `code` is marked by backticks."""

    text: str
    is_warning: bool = False


@dataclass(frozen=True)
class Plot:
    """A figure.

    Attributes:
        file: the PNG's name.
        alt: what it shows.
        png: the file's content; empty if it could not be drawn.
        error: why it could not.
        is_photo: whether it is made of images, which a dark page shows as they are.
    """

    file: str
    alt: str
    png: bytes
    error: str = ""
    is_photo: bool = False

    @classmethod
    def of(cls, file: str, alt: str, draw: Callable[P, Figure], *arguments: P.args, **named: P.kwargs) -> Plot:
        """Draw a figure into a PNG; one that cannot be drawn costs the report no number."""
        try:
            return cls(file, alt, png(draw, *arguments, **named))
        except Exception as error:
            return cls(file, alt, b"", f"{type(error).__name__}: {error}")

    @property
    def width_px(self) -> int:
        """Its width on a page that is wide enough."""
        return round(int.from_bytes(self.png[16:20]) * CSS_PX / DPI)  # where a PNG has its width in pixels

    @property
    def data_uri(self) -> str:
        """The image as a text that a page can hold."""
        return "data:image/png;base64," + base64.b64encode(self.png).decode()


@dataclass(frozen=True)
class Table:
    """Rows of text; the first column names the row."""

    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    @property
    def is_wide(self) -> bool:
        """Whether a phone has no room for its columns side by side, with every space a place for a line break."""
        columns = zip(self.header, *self.rows, strict=True)
        return (
            sum(max(len(word) for cell in column for word in [*cell.split(), ""]) for column in columns) > PHONE_WIDTH
        )


@dataclass(frozen=True)
class Section:
    """A part of the page with a heading, in this order: text, plot, table, code."""

    title: str
    text: tuple[str, ...] = ()
    plot: Plot | None = None
    table: Table | None = None
    code: str | None = None


@dataclass(frozen=True)
class Part:
    """Sections that belong together."""

    title: str
    sections: tuple[Section, ...]


@dataclass(frozen=True)
class Content:
    """What one half of the report gives to the whole; `csv` by file name."""

    facts: tuple[Fact, ...]
    findings: tuple[Finding, ...]
    part: Part
    csv: Mapping[str, str]


@dataclass(frozen=True)
class Page:
    """A whole report."""

    title: str
    subtitle: str
    facts: tuple[Fact, ...]
    findings: tuple[Finding, ...]
    parts: tuple[Part, ...]

    @property
    def plots(self) -> list[Plot]:
        """Every figure of the page, drawn or not."""
        return [s.plot for part in self.parts for s in part.sections if s.plot is not None]


def to_html(page: Page) -> str:
    """Return a page as one HTML file with its images inside."""
    environment = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True)
    environment.filters["inline"] = lambda text: Markup(as_html(text))
    environment.filters["anchor"] = _anchor
    text = resources.files(__package__).joinpath(TEMPLATE).read_text(encoding="utf-8")
    return environment.from_string(text).render(page=page)


def to_markdown(page: Page) -> str:
    """Return a page as Markdown that names its images as files beside it."""
    blocks = [f"# {as_markdown(page.title)}", as_markdown(page.subtitle)]
    facts = tuple((f.label, f"{f.value} ({f.note})" if f.note else f.value) for f in page.facts)
    blocks.append(_markdown_table(Table(("", ""), facts)))
    blocks.append("\n".join(f"- {'**Note:** ' if f.is_warning else ''}{as_markdown(f.text)}" for f in page.findings))
    for part in page.parts:
        blocks.append(f"## {as_markdown(part.title)}")
        for section in part.sections:
            blocks.append(f"### {as_markdown(section.title)}")
            blocks += map(as_markdown, section.text)
            if section.plot is not None and section.plot.error:
                blocks.append(as_markdown(f"The plot could not be drawn: {section.plot.error}"))
            elif section.plot is not None:
                blocks.append(f"![{as_markdown(section.plot.alt)}]({section.plot.file})")
            if section.table is not None:
                blocks.append(_markdown_table(section.table))
            if section.code is not None:
                blocks.append(as_code_block(section.code))
    return "\n\n".join(blocks) + "\n"


def _markdown_table(table: Table) -> str:
    rule = ("---",) + ("---:",) * (len(table.header) - 1)
    rows = [tuple(in_table(as_markdown(cell)) for cell in line) for line in (table.header, *table.rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in (rows[0], rule, *rows[1:]))


def _anchor(title: str) -> str:
    return re.sub(r"\W+", "-", title.lower()).strip("-")
