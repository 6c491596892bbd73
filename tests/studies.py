"""Studies without workers: a search space, its driver, and what workers would report."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from optuna.storages import RDBStorage

from fmnist_tune.config import read_space
from fmnist_tune.search.driver import Driver
from fmnist_tune.search.events import Event
from fmnist_tune.search.messages import TrialReport
from fmnist_tune.study.database import database_url, open_database
from fmnist_tune.study.layout import StudyPaths, write_atomically
from fmnist_tune.study.record import StudyRecord
from fmnist_tune.study.seed_results import plan_for
from fmnist_tune.training.results import EpochResult, Evaluation

SPACE = """
study: s
search: {trials: 6, sampler: {name: random, seed: 3}, pruner: {name: asha, reduction_factor: 2}}
model: {name: mlp, hidden: {choice: [[8], [16, 8]]}, dropout: {float: [0.0, 0.5]}}
training:
  epochs: 4
  optimizer:
    name: {choice: [sgd, adamw]}
    lr: {float: [1e-4, 1e-1], log: true}
    momentum: {float: [0.8, 0.99], when: {training.optimizer.name: sgd}}
"""


def open_study(folder: Path, text: str = SPACE, *, storage: RDBStorage | None = None, **overrides: Any) -> StudyRecord:
    storage = open_database(database_url(folder), create=True) if storage is None else storage
    space = read_space(text, "s.yaml", {key.replace("__", "."): value for key, value in overrides.items()})
    return StudyRecord.open(storage, space, StudyPaths(folder, space.settings.study))


def drive(record: StudyRecord, events: list[Event] | None = None, **kwargs: Any) -> Driver:
    sink = events if events is not None else []
    return Driver(record, **{"deadline": None, "n_threads": 1, "on_event": sink.append, **kwargs})


def result(epoch: int, accuracy: float) -> EpochResult:
    return EpochResult(
        epoch=epoch,
        train_loss=0.5,
        train_accuracy=accuracy,
        val_loss=0.5,
        val_accuracy=accuracy,
        lr=0.01,
        train_s=1.0,
        val_s=0.1,
        n_images=500,
    )


def report(
    number: int,
    curve: list[float],
    *,
    stop: Any = None,
    failure: str | None = None,
    n_new: int = 1,
    epoch_s: float = 1.1,
) -> TrialReport:
    history = tuple(replace(result(i + 1, value), train_s=epoch_s - 0.1) for i, value in enumerate(curve))
    metadata = {"params": 7, "ran_on": "here"}
    return TrialReport(number, history[len(history) - n_new :], len(history), stop, failure, metadata, n_new * epoch_s)


def partial(number: int, accuracy: float, train_s: float = 1.0) -> TrialReport:
    partial = Evaluation(epoch=0.5, val_accuracy=accuracy, train_s=train_s, val_s=0.5)
    return TrialReport(number, (partial,), 0, None, None, {"params": 7}, train_s + 0.5)


def finish_seed(record: StudyRecord, trial: int | None, seed: int) -> Path:
    """Leave the files of a finished seed of a retraining; returns their folder."""
    plan = plan_for(record, None if trial is None else record.trials[trial])
    folder = record.paths.retraining(plan.label, seed)
    write_atomically(folder / "of.json", json.dumps(plan.identity(record.train_md5)))
    (folder / "weights.safetensors").write_bytes(bytes(100))
    np.save(folder / "test_scores.npy", np.zeros((3, 10), dtype=np.float32))
    files = {name: (folder / name).stat().st_size for name in plan.files}
    history = [dataclasses.asdict(result(epoch, 0.9)) for epoch in (1, 2)]
    found = {"files": files, "epochs": 2, "train_s": 2.0, "params": 7, "val_accuracy": 0.9, "history": history}
    write_atomically(folder / "result.json", json.dumps(found))
    return folder
