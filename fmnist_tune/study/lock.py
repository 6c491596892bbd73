"""One driver per study."""

from __future__ import annotations

import fcntl
import json
import os
import socket
import time
import uuid
from types import TracebackType

from fmnist_tune.errors import UserError
from fmnist_tune.study.layout import StudyPaths, make_folder, read_json

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
                f"study {self._paths.name} is being searched or trained already{_holder(self._paths)}; "
                "wait for it, stop it, or give another name with --study"
            )
        before = read_json(self._paths.lock)
        known_id = before.get("folder_id") if isinstance(before, dict) else None
        self.folder_id = known_id or uuid.uuid4().hex
        since = time.strftime("%Y-%m-%d %H:%M:%S")
        holder = {"host": socket.gethostname(), "pid": os.getpid(), "since": since, "folder_id": self.folder_id}
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


def _holder(paths: StudyPaths) -> str:
    holder = read_json(paths.lock)
    if not isinstance(holder, dict):
        return ""
    return f" by process {holder.get('pid')} on {holder.get('host')} since {holder.get('since')}"
