"""A document as one HTML file that needs nothing else."""

from __future__ import annotations

import re
from importlib import resources

from jinja2 import Environment
from markupsafe import Markup

from fmnist_tune.document.blocks import Section, capital, sentence
from fmnist_tune.escaping import as_html

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
