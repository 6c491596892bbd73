"""The SQLite file under a running command: whether it is still the one that was opened, and rescue if it is not.

SQLite keeps writing to a deleted file, and does not notice if another is copied over its own. A replaced file is
detected by its inode; replaced content by a number in the file's header, incremented at each checkpoint of the
write-ahead log. Only SQLite opens the file, since closing it otherwise would drop this process's locks.
"""

from __future__ import annotations

import contextlib
import os
import random
import sqlite3
import tempfile
import time
from pathlib import Path

MARKED_EVERY_S = 10.0
_MARKS_OF_OTHERS = 10**6  # how far other drivers' marks in the same file may be ahead of this one's
_READINGS = 3


class DatabaseFile:
    """A watched SQLite file.

    Attributes:
        path: as it was given.
        is_overwritten: whether the file's content was replaced, so that a rescued copy may be a mixture.
    """

    def __init__(self, path: Path, study_name: str, timeout_s: float) -> None:
        """Start watching a file, a complete study database in WAL mode.

        Args:
            path: of the file.
            study_name: a study in it.
            timeout_s: how long to wait for another writer.

        Raises:
            sqlite3.Error: it cannot be written.
        """
        self._path = Path(os.path.realpath(path))
        self.path = path
        self.is_overwritten = False
        self._study_name = study_name
        # Stays open, so that the log stays, and the file remains readable after its name is gone.
        self._connection = sqlite3.connect(self._path, timeout=timeout_s, isolation_level=None, check_same_thread=False)
        self._seen_mark = self._own_mark = 0
        self._marked_at = 0.0
        self._mark()
        files = [self._path.with_name(f"{self._path.name}{suffix}") for suffix in ("", "-wal", "-shm")]
        self._identities = {file: _identity(file) for file in files}

    def _mark(self) -> None:
        """Increment the number in the file's header, and checkpoint the write-ahead log."""
        execute = self._connection.execute
        execute("BEGIN IMMEDIATE")
        (mark,) = execute("PRAGMA user_version").fetchone()
        self._own_mark = mark + 1 if mark else random.randrange(1, 2**30)
        execute(f"PRAGMA user_version = {self._own_mark}")
        execute("COMMIT")
        is_busy, n_pages, n_done = execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
        if not is_busy and n_pages == n_done:
            self._seen_mark = self._own_mark
        self._marked_at = time.monotonic()

    def problem(self) -> str | None:
        """Return what happened to the file; None if it is intact.

        Raises:
            sqlite3.Error: it cannot be written.
        """
        for file, known in self._identities.items():
            name = self.path.with_name(file.name)
            try:
                identity = _identity(file)
            except OSError:
                return f"{name}: was deleted or moved away"
            if identity != known:
                return f"{name}: was replaced by another file"
        if not self._has_mark():
            self.is_overwritten = True
            return f"{self.path}: was overwritten"
        if time.monotonic() - self._marked_at > MARKED_EVERY_S:
            self._mark()
        return None

    def _has_mark(self) -> bool:
        """Return whether the file itself, without its log, has the last seen mark or a later one."""
        uri = f"{self._path.as_uri()}?mode=ro&immutable=1"
        for reading in range(_READINGS):  # another process may be writing this page right now
            time.sleep(0.1 * reading)
            with (
                contextlib.suppress(sqlite3.Error),
                contextlib.closing(sqlite3.connect(uri, uri=True)) as connection,
            ):
                connection.execute("PRAGMA writable_schema = ON")  # reads page 1 even during a checkpoint
                (mark,) = connection.execute("PRAGMA user_version").fetchone()
                if self._seen_mark <= mark <= self._own_mark + _MARKS_OF_OTHERS:
                    self._seen_mark = mark
                    return True
        return False

    def rescue(self) -> tuple[Path | None, str]:
        """Save what the open connection can still read to a new file.

        Returns:
            That file, beside the old one or in the temporary folder, or None; and the reason if it failed.
        """
        name = f"{self._path.name}.rescued-{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}"
        reason = ""
        for folder in (self._path.parent, Path(tempfile.gettempdir())):
            try:
                folder.mkdir(parents=True, exist_ok=True)
                self._save(folder / name)
            except (sqlite3.Error, OSError) as error:
                reason = str(error)
            else:
                return folder / name, ""
        return None, reason

    def _save(self, target: Path) -> None:
        """Copy the database and check the copy; delete it if it is damaged or lacks the study."""
        try:
            with contextlib.closing(sqlite3.connect(target)) as copy:
                self._connection.backup(copy)
                (verdict,) = copy.execute("PRAGMA quick_check(1)").fetchone()
                if verdict != "ok":
                    raise sqlite3.DatabaseError(verdict)
                found = copy.execute("SELECT 1 FROM studies WHERE study_name = ?", [self._study_name]).fetchone()
                if found is None:
                    raise sqlite3.DatabaseError(f"study {self._study_name} is not in it any more")
        except (sqlite3.Error, OSError):
            target.unlink(missing_ok=True)
            raise

    def close(self) -> None:
        """Stop watching."""
        self._connection.close()


def _identity(path: Path) -> tuple[int, int]:
    status = os.stat(path)
    return status.st_dev, status.st_ino
