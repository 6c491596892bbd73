"""A study's folder: finding it, and what is missing in it.

The study records the id in its folder's lock, so the folder is found again after the study is renamed, in the
dashboard too.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Collection, Mapping
from pathlib import Path
from socket import gethostname
from typing import TYPE_CHECKING, Any

from fmnist_tune.config.schema import is_study_name
from fmnist_tune.errors import UserError
from fmnist_tune.study.layout import CONFIG, METRICS, StudyPaths
from fmnist_tune.study.lock import folder_id_of, holder_text, is_running
from fmnist_tune.study.recipes import write_best_recipe
from fmnist_tune.study.retraining_record import INTERRUPTED, RUNNING
from fmnist_tune.study.trial_data import latest_of

if TYPE_CHECKING:
    from fmnist_tune.study.record import StudyRecord

FOLDER_KEY = "folder"  # user attribute of a study, since renaming in the dashboard keeps only those; see folder_facts


def folder_facts(paths: StudyPaths, folder_id: str) -> dict[str, str]:
    """Return what a study records about the folder it was last searched or retrained in."""
    return {"id": folder_id, "path": str(paths.folder.absolute()), "host": gethostname()}


def adopt_folder(paths: StudyPaths, known: Mapping[str, Any] | None, old_name: str, names: Collection[str]) -> None:
    """Move the folder of a study that was renamed in the database only.

    Args:
        paths: of the study under its new name; that folder does not exist.
        known: the study's `folder_facts`; None for a study older than these.
        old_name: in the study's search space: its present name or its first one.
        names: of all studies in the database, whose folders are left alone.

    Raises:
        UserError: a live process holds the folder, or it cannot be moved.
    """
    if not paths.studies_dir.is_dir():
        return
    if known is None:
        candidates = [paths.studies_dir / old_name]
    else:
        candidates = [f for f in paths.studies_dir.iterdir() if f.is_dir() and folder_id_of(f) == known["id"]]
    folder = next((f for f in candidates if f.is_dir() and f.name not in names and is_study_name(f.name)), None)
    if folder is None:  # or left by an interrupted deletion, or moved away by hand
        return
    old = StudyPaths(paths.studies_dir, folder.name, paths.storage)
    if is_running(old):
        raise UserError(
            f"study {paths.name!r}: it was renamed while it was searched under the name {folder.name!r}"
            f"{holder_text(old)}; wait for that process to end, or stop it"
        )
    try:
        os.rename(folder, paths.folder)
    except OSError as error:
        raise UserError(
            f"{folder}: the folder of study {paths.name!r}, which was renamed; it cannot be moved to {paths.folder}: "
            f"{error.strerror}"
        ) from None


def files_elsewhere(record: StudyRecord) -> str | None:
    """Return where a study's files are if it was last searched from another studies folder, which may still exist."""
    known = record.optuna.user_attrs.get(FOLDER_KEY)
    if known is None or known["id"] == folder_id_of(record.paths.folder):
        return None
    if known["host"] != gethostname():
        return f"{known['path']} on {known['host']}"
    path = Path(known["path"])
    return str(path) if path != record.paths.folder.absolute() and path.is_dir() else None


def missing_files(record: StudyRecord) -> str:
    """Return in a sentence what is missing in a study's folder; empty if nothing is.

    Do not call it while a process drives the study.
    """
    paths = record.paths
    elsewhere = files_elsewhere(record)
    if elsewhere is not None:
        return "" if paths.folder.is_dir() else f"study {paths.name}: its files are in {elsewhere}"
    lost = []
    unfinished = [t for t in record.trials if not t.state.is_finished() and latest_of(t) is not None]
    n_lost = sum(not _has_files(paths.trial_folder(t.number)) for t in unfinished)
    if n_lost:
        trials = "1 unfinished trial" if n_lost == 1 else f"{n_lost} unfinished trials"
        lost.append(f"the checkpoints of {trials}, which `{paths.command('resume')}` begins anew")
    if record.retraining.result is not None and not all((paths.model / name).is_file() for name in (METRICS, CONFIG)):
        lost.append(f"the retrained model, which `{paths.command('retrain')}` makes again")
    if record.best is not None and not paths.best_recipe.is_file():
        lost.append(f"best.yaml, which `{paths.command('export')}` prints")
    if paths.folder.is_dir():
        return f"{paths.folder}: files are gone: {'; '.join(lost)}" if lost else ""
    if not record.trials and record.retraining.result is None:
        return ""
    return f"{paths.folder}: the folder is gone" + (f": {'; '.join(lost)}" if lost else "")


def _has_files(folder: Path) -> bool:
    return folder.is_dir() and any(folder.iterdir())


def recover(record: StudyRecord) -> None:
    """Put right what a killed process left; to be called by the holder of the driver's lock.

    A driver that was killed between the end of its best trial and best.yaml left an earlier one there: it is written
    again. One killed between a trial's end and the removal of its checkpoints left those. A retraining that is recorded
    as running was killed: it is recorded as interrupted.
    """
    write_best_recipe(record)
    alive = {str(t.number) for t in record.trials if not t.state.is_finished()}
    folder = record.paths.trial_folder(0).parent
    for trial in folder.iterdir() if folder.is_dir() else ():
        if trial.name not in alive:
            shutil.rmtree(trial, ignore_errors=True)
    status = record.retraining.status
    if status is not None and status.get("state") == RUNNING:
        record.retraining.set_status({**status, "state": INTERRUPTED})
