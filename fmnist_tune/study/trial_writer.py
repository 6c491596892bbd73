"""Writes a study's trials: every change of state is written here, by the driver alone.

A trial is WAITING while it is paused at a rung or interrupted, and RUNNING while a worker trains it. It ends as
COMPLETE (trained to its end), PRUNED (stopped by the scheduler) or FAIL (with its reason).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, get_args

from optuna.trial import FrozenTrial, TrialState

from fmnist_tune.errors import UserError
from fmnist_tune.seeds import derive_seed
from fmnist_tune.study.recipes import write_best_recipe
from fmnist_tune.study.record import StudyRecord
from fmnist_tune.study.sampling import ShownTrials, key_of, params_of, sample, values_of
from fmnist_tune.study.trial_data import (
    INITIAL_KEY,
    METADATA_KEY,
    curve_of,
    history_of,
    metadata_of,
    progress_attributes,
)
from fmnist_tune.tasks.config import TaskConfig
from fmnist_tune.training.results import EpochResult, StopReason

MILESTONE_KEY = "milestone"  # system attribute: the epoch up to which a trial is or was trained; None for its end
PROMOTED_KEY = "goes_on_from"  # until version 0.2.0: the rung from which it was promoted
NOTE_PREFIX = "picked:"  # system attributes, each with the epoch where a trial was picked: the scheduler's note
HELD_KEY = "held_back"  # system attribute: why a trial failed before anything was trained; None once it was trained


def milestone_of(trial: FrozenTrial) -> float | None:
    """Return the epoch up to which a trial is or was trained; None if an earlier version did not record it."""
    if MILESTONE_KEY not in trial.system_attrs:
        return None
    milestone: float | None = trial.system_attrs[MILESTONE_KEY]
    return math.inf if milestone is None else milestone


def notes_of(trial: FrozenTrial) -> dict[float, Any]:
    """Return a scheduler's notes, by the epoch at which the trial was picked."""
    attributes = trial.system_attrs.items()
    return {float(k.removeprefix(NOTE_PREFIX)): note for k, note in attributes if k.startswith(NOTE_PREFIX)}


def promoted_from(trial: FrozenTrial) -> float | None:
    """Return the rung from which an earlier version promoted a trial; None without one."""
    return trial.system_attrs.get(PROMOTED_KEY)


def has_ended_training(trial: FrozenTrial) -> bool:
    """Return whether a trial's training had ended when its driver died."""
    return metadata_of(trial).get("stop_reason") in get_args(StopReason)


@dataclass(frozen=True)
class TrialSpec:
    """A trial for a worker.

    Attributes:
        number: the trial's, in its study.
        config: what to train.
        seed: of the training.
        values: the searched values, by dotted path.
        history: its epochs up to its last rung or interruption.
        curve: validation accuracy by epoch as recorded in the study, possibly beyond `history`.
    """

    number: int
    config: TaskConfig
    seed: int
    values: Mapping[str, Any]
    history: Sequence[EpochResult]
    curve: Mapping[float, float]

    @property
    def n_epochs_known(self) -> float:
        """Epochs that workers need not report; below 1, the recorded share of the first one."""
        return len(self.history) or max((epoch for epoch in self.curve if epoch < 1), default=0)


def trial_spec(record: StudyRecord, trial: FrozenTrial) -> TrialSpec:
    """Return what a trial trains, with its curve so far.

    Raises:
        UserError: it cannot be built.
    """
    values = values_of(trial.params, record.space)
    return TrialSpec(
        number=trial.number,
        config=record.space.config(values),
        seed=derive_seed(record.space.settings.search.sampler.seed, trial.number, "training"),
        values=values,
        history=history_of(trial),
        curve=curve_of(trial),
    )


class UnbuildableError(UserError):
    """A trial's values are no valid configuration; it has failed."""

    def __init__(self, number: int, reason: str) -> None:
        super().__init__(reason)
        self.number = number


