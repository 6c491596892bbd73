"""Studies side by side: their results, their cost, and whether they are comparable."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from optuna.trial import FrozenTrial, TrialState

from fmnist_tune.config import flatten
from fmnist_tune.document.blocks import Table
from fmnist_tune.errors import UserError
from fmnist_tune.study.importances import importances_of
from fmnist_tune.study.record import StudyRecord
from fmnist_tune.study.retraining import RetrainingStatus, retraining_status
from fmnist_tune.study.retraining_record import DONE
from fmnist_tune.study.summary import STATE_NAMES, count_states, on_screen
from fmnist_tune.study.trial_data import metadata_of
from fmnist_tune.study.trial_table import short_names
from fmnist_tune.tasks.objective import Objective
from fmnist_tune.tasks.task import Task
from fmnist_tune.units import clock, percent

N_IMPORTANT = 3


@dataclass(frozen=True)
class Step:
    """A new best value, with the epochs and seconds of training until then, summed over all trials."""

    epochs: int
    train_s: float
    value: float


@dataclass(frozen=True)
class ComparedStudy:
    """A study in a comparison.

    Attributes:
        task: the task.
        trials: number by state, and in total; zero for a recipe.
        is_recipe: whether nothing is searched.
        best: number and value of the best COMPLETE trial; None without one.
        epochs, train_s: summed over all trials; training and validation.
        progress: each new best; if the objective is an accuracy, of any trial after any epoch.
        important: the most important parameters, with their shares; at most N_IMPORTANT.
        retrained: the task's result as in metrics.json; None without one.
    """

    name: str
    task: Task
    trials: dict[str, int]
    is_recipe: bool
    best: tuple[int, float] | None
    epochs: int
    train_s: float
    progress: tuple[Step, ...]
    important: dict[str, float]
    retrained: dict[str, Any] | None

    @property
    def objective(self) -> Objective:
        """What the study maximises."""
        return self.task.objective

    @classmethod
    def of(cls, record: StudyRecord, *, is_running: bool) -> ComparedStudy:
        """Read a study."""
        trials, best, metrics = record.trials, record.best, record.retraining.result or {}
        importances = importances_of(record)
        return cls(
            name=record.paths.name,
            task=record.space.task,
            trials=count_states(trials, is_running=is_running),
            is_recipe=record.is_recipe,
            best=None if best is None else (best.number, best.value or 0.0),
            epochs=sum(len(t.intermediate_values) for t in trials),
            train_s=sum(_seconds(t) for t in trials),
            progress=progress(trials, is_on_curve=record.objective.is_on_curve),
            important={} if importances is None else dict(list(importances.shares.items())[:N_IMPORTANT]),
            retrained=metrics.get(record.space.task.result_key),
        )

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON data."""
        best = None if self.best is None else {"number": self.best[0], "value": self.best[1]}
        return {
            "study": self.name,
            "metric": self.objective.metric,
            "trials": self.trials,
            "best": best,
            "epochs": self.epochs,
            "train_s": round(self.train_s, 3),
            "importances": self.important,
            self.task.result_key: self.retrained,
            "progress": [asdict(step) for step in self.progress],
        }


def progress(trials: Sequence[FrozenTrial], *, is_on_curve: bool) -> tuple[Step, ...]:
    """Return a search's new bests, as if its trials had been trained one after another.

    Trials are ordered by their end, unfinished ones last; a trial's epochs are assumed to be equally long.
    """
    steps: list[Step] = []
    epochs, train_s = 0, 0.0
    for trial in sorted(trials, key=lambda t: (t.datetime_complete or datetime.max, t.number)):
        curve = [value for _, value in sorted(trial.intermediate_values.items())]
        values = curve if is_on_curve else [trial.value] if trial.state == TrialState.COMPLETE else []
        n_before, epoch_s = len(curve) - len(values), _seconds(trial) / max(1, len(curve))
        for i, value in enumerate(values, start=1 + n_before):
            if value is not None and (not steps or value > steps[-1].value):
                steps.append(Step(epochs + i, train_s + i * epoch_s, value))
        epochs, train_s = epochs + len(curve), train_s + _seconds(trial)
    return tuple(steps)


