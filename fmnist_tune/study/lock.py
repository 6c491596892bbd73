"""One driver per study and folder."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import socket
import time
import uuid
from pathlib import Path
from types import TracebackType

from sqlalchemy import Engine

from fmnist_tune.errors import UserError
from fmnist_tune.files import open_own
from fmnist_tune.study.layout import LOCK, StudyPaths, make_folder, read_json
from fmnist_tune.study.lease import holder_of

PATIENCE_S = 2.0
NO_LOCKS = (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS, errno.EINVAL)  # what file systems without locks say


class DriverLock:
    """Held while a process drives a study; the kernel lets go of it when the process dies, however it dies.

    Attributes:
        folder_id: of the study's folder, the same for all who have ever held its lock; a copied folder gets a new one.
    """

    folder_id: str

    def __init__(self, paths: StudyPaths) -> None:
        self._paths = paths

    def __enter__(self) -> DriverLock:
        """Take the lock.

        Raises:
            UserError: a living process has it; says which. Or the study's folder cannot be written to, its file system
                has no locks, or something else than a lock has the lock's name.
        """
        make_folder(self._paths.folder)
        try:
            self._file = open_own(self._paths.lock, os.O_RDWR | os.O_CREAT)
        except OSError as error:
            raise UserError(f"{self._paths.lock}: cannot be used as the study's lock: {error.strerror}") from None
        try:
            self._take()
        except BaseException:
            os.close(self._file)
            raise
        return self

    def _take(self) -> None:
        try:
            is_ours = _lock(self._file)
        except OSError as error:
            raise UserError(
                f"{self._paths.lock}: cannot be locked ({error.strerror}): two searches of one study could not be kept "
                "apart here; give a --studies-dir on a file system with locks"
            ) from None
        text = _text(self._file)
        holder = _holder(text)
        if not is_ours:
            by = "" if holder is None else " by process {pid} on {host} since {since}".format_map(_Known(holder))
            raise UserError(
                f"study {self._paths.name} is being searched or trained already{by}; "
                "wait for it, stop it, or give another name with --study"
            )
        if holder is None and text:
            raise UserError(
                f"{self._paths.lock}: not a lock of fmnist-tune, and left as it is; move it away, the study needs a "
                "file of that name"
            )
        self.folder_id = _folder_id(self._file) or uuid.uuid4().hex
        since = time.strftime("%Y-%m-%d %H:%M:%S")
        holder = {"host": socket.gethostname(), "pid": os.getpid(), "since": since, "folder_id": self.folder_id}
        holder |= {"inode": os.fstat(self._file).st_ino, "storage": self._paths.shown_storage}
        new = json.dumps(holder)
        try:
            os.ftruncate(self._file, 0)  # first: whoever is killed in between leaves an empty lock
            os.pwrite(self._file, new.encode(), 0)
        except OSError as error:
            raise UserError(f"{self._paths.lock}: cannot be written to: {error.strerror}") from None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._file)


def is_running(paths: StudyPaths, engine: Engine | None = None) -> bool:
    """Return whether a living process drives a study, from its folder or, if a database says so, from another one."""
    try:
        file = open_own(paths.lock, os.O_RDONLY)
    except OSError:
        known, has_locks = None, True
    else:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            has_locks = True
        except OSError as error:
            if error.errno not in NO_LOCKS:
                return True
            has_locks = False
        finally:
            known = _folder_id(file)
            os.close(file)
    holder = None if engine is None else holder_of(engine, paths.name)
    # A dead driver's lease lives on for a while; of one of this folder the lock tells.
    return holder is not None and not (has_locks and holder.folder_id == known)


def _folder_id(file: int) -> str | None:
    """Return the id that a lock gives its folder; None of a copied folder, or one that nobody has driven."""
    holder = _holder(_text(file))
    inode = os.fstat(file).st_ino
    if holder is None or holder.get("inode", inode) != inode or "folder_id" not in holder:
        return None
    return str(holder["folder_id"])


class _Known(dict[str, object]):
    """What a lock says; a question mark for what it does not."""

    def __missing__(self, key: str) -> str:
        return "?"


def _lock(file: int) -> bool:
    """Take a lock; others hold it for a moment to see whether it is free, or while they write a study's note."""
    until = time.monotonic() + PATIENCE_S
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > until:
                return False
            time.sleep(0.05)
        else:
            return True


def _text(file: int) -> str:
    return os.pread(file, 10_000, 0).decode(errors="replace").strip("\0")


def _holder(text: str) -> dict[str, object] | None:
    """Return what a lock says of its latest holder; None if it is none of ours, or was never held."""
    try:
        holder, _ = json.JSONDecoder().raw_decode(text)  # a kill may have left the end of an older one behind it
    except ValueError:
        return None
    return holder if isinstance(holder, dict) and "pid" in holder else None


def folder_id_of(folder: Path) -> str | None:
    """Return the identity of a study's folder, which it keeps when it is renamed; None before its first lock."""
    known = read_json(folder / LOCK)
    return known.get("folder_id") if isinstance(known, dict) else None


def storage_of(folder: Path) -> str | None:
    """Return the URL, its password masked, that `--storage` gave when a folder was locked last; None for none."""
    known = read_json(folder / LOCK)
    return known.get("storage") if isinstance(known, dict) else None


def holder_text(paths: StudyPaths) -> str:
    """Return who holds a study's lock, or held it last, for the end of a sentence; may be empty."""
    holder = read_json(paths.lock)
    if not isinstance(holder, dict):
        return ""
    return f" by process {holder.get('pid')} on {holder.get('host')} since {holder.get('since')}"
