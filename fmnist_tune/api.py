"""Studies in a notebook: `fmnist_tune.load_study("cnn").trials` is a pandas DataFrame."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from fmnist_tune.config import SearchSpace
from fmnist_tune.files import user_path
from fmnist_tune.study.comparison import ComparedStudy, check_names, incomparable
from fmnist_tune.study.database import database_url, open_database
from fmnist_tune.study.deletion import Deletion
from fmnist_tune.study.frames import curves_frame, trials_frame
from fmnist_tune.study.layout import StudyPaths
from fmnist_tune.study.recipes import best_as_data
from fmnist_tune.study.record import StudyRecord
from fmnist_tune.study.summary import Summary, summarize

if TYPE_CHECKING:  # imports torch
    from fmnist_tune.retrain.saved import SavedModel


def compare_studies(*names: str, studies_dir: Path | str = "studies", storage: str | None = None) -> pd.DataFrame:
    """Return one row for each study, in the given order; warn about studies that are not comparable.

    Returns:
        Columns study, metric, best (value), trial (its number), trials, complete, epochs, train_s and test_accuracy
        (mean over seeds); missing without one.

    Raises:
        UserError: there is no such database or study.
    """
    check_names(names)
    records = [_open_record(name, studies_dir, storage) for name in names]
    for reason in incomparable(records):
        warnings.warn(f"not comparable: {reason}", stacklevel=2)
    rows = []
    for study in (ComparedStudy.of(record, is_running=record.is_running) for record in records):
        number, value = study.best or (None, None)
        tested = study.retrained if study.task.result_key == "test_accuracy" else None
        rows.append(
            {
                "study": study.name,
                "metric": study.objective.metric,
                "best": value,
                "trial": number,
                "trials": study.trials["total"],
                "complete": study.trials["complete"],
                "epochs": study.epochs,
                "train_s": study.train_s,
                "test_accuracy": None if tested is None else tested["mean"],
            }
        )
    return pd.DataFrame(rows)


def rename_study(name: str, new: str, studies_dir: Path | str = "studies", storage: str | None = None) -> Study:
    """Rename a study, as `fmnist-tune rename` does, and return it.

    Raises:
        UserError: there is no such study, the new name is taken or invalid, or a process drives the study.
    """
    from fmnist_tune.retrain.renaming import rename_study as rename

    record = _open_record(name, studies_dir, storage)
    rename(open_database(storage or database_url(user_path(studies_dir)), create=False), record, new)
    return Study(new, studies_dir, storage)


def delete_study(name: str, studies_dir: Path | str = "studies", storage: str | None = None) -> None:
    """Delete a study, its files and its artifacts; this cannot be undone, and there is no confirmation.

    Raises:
        UserError: there is no such study, or a process drives it.
    """
    folder = user_path(studies_dir)
    database = open_database(storage or database_url(folder), create=False)
    Deletion(database, StudyPaths(folder, name, storage)).run()


class Study:
    """A read-only study; every access reads the database again."""

    def __init__(self, name: str, studies_dir: Path | str = "studies", storage: str | None = None) -> None:
        """Open a study.

        Args:
            name: of the study.
            studies_dir: folder of all studies.
            storage: URL of the database; SQLite in `studies_dir` by default.

        Raises:
            UserError: there is no such database or study.
        """
        self._record = _open_record(name, studies_dir, storage)
        self._paths = self._record.paths

    def __repr__(self) -> str:
        return f"Study({self.name!r}, {len(self._record.trials)} trials)"

    @property
    def name(self) -> str:
        """The study's name."""
        return self._paths.name

    @property
    def folder(self) -> Path:
        """The study's files."""
        return self._paths.folder

    @property
    def space(self) -> SearchSpace:
        """The search space."""
        return self._record.space

    @property
    def trials(self) -> pd.DataFrame:
        """One row for each trial; columns as `fmnist_tune.study.frames.trials_frame` describes them."""
        return trials_frame(self._record, is_running=self._record.is_running)

    @property
    def curves(self) -> pd.DataFrame:
        """One row for each epoch of each trial; columns as `fmnist_tune.study.frames.curves_frame` describes them."""
        return curves_frame(self._record)

    @property
    def best(self) -> dict[str, Any] | None:
        """The best COMPLETE trial: number, value and config (a recipe as plain data); None without one."""
        return best_as_data(self._record)

    @property
    def summary(self) -> Summary:
        """Counts, best trial, importances, edges."""
        return summarize(self._record, is_running=self._record.is_running)

    @property
    def retrained(self) -> dict[str, Any] | None:
        """The latest retraining's result, as in `model/metrics.json`; None without one."""
        return self._record.retraining.result

    def model(self) -> SavedModel:
        """Return the retrained model; `scores(images)` takes uint8 images (N, H, W), or (N, H, W, C) in colour, or
        floats in [0, 1].

        Raises:
            UserError: there is none yet.
        """
        from fmnist_tune.retrain.saved import SavedModel

        return SavedModel.load(self._paths.model, self._paths.command("retrain"))


def _open_record(name: str, studies_dir: Path | str, storage: str | None) -> StudyRecord:
    folder = user_path(studies_dir)
    database = open_database(storage or database_url(folder), create=False)
    return StudyRecord.load(database, StudyPaths(folder, name, storage))
