"""What becomes of a study's trials: every state that one passes through is written here, by the driver alone.

A trial is WAITING while it pauses at a rung or is interrupted and may go on, RUNNING while a worker trains it, and ends
as COMPLETE (trained to its end), PRUNED (stopped by ASHA) or FAIL (with its reason).
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, get_args

import optuna
from optuna.exceptions import ExperimentalWarning
from optuna.trial import FrozenTrial, TrialState

from fmnist_tune.config import TrialConfig
from fmnist_tune.config.tasks import AnyConfig
from fmnist_tune.errors import UserError
from fmnist_tune.seeds import derive_seed
from fmnist_tune.study.curves import LOOKS_KEY, looks_of
from fmnist_tune.study.known_good import known_good
from fmnist_tune.study.record import HISTORY_KEY, KNOWN_GOOD_KEY, TAKEN_FROM_KEY, StudyRecord
from fmnist_tune.study.sampling import params_of, sampler_for, suggest, values_of
from fmnist_tune.training.results import EpochResult, Look, StopReason

GOING_ON_KEY = "goes_on_from"


def goes_on_from(trial: FrozenTrial, rung: float) -> bool:
    """Tell whether a waiting trial at a rung had been let go on from there, or had been trained to its end."""
    is_trained = trial.user_attrs.get("stop_reason") in get_args(StopReason)
    return is_trained or trial.system_attrs.get(GOING_ON_KEY) == rung


@dataclass(frozen=True)
class Attempt:
    """A trial that has been given to a worker.

    Attributes:
        number: the trial's, in its study.
        config: what to train.
        seed: of the training.
        values: the searched values, by dotted path.
        curve: validation accuracy by epoch, as far as the study knows it from before an interruption.
        looks: the same by the share of the first epoch.
    """

    number: int
    config: AnyConfig
    seed: int
    values: Mapping[str, Any]
    curve: Mapping[int, float]
    looks: Mapping[float, float]


class UnbuildableError(UserError):
    """A trial's values are no configuration; it has failed."""

    def __init__(self, number: int, reason: str) -> None:
        super().__init__(reason)
        self.number = number


