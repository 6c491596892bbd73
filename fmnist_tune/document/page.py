"""A document as Markdown, and as one HTML file that needs nothing else."""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib import resources
from typing import Any

from jinja2 import Environment
from markupsafe import Markup

from fmnist_tune.document.blocks import Section, Table, capital, sentence
from fmnist_tune.escaping import as_code_block, as_html, as_markdown, in_table

TEMPLATE = "page.html.jinja"


def to_html(document: Section) -> str:
    """Return a document, of parts with sections, as HTML with its images inside."""
    environment = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True)
    environment.filters["inline"] = lambda text: Markup(as_html(text))
    environment.filters["anchor"] = lambda title: re.sub(r"\W+", "-", title.lower()).strip("-")
    environment.filters["sentence"] = sentence
    environment.filters["capital"] = capital
    text = resources.files(__package__).joinpath(TEMPLATE).read_text(encoding="utf-8")
    return environment.from_string(text).render(document=document)


def to_markdown(document: Section) -> str:
    """Return a document as Markdown that names its images as files beside it."""
    return "\n\n".join([f"# {as_markdown(document.title)}", *_blocks(document, 2)]) + "\n"


def _blocks(section: Section, level: int) -> Iterator[str]:
    for kind, blocks in section.grouped():
        if kind == "Fact":
            facts = [(f.label, f"{f.value} ({f.note})" if f.note else f.value) for f in blocks]
            yield _table(Table(("", ""), facts))
        elif kind == "Finding":
            yield "\n".join(f"- {'**Note:** ' if f.is_warning else ''}{as_markdown(sentence(f.text))}" for f in blocks)
        elif kind == "Section":
            for part in blocks:
                yield f"{'#' * level} {as_markdown(capital(part.title))}"
                yield from _blocks(part, level + 1)
        else:
            yield from (_block(kind, block) for block in blocks)


def _block(kind: str, block: Any) -> str:
    if kind == "Plot":
        if block.error:
            return as_markdown(f"The plot could not be drawn: {block.error}")
        return f"![{as_markdown(block.alt)}]({block.file})"
    if kind == "Table":
        return _table(block)
    if kind == "Code":
        return as_code_block(block.text, block.language)
    return as_markdown(sentence(block if kind == "str" else block.text))


def _table(table: Table) -> str:
    rule = ("---", *("---" if title in table.left else "---:" for title in table.header[1:]))
    rows = [tuple(in_table(as_markdown(cell)) for cell in line) for line in (table.header, *table.rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in (rows[0], rule, *rows[1:]))
