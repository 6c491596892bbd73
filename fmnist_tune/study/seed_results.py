"""The seeds of a retraining, and which of them are finished, judged by their files alone."""

from __future__ import annotations

import json
import math
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pydantic
from numpy.typing import NDArray
from optuna.trial import FrozenTrial

from fmnist_tune.study.layout import IDENTITY, RESULT, TEST_SCORES, WEIGHTS, StudyPaths, read_json
from fmnist_tune.study.record import StudyRecord
from fmnist_tune.study.trial_data import best_epoch_of
from fmnist_tune.tasks.config import TaskConfig
from fmnist_tune.training.results import EpochResult

UNREADABLE = (OSError, ValueError, EOFError, zipfile.BadZipFile)  # numpy's errors for a damaged file
HISTORY: pydantic.TypeAdapter[list[EpochResult]] = pydantic.TypeAdapter(list[EpochResult])


@dataclass(frozen=True)
class Plan:
    """One configuration to train with several seeds.

    Attributes:
        label: its folder's name.
        name: to show.
        config: what to train.
        n_epochs: stop after this many, on the schedule of all configured ones.
        with_val: hold out the validation split; otherwise train on it, and score the test images.
        keeps_weights: save the model even with a validation split.
    """

    label: str
    name: str
    config: TaskConfig
    n_epochs: int
    with_val: bool
    keeps_weights: bool = False

    @property
    def files(self) -> tuple[str, ...]:
        """The files that a finished seed leaves besides its result."""
        if not self.with_val:
            return (WEIGHTS, TEST_SCORES)
        return (WEIGHTS,) if self.keeps_weights else ()

    def identity(self, train_md5: Sequence[str]) -> dict[str, Any]:
        """Return as JSON data what a seed's result depends on, besides the seed.

        Args:
            train_md5: as in `StudyRecord.train_md5`.
        """
        described = {
            "config": self.config.model_dump(mode="json"),
            "n_epochs": self.n_epochs,
            "with_val": self.with_val,
            "train_md5": list(train_md5),
        }
        identity: dict[str, Any] = json.loads(json.dumps(described))
        return identity


def plan_for(record: StudyRecord, trial: FrozenTrial | None) -> Plan:
    """Return what a retraining trains: a trial's configuration, up to its best epoch, or the recipe.

    Args:
        record: the study.
        trial: an ended one; None for a recipe.
    """
    with_val = not record.space.task.has_test
    config = record.space.config({}) if trial is None else record.config_of(trial)
    best_epoch = None if trial is None else best_epoch_of(trial)
    n_epochs = config.training.epochs if best_epoch is None else best_epoch
    if not with_val:
        config = config.without_early_stopping()
    label = "recipe" if trial is None else f"trial-{trial.number}"
    return Plan(label, label.replace("-", " "), config, n_epochs, with_val=with_val, keeps_weights=True)


class SeedResult(pydantic.BaseModel):
    """One finished training, as in its result.json.

    Attributes:
        seed: of the training.
        folder: of its weights and test scores.
        files: size in bytes of each file that it left.
        epochs: number trained.
        train_s: seconds of training and validation.
        params: number of trainable parameters.
        val_accuracy: the same as `value`; None if the validation split was trained on.
        history: every epoch; without validation figures if there was no validation.
    """

    model_config = pydantic.ConfigDict(frozen=True, extra="ignore")

    seed: int
    folder: Path
    files: dict[str, int]
    epochs: pydantic.PositiveInt
    train_s: float
    params: pydantic.NonNegativeInt
    val_accuracy: float | None
    history: list[dict[str, Any]]

    @property
    def value(self) -> float:
        """The value that a search would give it; nan if the validation split was trained on."""
        return math.nan if self.val_accuracy is None else self.val_accuracy

    def results(self) -> list[EpochResult]:
        """Return every epoch of a training with a validation split."""
        return HISTORY.validate_python(self.history)

    def test_scores(self) -> NDArray[np.float32]:
        """Return the scores on the test set, (N, K)."""
        with (self.folder / TEST_SCORES).open("rb") as file:  # numpy leaves a damaged file open
            scores: NDArray[np.float32] = np.load(file, allow_pickle=False)
        return scores


def finished_seed(paths: StudyPaths, plan: Plan, seed: int, train_md5: Sequence[str]) -> SeedResult | None:
    """Return a seed's result; None if it is not finished.

    It is finished if result.json is complete, for this configuration and these data, and all files that the training
    had to leave exist, readable and of the recorded size.

    Args:
        paths: of the study.
        plan: what is trained.
        seed: of the training.
        train_md5: as for `Plan.identity`.
    """
    folder = paths.retraining(plan.label, seed)
    found = read_json(folder / RESULT)
    if not isinstance(found, dict) or read_json(folder / IDENTITY) != plan.identity(train_md5):
        return None
    try:
        result = SeedResult.model_validate({**found, "seed": seed, "folder": folder})
        if plan.with_val:
            result.results()
            if result.val_accuracy is None:
                return None
        if TEST_SCORES in plan.files and result.test_scores().ndim != 2:
            return None
    except (pydantic.ValidationError, *UNREADABLE):
        return None
    is_whole = set(plan.files) <= result.files.keys() and result.files.items() <= file_sizes(folder).items()
    return result if is_whole else None


def file_sizes(folder: Path) -> dict[str, int]:
    """Return the size in bytes of each file that a training left, by name."""
    files = (folder / name for name in (WEIGHTS, TEST_SCORES))
    return {path.name: path.stat().st_size for path in files if path.is_file()}