class TrialWriter:
    """A study's trials, for the driver that holds its lock: asked for trials, told what came of them."""

    def __init__(self, record: StudyRecord) -> None:
        """Take over the trials of a study."""
        self._record = record
        self._study = record.optuna
        self._storage = record.optuna._storage
        self._running: dict[int, optuna.Trial] = {}

    def recover(self) -> list[int]:
        """Put trials that no living process trains back in the queue; returns their numbers."""
        orphans = [t for t in self._record.trials if t.state == TrialState.RUNNING]
        for trial in orphans:
            self._storage.set_trial_state_values(trial._trial_id, TrialState.WAITING)
        return [t.number for t in orphans]

    @cached_property
    def known_good(self) -> list[dict[str, Any]]:
        """The searched values of the trials that a study begins with instead of drawing them."""
        space = self._record.space
        if space.settings.search.sampler.name != "tpe" or space.settings.task != TrialConfig.task:
            return []
        knows_better = any(TAKEN_FROM_KEY in t.user_attrs for t in self._record.trials)
        return [] if knows_better else known_good(space)

    def begin(self, number: int | None = None) -> Attempt | None:
        """Give a trial to a worker: one that waits, or a new one.

        Args:
            number: of the waiting trial; None for a new one.

        Returns:
            None if it was to be a new one and the study is full.

        Raises:
            UnbuildableError: the trial cannot be built, and has been told as FAIL with its reason.
        """
        if number is None and self._record.is_full:
            return None
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)
            trial = self._ask(number)
            values = suggest(trial, self._record.space)
        self._running[trial.number] = trial
        try:
            return self.attempt(trial.number, values)
        except UserError as error:
            self.fail(trial.number, str(error))
            raise UnbuildableError(trial.number, str(error)) from None

    def attempt(self, number: int, values: dict[str, Any] | None = None) -> Attempt:
        """Return what a trial trains, with its curve so far.

        Args:
            number: the trial's.
            values: its searched values; None for those that the study has.

        Raises:
            UserError: it cannot be built.
        """
        trial = self._record.trials[number]
        values = values_of(trial.params, self._record.space) if values is None else values
        seed = derive_seed(self._record.space.settings.search.sampler.seed, number, "training")
        return Attempt(
            number=number,
            config=self._record.space.config(values),
            seed=seed,
            values=values,
            curve=dict(trial.intermediate_values),
            looks=looks_of(trial),
        )

    def _ask(self, number: int | None) -> optuna.Trial:
        """Do as Study.ask, which would take a waiting trial of its own choice."""
        self._study._thread_local.cached_all_trials = None
        new = len(self._record.trials) if number is None else number
        self._study.sampler = sampler_for(self._record.space, new, has_known_good=bool(self.known_good))
        if number is None:
            trial_id = self._storage.create_new_trial(self._study._study_id, self._known_good())
        else:
            trial_id = self._record.trials[number]._trial_id
            self._storage.set_trial_state_values(trial_id, TrialState.RUNNING)
        return optuna.Trial(self._study, trial_id)

    def _known_good(self) -> FrozenTrial | None:
        """Return the next of the trials known to do well, as Study.enqueue_trial would put it; None if none is left."""
        number = len(self._record.trials)
        if number >= len(self.known_good):
            return None
        params, _ = params_of(self.known_good[number], self._record.space)
        return optuna.trial.create_trial(
            state=TrialState.RUNNING, user_attrs={KNOWN_GOOD_KEY: True}, system_attrs={"fixed_params": params}
        )

    def report(self, number: int, epoch: int, val_accuracy: float) -> None:
        """Record an epoch's validation accuracy."""
        self._running[number].report(val_accuracy, epoch)

    def note(self, number: int, attributes: Mapping[str, Any]) -> None:
        """Record attributes of a trial that runs or waits; ended trials cannot change."""
        trial_id = self._record.trials[number]._trial_id
        for key, value in attributes.items():
            self._storage.set_trial_user_attr(trial_id, key, value)

    def note_look(self, number: int, look: Look) -> None:
        """Record what a running trial's look within its first epoch gave."""
        looks = self.attributes(number).get(LOOKS_KEY, [])
        self.note(number, {LOOKS_KEY: [*looks, [look.share, look.val_accuracy]]})

    def note_history(self, number: int, history: Sequence[EpochResult]) -> None:
        """Record every epoch of a running trial; out of the dashboard's sight, which would print it on one line."""
        trial_id = self._running[number]._trial_id
        self._storage.set_trial_system_attr(trial_id, HISTORY_KEY, [vars(result) for result in history])

    def note_going_on(self, number: int, rung: float) -> None:
        """Record that a trial is let go on from its rung."""
        trial_id = self._record.trials[number]._trial_id
        self._storage.set_trial_system_attr(trial_id, GOING_ON_KEY, rung)

    def attributes(self, number: int) -> dict[str, Any]:
        """Return a trial's attributes."""
        return self._record.trials[number].user_attrs

    def complete(self, number: int, value: float) -> None:
        """End a trial that was trained to its end, and keep best.yaml current."""
        self._study.tell(self._running.pop(number), value)
        best = self._record.best
        if best is not None and best.number == number:
            self._record.write_best_recipe()

    def prune(self, number: int) -> None:
        """End a trial that ASHA stopped, running or waiting.

        Its value is its last epoch's validation accuracy, if it ended one and that is what the study maximises.
        """
        self._running.pop(number, None)
        trial = self._record.trials[number]
        values = None
        if trial.last_step is not None and self._record.objective.is_val_accuracy:
            values = [trial.intermediate_values[trial.last_step]]
        self._storage.set_trial_state_values(trial._trial_id, TrialState.PRUNED, values)

    def fail(self, number: int, reason: str) -> None:
        """End a trial that cannot go on."""
        self.note(number, {"reason": reason})
        self._study.tell(self._running.pop(number), state=TrialState.FAIL)

    def release(self, number: int) -> None:
        """Put a running trial back in the queue."""
        trial = self._running.pop(number)
        self._storage.set_trial_state_values(trial._trial_id, TrialState.WAITING)
