"""Standard output and standard error, whatever stands behind them: a terminal of any encoding, a full disk, nothing."""

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
    """Standard output; a reader that has gone away is a BrokenPipeError, all else an OutputError."""

    def write(self, data: Any) -> int:
        try:
            written = super().write(data)
            while written is None:  # a pipe that does not block, and is full
                select.select([], [self], [])
                written = super().write(data)
            return written
        except BrokenPipeError:
            raise
        except OSError as error:
            raise OutputError(f"standard output cannot be written to: {error.strerror}") from None


class _Progress(io.FileIO):
    """Standard error; when it has gone away nothing is said any more, but what is under way goes on."""

    def write(self, data: Any) -> int:
        written: int | None = None  # what a full pipe that does not block cannot take is not said
        with suppress(OSError):
            written = super().write(data)
        return memoryview(data).nbytes if written is None else written


@contextmanager
def standard_streams() -> Iterator[None]:
    """Have standard output and error take any text; an in-process caller's own streams are left alone."""
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
    """Throw away what standard output still holds, which nobody can take, or Python complains of it when it ends."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def _fill_closed_descriptors() -> None:
    """Open what `>&-` has closed, or else the next file that is opened, a database, would get what is printed."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # the lowest free number is this one


def _stream(raw: io.FileIO, known: TextIO | None) -> TextIO:
    """Return a text stream with the encoding of Python's own, which is None if its descriptor was closed."""
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
    """Return what stands for characters that an encoding lacks; bytes of a file's name stay what they are."""
    assert isinstance(error, UnicodeEncodeError)
    text = error.object[error.start : error.end]
    pieces = (
        bytes([ord(c) - 0xDC00]) if "\udc80" <= c <= "\udcff" else SUBSTITUTES.get(c, "?").encode("ascii") for c in text
    )
    return b"".join(pieces), error.end


codecs.register_error(READABLE, _readable)
