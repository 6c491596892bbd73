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
NO_LOCKS = (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS, errno.EINVAL)  # errors of file systems without locks


class DriverLock:
    """Held while a process drives a study; the kernel releases it when the process dies.

    Attributes:
        folder_id: of the study's folder, the same for every holder of its lock; a copied folder gets a new one.
    """

    folder_id: str

    def __init__(self, paths: StudyPaths) -> None:
        self._paths = paths

    def __enter__(self) -> DriverLock:
        """Take the lock.

        Raises:
            UserError: a live process, which it names, holds the lock. Or the study's folder is not writable, its file
                system has no locks, or the lock's name is taken by something else.
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
            os.ftruncate(self._file, 0)  # first: a kill in between leaves an empty lock
            os.pwrite(self._file, new.encode(), 0)
        except OSError as error:
            raise UserError(f"{self._paths.lock}: cannot be written to: {error.strerror}") from None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._file)


def is_running(paths: StudyPaths, engine: Engine | None = None) -> bool:
    """Return whether a live process drives a study, from its folder or, if `engine` is given, from another one."""
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
    # A dead driver's lease lasts for a while; for a driver from this folder, the lock decides.
    return holder is not None and not (has_locks and holder.folder_id == known)


def _folder_id(file: int) -> str | None:
    """Return a folder's id from its lock; None for a copied folder, or one that was never locked."""
    holder = _holder(_text(file))
    inode = os.fstat(file).st_ino
    if holder is None or holder.get("inode", inode) != inode or "folder_id" not in holder:
        return None
    return str(holder["folder_id"])


class _Known(dict[str, object]):
    """A lock's content, with question marks for missing keys."""

    def __missing__(self, key: str) -> str:
        return "?"


def _lock(file: int) -> bool:
    """Take a lock, retrying: others hold it briefly to test it, or to write a study's note."""
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
    """Return a lock's latest holder; None if the file is not ours, or was never held."""
    try:
        holder, _ = json.JSONDecoder().raw_decode(text)  # a kill may have left the tail of an older text behind it
    except ValueError:
        return None
    return holder if isinstance(holder, dict) and "pid" in holder else None


def folder_id_of(folder: Path) -> str | None:
    """Return the id of a study's folder, which survives renaming; None before its first lock."""
    known = read_json(folder / LOCK)
    return known.get("folder_id") if isinstance(known, dict) else None


def storage_of(folder: Path) -> str | None:
    """Return the `--storage` URL, its password masked, of a folder's latest lock; None without one."""
    known = read_json(folder / LOCK)
    return known.get("storage") if isinstance(known, dict) else None


def holder_text(paths: StudyPaths) -> str:
    """Return the present or latest holder of a study's lock, for the end of a sentence; may be empty."""
    holder = read_json(paths.lock)
    if not isinstance(holder, dict):
        return ""
    return f" by process {holder.get('pid')} on {holder.get('host')} since {holder.get('since')}"
