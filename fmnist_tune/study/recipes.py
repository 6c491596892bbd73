"""Trials as recipes: a file of YAML in which nothing is searched."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from optuna.trial import FrozenTrial, TrialState

from fmnist_tune.config import dump_yaml
from fmnist_tune.escaping import printable
from fmnist_tune.study.layout import write_atomically
from fmnist_tune.study.sampling import values_of
from fmnist_tune.study.trial_data import best_epoch_of, metadata_of

if TYPE_CHECKING:
    from fmnist_tune.study.record import StudyRecord


def recipe_of(record: StudyRecord, trial: FrozenTrial | None) -> str:
    """Return what a trial trains, in YAML; where there is none, the study's own recipe."""
    if trial is None:
        return record.space.to_yaml()
    value = f", {record.objective.metric} {trial.value:.4f}" if trial.value is not None else ""
    if trial.state == TrialState.FAIL:
        value = f", which failed: {' '.join(printable(str(metadata_of(trial).get('reason', 'unknown'))).split())}"
    lines = [f"# Trial {trial.number} of study {record.paths.name}{value}."]
    best_epoch = best_epoch_of(trial)
    if best_epoch is not None and best_epoch < (n_epochs := record.config_of(trial).training.epochs):
        lines.append(f"# It was best after epoch {best_epoch}: `retrain` trains it for so many. `train` of this file,")
        lines.append(f"# which has no validation split to stop early by, trains it for all {n_epochs}.")
    return "\n".join([*lines, dump_yaml(_as_data(record, trial))])


def best_as_data(record: StudyRecord) -> dict[str, Any] | None:
    """Return the best COMPLETE trial as plain data: number, value and config (a recipe); None before there is one."""
    best = record.best
    if best is None:
        return None
    return {"number": best.number, "value": best.value, "config": _as_data(record, best)}


def write_best_recipe(record: StudyRecord) -> None:
    """Keep best.yaml current; there is none before there is a best trial."""
    if record.best is not None:
        write_atomically(record.paths.best_recipe, recipe_of(record, record.best))


def _as_data(record: StudyRecord, trial: FrozenTrial) -> dict[str, Any]:
    return record.space.recipe(values_of(trial.params, record.space))
