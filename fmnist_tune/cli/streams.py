"""Standard output and standard error on anything: a terminal of any encoding, a full disk, a closed descriptor."""

from __future__ import annotations

import codecs
import io
import os
import select
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, TextIO

from fmnist_tune.errors import UserError

READABLE = "fmnist-tune"  # name of the error handler below
SUBSTITUTES = {
    "█": "#", "━": "-", "╸": "-", "╺": "-", "─": "-", "│": "|", "…": "...", "±": "+/-", "×": "x", "–": "-", "—": "-",
    "→": "->", "≤": "<=", "≥": ">=", "‘": "'", "’": "'", "“": '"', "”": '"', "•": "*", "·": "*",
}  # fmt: skip


class OutputError(UserError):
    """Standard output cannot be written to."""


class _Results(io.FileIO):
    """Standard output; a closed reader raises BrokenPipeError, any other failure OutputError."""

    def write(self, data: Any) -> int:
        try:
            written = super().write(data)
            while written is None:  # a full non-blocking pipe
                select.select([], [self], [])
                written = super().write(data)
            return written
        except BrokenPipeError:
            raise
        except OSError as error:
            raise OutputError(f"standard output cannot be written to: {error.strerror}") from None


class _Progress(io.FileIO):
    """Standard error; if it is gone, messages are dropped, but the work continues."""

    def write(self, data: Any) -> int:
        written: int | None = None  # text that a full non-blocking pipe cannot take is dropped
        with suppress(OSError):
            written = super().write(data)
        return memoryview(data).nbytes if written is None else written


@contextmanager
def standard_streams() -> Iterator[None]:
    """Let standard output and error take any text; the streams of an in-process caller are left alone."""
    _fill_closed_descriptors()
    before = sys.stdout, sys.stderr
    if sys.stdout is sys.__stdout__:
        sys.stdout = _stream(_Results(1, "w", closefd=False), sys.__stdout__)
    if sys.stderr is sys.__stderr__:
        sys.stderr = _stream(_Progress(2, "w", closefd=False), sys.__stderr__)
    try:
        yield
    finally:
        sys.stdout, sys.stderr = before


def discard_output() -> None:
    """Discard the rest of standard output, which has no reader; otherwise Python complains at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def _fill_closed_descriptors() -> None:
    """Open descriptors closed by `>&-`; otherwise the next opened file, a database, would receive the output."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # gets the lowest free number, which is this one


def _stream(raw: io.FileIO, known: TextIO | None) -> TextIO:
    """Return a text stream with the encoding of `known`, Python's own, which is None if its descriptor was closed."""
    encoding = "utf-8" if known is None else known.encoding
    is_progress = isinstance(raw, _Progress)
    return io.TextIOWrapper(
        io.BufferedWriter(raw),
        encoding=encoding,
        errors=READABLE,
        line_buffering=is_progress or raw.isatty(),
        write_through=is_progress,
    )


def _readable(error: UnicodeError) -> tuple[bytes, int]:
    """Return substitutes for characters that an encoding lacks; bytes of a file's name stay unchanged."""
    assert isinstance(error, UnicodeEncodeError)
    text = error.object[error.start : error.end]
    pieces = (
        bytes([ord(c) - 0xDC00]) if "\udc80" <= c <= "\udcff" else SUBSTITUTES.get(c, "?").encode("ascii") for c in text
    )
    return b"".join(pieces), error.end


codecs.register_error(READABLE, _readable)
