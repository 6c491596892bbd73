"""Renaming a study: its row in the database, its folder, and its name inside the files.

The row is renamed atomically, and the rest follows: after a kill, or if the dashboard renamed only the row, the next
command on the study finds the folder (`study.folder`) and completes the renaming here.
"""

from __future__ import annotations

import os
from dataclasses import replace

from optuna.storages import RDBStorage

from fmnist_tune.errors import UserError
from fmnist_tune.retrain.folder import ModelFolder
from fmnist_tune.study.dashboard import has_note, republish
from fmnist_tune.study.database import rename_row, study_names
from fmnist_tune.study.folder import files_elsewhere
from fmnist_tune.study.lock import DriverLock
from fmnist_tune.study.recipes import write_best_recipe
from fmnist_tune.study.record import StudyRecord


def rename_study(storage: RDBStorage, record: StudyRecord, name: str) -> StudyRecord:
    """Rename a study and return it under its new name.

    Raises:
        UserError: the name is taken, by a study or by files, or a process drives the study.
    """
    new = replace(record.paths, name=name)
    names = study_names(storage)
    if name in names:
        raise UserError(f"study {name!r} is there already; choose another name")
    new.check_unused(names)
    if new.folder.exists() or new.folder.is_symlink():
        raise UserError(f"{new.folder}: there already, and of no study; move it away, or choose another name")
    elsewhere = files_elsewhere(record)
    if elsewhere is not None:
        raise UserError(f"study {record.paths.name!r}: its files are in {elsewhere}; rename it from there")
    with DriverLock(record.paths) as lock:
        record.hold.take(lock.folder_id)
        try:
            record.bind_folder(lock.folder_id)
            rename_row(storage, record.paths.name, name)
            os.rename(record.paths.folder, new.folder)
            renamed = StudyRecord.load(storage, new)
            renamed.bind_folder(lock.folder_id)
            _name_files(renamed)
        finally:
            record.hold.end()
    return renamed


def finish_renaming(record: StudyRecord) -> None:
    """Update the study's name in its files and its stored search space.

    Raises:
        UserError: a process drives the study.
    """
    if not record.paths.folder.is_dir():
        record.write_space()
        return
    with DriverLock(record.paths):
        _name_files(record)


def _name_files(record: StudyRecord) -> None:
    record.name_metric()
    write_best_recipe(record)
    ModelFolder(record).rename()
    if has_note(record):
        republish(record)
    record.write_space()  # the last: it says that all is done
