"""The family of exceptions for mistakes that a user can fix."""

from __future__ import annotations

import difflib
import errno
import itertools
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

DISK_ERRNOS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO)  # disk errors, with or without a file's name


class UserError(Exception):
    """An error that the user can fix: printed without a traceback, exit code 2."""


def file_problem(error: OSError) -> str | None:
    """Return which file cannot be used and why; None if the error is not about a file."""
    if error.filename is not None and error.strerror:
        return f"{os.fsdecode(error.filename)}: {error.strerror}"
    return error.strerror if error.errno in DISK_ERRNOS else None


@dataclass(frozen=True)
class Problem:
    """One problem in a file.

    Attributes:
        path: dotted path inside the file, empty for the file as a whole.
        message: what is wrong, with the value and what is allowed.
        line: line in the file, counted from 1; None if unknown.
    """

    path: str
    message: str
    line: int | None = None

    def __str__(self) -> str:
        where = f"{self.path}: " if self.path else ""
        line = f" (line {self.line})" if self.line else ""
        return f"{where}{self.message}{line}"


class FileError(UserError):
    """All problems of one file at once."""

    def __init__(self, source: str, problems: Iterable[Problem]) -> None:
        self.source = source
        self.problems = tuple(problems)
        if len(self.problems) == 1:
            text = f"{source}: {self.problems[0]}"
        else:
            lines = "".join(f"\n  {problem}" for problem in self.problems)
            text = f"{source}: {len(self.problems)} problems{lines}"
        super().__init__(text)


def nearest(word: object, known: Iterable[str]) -> str | None:
    """Return the most similar known word, ignoring case; None if none is similar."""
    by_lower = {name.lower(): name for name in known}
    near = difflib.get_close_matches(str(word).lower(), by_lower, n=1, cutoff=0.6)
    return by_lower[near[0]] if near else None


def did_you_mean(word: object, known: Iterable[str]) -> str:
    """Return `; did you mean 'x'?` for the most similar known word, or an empty string."""
    near = nearest(word, known)
    return "" if near is None else f"; did you mean {near!r}?"


def near_file(path: Path) -> str:
    """Return `; did you mean 'x'?` for the file of the most similar name in its folder, or an empty string."""
    try:
        near = nearest(path.name, (entry.name for entry in itertools.islice(path.parent.iterdir(), 1000)))
    except OSError:
        return ""
    return "" if near is None else f"; did you mean {str(path.with_name(near))!r}?"
