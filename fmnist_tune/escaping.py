"""Escaping: text from outside (names, reasons, attributes, paths) is shown literally, never interpreted."""

from __future__ import annotations

import html
import re
import unicodedata

_BIDI = frozenset("\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")  # they reorder a line
_CODE = re.compile(r"`([^`]*)`")
_MARKDOWN = re.compile(r"[\\`*\[~$]|^[-+#=]|(?<!\w)_|_(?!\w)")


def printable(text: str) -> str:
    """Return text without control characters (except line feed and tab) and without bidirectional controls.

    Undecodable bytes of a file's name become U+FFFD, the replacement character.
    """
    shown = (c for c in text if c in "\n\t" or not (unicodedata.category(c) == "Cc" or c in _BIDI))
    return "".join("\ufffd" if unicodedata.category(c) == "Cs" else c for c in shown)


def as_html(text: str) -> str:
    """Return text as HTML; text between two backticks becomes code."""
    return _CODE.sub(r"<code>\1</code>", html.escape(printable(text)))


def as_markdown(text: str) -> str:
    """Return text as one line of Markdown; text between two backticks becomes code."""
    pieces = _CODE.split(_one_line(text))
    return "".join(as_code(piece) if i % 2 else _plain(piece) for i, piece in enumerate(pieces))


def as_code(text: str) -> str:
    """Return text as code in Markdown, on one line."""
    line = _one_line(text).replace("`", "'")
    return f"`{line}`" if line else ""


def in_table(markdown: str) -> str:
    """Return a line of Markdown for a table cell."""
    return re.sub(r"(\\*)\|", lambda found: found[1] + "\\" * (len(found[1]) % 2) + r"\|", markdown)


def as_code_block(text: str, language: str = "") -> str:
    """Return text as a Markdown code block, with a longer fence than any in the text."""
    fence = "`" * max(3, 1 + max(map(len, re.findall(r"`+", text)), default=0))
    return f"{fence}{language}\n{printable(text).rstrip()}\n{fence}"


def _one_line(text: str) -> str:
    return re.sub(r"\s+", " ", printable(text))


def _plain(text: str) -> str:
    return html.escape(_MARKDOWN.sub(r"\\\g<0>", text), quote=False)