def _seconds(trial: FrozenTrial) -> float:
    return float(metadata_of(trial).get("duration_s", 0.0))


def check_names(names: Sequence[str]) -> None:
    """Check the names of studies to compare.

    Raises:
        UserError: there are fewer than two, or one occurs twice.
    """
    twice = [name for name in dict.fromkeys(names) if names.count(name) > 1]
    if twice:
        raise UserError(f"study {twice[0]!r} is named twice")
    if len(names) < 2:
        shown = f"; `fmnist-tune show {names[0]}` shows one" if names else ""
        raise UserError(f"give two studies or more to compare{shown}")


def incomparable(records: Sequence[StudyRecord]) -> list[str]:
    """Return why studies are not comparable with the first one, a sentence each; empty if they are."""
    reasons = []
    first, *others = records
    for other in others:
        names = f"{first.paths.name} and {other.paths.name}"
        if first.objective.metric != other.objective.metric:
            reasons.append(f"{names} maximise different things: {first.objective.label}, {other.objective.label}")
            continue
        data, of_other = (record.optuna.user_attrs.get("data") for record in (first, other))
        if data is not None and of_other is not None and data != of_other:
            where = ", ".join(_different(data, of_other))
            reasons.append(f"{names} were trained on other data or another split ({where})")
    return reasons


def _different(first: Mapping[str, Any], second: Mapping[str, Any]) -> list[str]:
    leaves, others = flatten(dict(first)), flatten(dict(second))
    return [key for key in dict.fromkeys([*leaves, *others]) if leaves.get(key) != others.get(key)]


def comparison_table(studies: Sequence[ComparedStudy]) -> Table:
    """Return studies as a table, in their order."""
    header = ("study", "best", "trial", "trials", "epochs", "training", "retrained", "what mattered")
    rows = []
    for s in studies:
        names = short_names(list(s.important))
        best = ("-", "-") if s.best is None else (s.objective.text(s.best[1]), str(s.best[0]))
        total = "recipe" if s.is_recipe else str(s.trials["total"])
        retrained = "-" if s.retrained is None else s.task.compared_result(s.retrained)
        mattered = ", ".join(f"{names[path]} {percent(share, 0)}" for path, share in s.important.items())
        rows.append((s.name, *best, total, f"{s.epochs:,}", clock(s.train_s), retrained, mattered))
    return Table(header, rows, left=header[-2:], optional=(header[-1:], ("epochs", "training")))


def studies_table(rows: Sequence[tuple[str, ...]]) -> Table:
    """Return the rows of studies as a table."""
    states = tuple(map(on_screen, STATE_NAMES.values()))
    return Table(("study", "trials", *states, "best", "trial", "retrained"), rows, ("retrained",), (states,))


def study_row(record: StudyRecord, *, is_running: bool) -> tuple[str, ...]:
    """Return a study's status: its trials by state, its best trial and its retraining."""
    retrained = retraining_cell(record, retraining_status(record, is_running=is_running))
    counts = count_states(record.trials, is_running=is_running)
    if record.is_recipe:
        return (record.paths.name, "recipe", *[""] * len(STATE_NAMES), "", "", retrained)
    best = ("-", "-")
    if record.best is not None:
        best = (record.objective.text(record.best.value or 0.0), str(record.best.number))
    states = (str(counts[state]) for state in STATE_NAMES.values())
    return (record.paths.name, f"{counts['total']}/{record.quota.n_target}", *states, *best, retrained)


def retraining_cell(record: StudyRecord, retraining: RetrainingStatus | None) -> str:
    """Return the status and result of a study's latest retraining, in a few words; empty before the first.

    A recipe without a training is shown as not trained yet.
    """
    parts = []
    if retraining is not None and retraining.state != DONE:
        parts.append(", ".join(text for text in (retraining.state, retraining.progress) if text))
    metrics = record.retraining.result
    if metrics is not None:
        task = record.space.task
        parts.append(task.short_result(metrics[task.result_key]))
    elif not parts and record.is_recipe:
        parts.append("not trained yet")
    return "; ".join(parts)