class TrialWriter:
    """A study's trials, for the driver that holds its lock: creates them and records their outcomes.

    Attributes:
        initial: the initial points that have not started, with values as Optuna stores them.
        versions: of each trial, by number: grows whenever the trial is written.
    """

    def __init__(self, record: StudyRecord) -> None:
        """Read the trials of a study, which keeps them in memory from now on."""
        self._record = record
        self._trials = record.keep_trials()
        self.versions = self._trials.versions
        self._is_grid = record.space.settings.search.sampler.name == "grid"
        self._shown = ShownTrials(self._trials.all, shows_all=self._is_grid)
        points = [params_of(point, record.space)[0] for point in record.space.initial]
        begun = {key_of(t.system_attrs.get("fixed_params", t.params)) for t in self._trials.all}
        self.initial = [point for point in points if key_of(point) not in begun]

    def recover(self) -> list[int]:
        """Requeue trials that no live process trains; return their numbers.

        A driver killed when a trial reached a rung or its end may have recorded epochs only in the trial's history:
        their accuracies are recorded now, since no worker reports these epochs again.
        """
        for trial in self._trials.all:
            if not trial.state.is_finished():
                for result in history_of(trial):
                    if result.epoch not in trial.intermediate_values:
                        self._trials.report(trial.number, result.epoch, result.val_accuracy)
        orphans = [t.number for t in self._trials.all if t.state == TrialState.RUNNING]
        for number in orphans:
            self._trials.set_state(number, TrialState.WAITING)
        return orphans

    def begin(
        self,
        number: int | None = None,
        *,
        milestone: float = math.inf,
        proposed: Mapping[str, Any] | None = None,
        note: Any = None,
    ) -> TrialSpec | None:
        """Start a waiting trial or a new one.

        Args:
            number: of the waiting trial; None for a new one.
            milestone: of a new one, recorded with it: an epoch, infinite for its end.
            proposed: values of a new one that is no initial point, by dotted path; missing ones are sampled.
            note: the scheduler's, of a new one.

        Returns:
            The trial; None for a new one if the study is full.

        Raises:
            UnbuildableError: the trial cannot be built, and is recorded as FAIL with its reason.
        """
        if number is None:
            if self._record.is_full:
                return None
            new = self._new(params_of(proposed or {}, self._record.space)[0])
            new.system_attrs[MILESTONE_KEY] = _stored(milestone)
            if note is not None:
                new.system_attrs[f"{NOTE_PREFIX}0"] = note
            number = self._trials.create(new).number
        else:
            self._fill_in(self._trials[number])
            self._trials.set_state(number, TrialState.RUNNING)
        try:
            return self.spec(number)
        except UserError as error:
            self.fail(number, str(error))
            raise UnbuildableError(number, str(error)) from None

    def spec(self, number: int) -> TrialSpec:
        """Return what a trial trains, with its curve so far.

        Raises:
            UserError: it cannot be built.
        """
        return trial_spec(self._record, self._trials[number])

    def _new(self, proposed: Mapping[str, Any]) -> FrozenTrial:
        """Return a new trial: from the next initial point, or from the proposed values, or sampled."""
        number = len(self._trials.all)
        while self.initial:
            sampled = self._sample(number, self.initial.pop(0))
            if not self._is_grid or all(t.params != sampled.params for t in self._trials.all):
                sampled.user_attrs[INITIAL_KEY] = True
                return sampled
        return self._sample(number, proposed)

    def _fill_in(self, trial: FrozenTrial) -> None:
        """Sample the missing values of a waiting trial: one enqueued, or killed during sampling in version 0.1."""
        given = {**trial.system_attrs.get("fixed_params", {}), **trial.params}
        space = self._record.space
        known = values_of(trial.params, space)
        if all(p.path in known for p in space.parameters if space.is_active(p, known)):
            return
        sampled = self._sample(trial.number, given)
        missing = {name: value for name, value in sampled.params.items() if name not in trial.params}
        self._trials.set_params(trial.number, missing, sampled.distributions)

    def _sample(self, number: int, given: Mapping[str, Any]) -> FrozenTrial:
        return sample(self._record.space, self._shown.select(without=number), number, given=given)

    def report(self, number: int, epoch: int, val_accuracy: float) -> None:
        """Record an epoch's validation accuracy."""
        self._trials.report(number, epoch, val_accuracy)

    def note_progress(self, number: int, epochs: Sequence[EpochResult], metadata: Mapping[str, Any]) -> None:
        """Record a running trial's epochs since the last call, and its metadata."""
        for key, value in progress_attributes(self._trials[number], epochs, metadata):
            self._trials.set_system_attr(number, key, value)

    def note_promotion(self, number: int, milestone: float, note: Any = None) -> None:
        """Record the scheduler's note, then the milestone to which a trial is promoted: infinite for its end."""
        trial = self._trials[number]
        if note is not None:
            self._trials.set_system_attr(number, f"{NOTE_PREFIX}{max(curve_of(trial), default=0.0)}", note)
        if milestone_of(trial) != milestone:
            self._trials.set_system_attr(number, MILESTONE_KEY, _stored(milestone))

    def note_held(self, number: int, reason: str | None) -> None:
        """Record why a trial is held behind all others; None once it has been trained."""
        self._trials.set_system_attr(number, HELD_KEY, reason)

    def count_crash(self, number: int, epoch: int) -> int:
        """Record the death of a trial's worker; return how many there were in this epoch."""
        known = self._trials[number].user_attrs
        n_crashes: int = 1 + (known["crashes"] if known.get("crashed_in_epoch") == epoch else 0)
        self._trials.set_user_attr(number, "crashes", n_crashes)
        self._trials.set_user_attr(number, "crashed_in_epoch", epoch)
        return n_crashes

    def complete(self, number: int, value: float) -> None:
        """Complete a trial, and update best.yaml."""
        self._end(number, TrialState.COMPLETE, {}, value)
        best = self._record.best
        if best is not None and best.number == number:
            write_best_recipe(self._record)

    def prune(self, number: int, reason: str) -> None:
        """Prune a trial, running or waiting.

        Its value is its last epoch's validation accuracy, if it ended one and that is the objective.
        """
        trial, value = self._trials[number], None
        if trial.last_step is not None and self._record.objective.is_on_curve:
            value = trial.intermediate_values[trial.last_step]
        self._end(number, TrialState.PRUNED, {"stop_reason": reason}, value)

    def fail(self, number: int, reason: str) -> None:
        """Fail a trial that cannot continue."""
        self._end(number, TrialState.FAIL, {"reason": reason}, None)

    def _end(self, number: int, state: TrialState, metadata: Mapping[str, Any], value: float | None) -> None:
        """End a trial; first copy its metadata to where the dashboard shows them, since ended trials cannot change."""
        known = self._trials[number]
        found = {**metadata_of(known), **metadata}
        new = {key: value for key, value in found.items() if known.user_attrs.get(key) != value}
        if new != known.user_attrs.get(METADATA_KEY, {}):
            self._trials.set_user_attr(number, METADATA_KEY, new)
        self._trials.set_state(number, state, value)

    def release(self, number: int) -> None:
        """Requeue a running trial."""
        self._trials.set_state(number, TrialState.WAITING)


def _stored(milestone: float) -> float | None:
    return None if math.isinf(milestone) else milestone
