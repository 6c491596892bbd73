"""One driver per study."""

from __future__ import annotations

import fcntl
import json
import os
import socket
import time
import uuid
from pathlib import Path
from types import TracebackType

from fmnist_tune.errors import UserError
from fmnist_tune.study.layout import LOCK, StudyPaths, make_folder, read_json

PATIENCE_S = 2.0


class DriverLock:
    """Held while a process drives a study; the kernel lets go of it when the process dies, however it dies.

    Attributes:
        folder_id: of the study's folder, the same for all who have ever held its lock.
    """

    folder_id: str

    def __init__(self, paths: StudyPaths) -> None:
        self._paths = paths

    def __enter__(self) -> DriverLock:
        """Take the lock.

        Raises:
            UserError: a living process has it; says which. Or the study's folder cannot be written to.
        """
        make_folder(self._paths.folder)
        self._file = os.open(self._paths.lock, os.O_RDWR | os.O_CREAT, 0o644)
        if not _lock(self._file):
            os.close(self._file)
            raise UserError(
                f"study {self._paths.name} is being searched or trained already{holder_text(self._paths)}; "
                "wait for it, stop it, or give another name with --study"
            )
        self.folder_id = folder_id_of(self._paths.folder) or uuid.uuid4().hex
        holder = {
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "since": time.strftime("%Y-%m-%d %H:%M:%S"),
            "folder_id": self.folder_id,
            "storage": self._paths.shown_storage,
        }
        text = json.dumps(holder)
        os.pwrite(self._file, text.encode(), 0)
        os.ftruncate(self._file, len(text))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._file)


def is_driven(paths: StudyPaths) -> bool:
    """Tell whether a living process drives the study."""
    try:
        file = os.open(paths.lock, os.O_RDONLY)
    except OSError:
        return False
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(file)
    return False


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
