"""A command's hold on the study it writes: the study's lease, and a watch on its database file."""

from __future__ import annotations

import shlex
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from optuna.storages import RDBStorage

from fmnist_tune.study.database import BUSY_TIMEOUT_S, STORAGE_ERRORS, StorageLostError
from fmnist_tune.study.database_file import DatabaseFile
from fmnist_tune.study.layout import StudyPaths
from fmnist_tune.study.lease import Lease


class Hold:
    """A process's right to write a study."""

    def __init__(self, storage: RDBStorage, paths: StudyPaths) -> None:
        """Start without a hold."""
        self._engine = storage.engine
        self._paths = paths
        self._lease = Lease(storage, paths)
        self._file: DatabaseFile | None = None

    def take(self, folder_id: str) -> None:
        """Take the study.

        Args:
            folder_id: of the study's folder, from its lock.

            Raises:
                UserError: a process holds the study from another folder, or was killed a short time ago.
        """
        self._lease.take(folder_id)
        if self._engine.dialect.name == "sqlite":
            self._file = DatabaseFile(Path(str(self._engine.url.database)), self._paths.name, BUSY_TIMEOUT_S)

    def check(self) -> None:
        """Check that the study exists and is still held by this process; cheap enough to call often.

        Raises:
            StorageLostError: it does not, or is not.
        """
        self._check_file()
        if self._lease.loss is not None:
            raise self._lost(self._lease.loss)

    def end(self) -> None:
        """Release the study, if it was taken."""
        with suppress(*STORAGE_ERRORS):  # the loss has already been reported
            self._lease.end()
        if self._file is not None:
            self._file.close()
            self._file = None

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Turn errors caused by the loss of the study, its database or its disk into StorageLostError."""
        try:
            yield
        except STORAGE_ERRORS as error:
            self.find_loss()
            raise StorageLostError(str(error.__cause__ or error).splitlines()[0]) from error
        except LookupError:  # Optuna raises it if a study or trial is gone
            self.find_loss()
            raise

    def find_loss(self) -> None:
        """Check as `check` does, but query the database now.

        Raises:
            StorageLostError: the study is gone, or no longer held by this process.
        """
        self._check_file()
        with suppress(*STORAGE_ERRORS):
            reason = self._lease.find_loss()
            if reason is not None:
                raise self._lost(reason)

    def _lost(self, reason: str) -> StorageLostError:
        studies = self._paths.command_on_all("studies")
        return StorageLostError(reason, f"its files are in {self._paths.folder}; `{studies}` lists the studies")

    def _check_file(self) -> None:
        try:
            problem = None if self._file is None else self._file.problem()
        except sqlite3.Error as error:
            raise StorageLostError(str(error)) from error
        if self._file is None or problem is None:
            return
        file, self._file = self._file, None
        try:
            saved, why_not = file.rescue()
        finally:
            file.close()
        resume = self._paths.command("resume")
        if saved is None:
            advice = f"nothing of it could be saved: {why_not}; restore it from a backup, and go on with `{resume}`"
            raise StorageLostError(problem, advice)
        requeue = shlex.join(["mv", str(saved), str(file.path)])
        what = "what could be read, which may be a mixture of both," if file.is_overwritten else "what it held"
        raise StorageLostError(
            problem, f"{what} is saved in {saved}: put that in its place (`{requeue}`) and go on with `{resume}`"
        )
