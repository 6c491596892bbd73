"""Paths as users write them, and files that are ours to write: never what somebody's link in their place points to."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO


def user_path(text: str | Path) -> Path:
    """Return a path that an option, a file or a caller gives; `~` at its beginning is the home directory.

    A shell does that for words of its own alone, not in `--studies-dir=~/studies` and not in YAML.
    """
    return Path(os.path.expanduser(text))


def new_file(path: Path) -> BinaryIO:
    """Open a file for writing that is not there yet; what is in its place, be it a link, is removed first."""
    path.unlink(missing_ok=True)
    return path.open("xb")


def open_own(path: Path, flags: int) -> int:
    """Open a file that stays, without following a symbolic link.

    Args:
        path: of the file; its folder may be a link.
        flags: as of os.open.

    Raises:
        OSError: it cannot be opened, or is no regular file.
    """
    try:
        # a pipe would be waited for without O_NONBLOCK, which a regular file ignores
        file = os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o644)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise OSError(errno.ELOOP, "a symbolic link, which is not followed", str(path)) from None
        raise
    if not stat.S_ISREG(os.fstat(file).st_mode):
        os.close(file)
        raise OSError(errno.EINVAL, "not a regular file", str(path))
    return file


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold a lock on a file, after waiting for any other holder.

    Without a lock where the disk is full or the file system has none: that must not end what is done meanwhile.
    """
    file = None
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        file = open_own(path, os.O_RDWR | os.O_CREAT)
        fcntl.flock(file, fcntl.LOCK_EX)
    try:
        yield
    finally:
        if file is not None:
            os.close(file)
