"""Deleting a study: its files, its artifacts in the dashboard, and its rows in the database.

The folder is first renamed to a name that no study can have, then the rows are deleted, then the folder. After a kill
at any time, the study exists without files or not at all, and the same command finishes the deletion.
"""

from __future__ import annotations

import os
import shutil
from contextlib import suppress

import optuna
from optuna.artifacts.exceptions import ArtifactNotFound
from optuna.storages import RDBStorage

from fmnist_tune.config.schema import ARTIFACTS
from fmnist_tune.errors import UserError, did_you_mean
from fmnist_tune.study.dashboard import artifact_ids, artifact_store
from fmnist_tune.study.database import STORAGE_ERRORS, study_names
from fmnist_tune.study.folder import FOLDER_KEY
from fmnist_tune.study.layout import StudyPaths, disk_bytes
from fmnist_tune.study.lease import Lease, holder_of
from fmnist_tune.study.lock import DriverLock, folder_id_of, holder_text, is_running, storage_of
from fmnist_tune.study.record import FORMAT_KEY, SPACE_KEY, StudyRecord


class Deletion:
    """The deletion of a study.

    Attributes:
        paths: of the study.
        n_trials: in the database; None if only files are left.
        n_bytes: on disk.
    """

    def __init__(self, storage: RDBStorage, paths: StudyPaths) -> None:
        """Find a study.

        Raises:
            UserError: there is no such study, it is not ours, or a process drives it.
        """
        self.paths = paths
        self._storage = storage
        self._aside = paths.studies_dir / f".deleted-{paths.name}"
        names = study_names(storage)
        self._study = optuna.load_study(study_name=paths.name, storage=storage) if paths.name in names else None
        if self._study is None:
            self._check_left(names)
        elif self._study.user_attrs.keys().isdisjoint({SPACE_KEY, FORMAT_KEY}) and self._study.trials:
            raise UserError(f"study {paths.name!r}: not made by fmnist-tune; delete it in the dashboard")
        else:
            self._check_folder(self._study)
        driver = self._driver()
        if driver is not None:
            raise UserError(f"study {paths.name!r} is being searched or trained{driver}; wait for its end, or stop it")
        self.n_trials = None if self._study is None else len(self._study.get_trials(deepcopy=False))
        self.n_bytes = disk_bytes(paths.folder) + disk_bytes(self._aside)

    def _check_folder(self, study: optuna.Study) -> None:
        """Check that the folder belongs to the study, not to one of the same name elsewhere."""
        folder = self.paths.folder
        if not folder.is_dir() or not any(folder.iterdir()):
            return
        known = study.user_attrs.get(FOLDER_KEY)
        if known is not None and folder_id_of(folder) != known["id"]:
            raise UserError(
                f"{folder}: not the folder of this study, whose files are in {known['path']} on {known['host']}; "
                "delete it from there, or move this folder away"
            )
        storage = storage_of(folder)
        if storage is not None and storage != self.paths.shown_storage:
            raise UserError(f"{folder}: the folder of a study that was searched with --storage {storage}")

    def _driver(self) -> str | None:
        """Return the process that drives the study, for the end of a sentence; None for none."""
        if is_running(self.paths):
            return holder_text(self.paths)
        holder = holder_of(self._storage.engine, self.paths.name)
        is_own = holder is not None and holder.folder_id == folder_id_of(self._aside)  # of a killed deletion
        if holder is None or is_own or not is_running(self.paths, self._storage.engine):
            return None
        return f", from {holder.place}"

    def _check_left(self, names: list[str]) -> None:
        """Check that files are left of a study that is not in the database, and that they belong to this database."""
        folder = self.paths.folder
        StudyRecord.adopt_folders(self._storage, self.paths)
        if not self.paths.left_files:
            if self._aside.exists():
                return
            known = f"; there are {', '.join(sorted(names))}" if names else "; there are none"
            raise UserError(f"study {self.paths.name!r}: no such study{did_you_mean(self.paths.name, names) or known}")
        storage = storage_of(folder)
        if storage != self.paths.shown_storage:
            where = "without --storage" if storage is None else f"with --storage {storage}"
            raise UserError(f"{folder}: its study was searched {where}, and may still be in that database")

    def __str__(self) -> str:
        files = f"{self.n_bytes / 1e6:.1f} MB in {self.paths.folder}"
        if self.n_trials is None:
            return f"what is left of study {self.paths.name}, which is not in the database: {files}"
        return f"study {self.paths.name}: {self.n_trials} trial{'s' if self.n_trials != 1 else ''} and {files}"

    def run(self) -> None:
        """Delete it.

        Raises:
            UserError: a process drives it, or a file cannot be deleted.
        """
        try:
            if self._study is None:
                if self.paths.folder.is_dir():
                    with DriverLock(self.paths):
                        self._put_aside()
            else:
                with DriverLock(self.paths) as lock:
                    self._delete_study(self._study, lock.folder_id)
            self._remove_aside()
        except OSError as error:
            raise UserError(
                f"{error.filename or self.paths.folder}: cannot be deleted: {error.strerror or error}; repair it, and "
                "the same command goes on"
            ) from None

    def _delete_study(self, study: optuna.Study, folder_id: str) -> None:
        lease = Lease(self._storage, self.paths)
        lease.take(folder_id_of(self._aside) or folder_id)  # that of a killed deletion
        try:
            self._put_aside()
            self._delete_artifacts(study)
            self._storage.delete_study(self._storage.get_study_id_from_name(self.paths.name))
        finally:
            with suppress(*STORAGE_ERRORS):
                lease.end()

    def _put_aside(self) -> None:
        self._remove_aside()
        os.rename(self.paths.folder, self._aside)

    def _remove_aside(self) -> None:
        if self._aside.is_symlink():  # a link to a folder on another disk, which stays
            self._aside.unlink()
        elif self._aside.exists():
            shutil.rmtree(self._aside)

    def _delete_artifacts(self, study: optuna.Study) -> None:
        if not (self.paths.studies_dir / ARTIFACTS).is_dir():
            return
        store = artifact_store(self.paths.studies_dir)
        attributes = self._storage.get_study_system_attrs(self._storage.get_study_id_from_name(study.study_name))
        for owner in (attributes, *(trial.system_attrs for trial in study.get_trials(deepcopy=False))):
            for artifact_id in artifact_ids(owner).values():
                with suppress(ArtifactNotFound):
                    store.remove(artifact_id)
