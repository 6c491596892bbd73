"""The waiting trials, and the scheduler's decisions about them."""

from __future__ import annotations

import math
import operator
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any, TypeVar

from optuna.trial import FrozenTrial, TrialState

from fmnist_tune.config import SearchSpace
from fmnist_tune.config.domain import ChoiceDomain
from fmnist_tune.errors import UserError
from fmnist_tune.registry import told
from fmnist_tune.search.budget import Budget
from fmnist_tune.search.deadline import Deadline
from fmnist_tune.search.known_trials import KnownTrials
from fmnist_tune.search.scheduler import Pick, Situation, checked_milestone
from fmnist_tune.study.lessons import lessons_in
from fmnist_tune.study.record import StudyRecord
from fmnist_tune.study.trial_data import curve_of
from fmnist_tune.study.trial_writer import HELD_KEY, has_ended_training, milestone_of, promoted_from

T = TypeVar("T")


class Planner:
    """Connects the driver and a scheduler: keeps the waiting trials and each trial's milestone.

    Interrupted trials go first, held ones last. An error of the scheduler ends the search; no trial is lost.

    Attributes:
        problem: the scheduler's error; None while there is none.
    """

    def __init__(self, record: StudyRecord, deadline: Deadline, versions: Counter[int], *, n_workers: int) -> None:
        """Plan the trials of a study; none is running.

        Args:
            record: the study.
            deadline: of the run.
            versions: of each trial, by number: grows whenever the trial is written.
            n_workers: how many trials are trained at a time.
        """
        self._record = record
        self._deadline = deadline
        self._n_workers = n_workers
        self._section = record.space.settings.search.pruner
        self._lessons = lessons_in(record)
        self.problem: str | None = None
        self._interrupted: set[int] = set()
        self._paused: set[int] = set()
        self._held: set[int] = set()
        self._running: set[int] = set()
        self._milestones: dict[int, float] = {}
        self._scheduler = self._section.build()
        self._scheduler.accuracy_text = record.objective.curve_text
        self._budget = Budget(self._scheduler, deadline)
        self._known = KnownTrials(record, deadline, versions, {"paused": self._paused, "running": self._running})
        for trial in record.trials:
            for epoch, accuracy in curve_of(trial).items():
                self.report(trial.number, epoch, accuracy)
        for trial in record.trials:
            if trial.state == TrialState.WAITING:
                deadline.recall(trial)
                self._ask(partial(self._restore, trial), None)

    def _restore(self, trial: FrozenTrial) -> None:
        """Restore a waiting trial of an earlier run: paused at its milestone, or interrupted on the way to it."""
        number, curve, milestone = trial.number, curve_of(trial), milestone_of(trial)
        latest = max(curve, default=0.0)
        if milestone is None:  # up to version 0.2.0 it followed from the settings
            is_promoted = promoted_from(trial) == latest
            before = latest if is_promoted else max((epoch for epoch in curve if epoch < latest), default=0.0)
            milestone = self._milestone_after(before)
        self._milestones[number] = math.inf if has_ended_training(trial) else milestone
        is_paused = latest > 0 and self.is_at_milestone(number, latest)
        is_held = trial.system_attrs.get(HELD_KEY) is not None
        (self._held if is_held else self._paused if is_paused else self._interrupted).add(number)

    def report(self, number: int, epoch: float, accuracy: float) -> None:
        """Pass an evaluation to the scheduler."""
        self._ask(lambda: self._scheduler.report(number, epoch, accuracy), None)

    def is_at_milestone(self, number: int, epoch: float) -> bool:
        """Return whether an epoch is the trial's milestone."""
        while self._milestones[number] < epoch:  # within the first epoch not every milestone may be evaluated
            before = self._milestones[number]
            self._milestones[number] = self._ask(partial(self._milestone_after, before), math.inf)
        return self._milestones[number] == epoch

    def partial_milestones(self, number: int) -> tuple[float, ...]:
        """Return the milestones within the first epoch that a running trial may reach, its next one first."""
        found, milestone = [], self._milestones[number]
        while milestone < 1:
            found.append(milestone)
            milestone = self._ask(lambda: self._milestone_after(found[-1]), math.inf)
        return tuple(found)

    def next(self) -> Pick | None:
        """Return what a free worker trains, with its milestone; None for nothing now."""
        situation = self._situation()
        pick = self._ask(lambda: self._checked(self._budget.next(situation, self._interrupted), situation), None)
        if pick is None and not self._running and self._held:
            number = min(self._held)
            return Pick(number, self._milestones[number])
        return pick

    @property
    def is_stuck(self) -> bool:
        """Whether nothing would be trained even with unlimited time."""
        situation = replace(self._situation(), left_s=math.inf)
        return self._ask(lambda: self._budget.pick(situation, self._interrupted) is None, False)

    def blame(self, text: str) -> None:
        """Take note of what is wrong with the scheduler; the search ends by it."""
        self.problem = self.problem or f"search.pruner: {self._section.name}: {text}"

    def start(self, number: int, milestone: float) -> None:
        """Start a trial, waiting or new: a worker trains it to its milestone."""
        self.end(number)
        self._milestones[number] = milestone
        self._running.add(number)

    def end(self, number: int) -> None:
        """Forget an ended trial."""
        for numbers in (self._interrupted, self._paused, self._held, self._running):
            numbers.discard(number)

    def requeue(self, number: int) -> None:
        """Requeue a trial that was interrupted on the way to its milestone."""
        self._running.discard(number)
        self._interrupted.add(number)

    def hold(self, number: int) -> None:
        """Requeue a trial behind all others, including new ones."""
        self._running.discard(number)
        self._held.add(number)

    def pause(self, number: int) -> None:
        """Pause a trial at its milestone."""
        self._running.discard(number)
        self._paused.add(number)

    def goes_on(self, number: int) -> Pick | None:
        """Return the pick that lets a trial continue that has just paused; None if it stays paused."""
        if self._ask(lambda: self._budget.is_finishing(number), False):
            situation = self._situation()
            return self._ask(lambda: self._checked(Pick(number), situation), None)
        pick = self.next()
        return pick if pick is not None and pick.number == number else None

    @property
    def n_paused(self) -> int:
        """Number of trials paused at their milestones."""
        return len(self._paused)

    def rank_text(self, number: int) -> str:
        """Return a trial's rank at its milestone as text."""
        return self._ask(lambda: str(self._scheduler.rank_text(number)), "")

    def to_prune(self, *, everything: bool = False) -> dict[int, str]:
        """Return the paused trials to prune, by number, with reasons: the scheduler's choice, or all."""
        situation = self._situation()

        def found() -> dict[int, str]:
            named = situation.paused if everything else self._scheduler.to_prune(situation)
            return {n: str(self._scheduler.verdict(n, situation)) for n in named if n in self._paused}

        return self._ask(found, {})

    def _situation(self) -> Situation:
        return Situation(
            paused=sorted(self._paused),
            running={number: self._milestones[number] for number in sorted(self._running)},
            can_begin=not self._record.is_full,
            n_workers=self._n_workers,
            left_s=self._deadline.left_s,
            epoch_s=self._deadline.epoch_s(None),
            space=self._record.space,
            trials=self._known,
            lessons=self._lessons,
        )

    def _checked(self, pick: Pick | None, situation: Situation) -> Pick | None:
        """Return a pick, completed by its milestone.

        Raises:
            ValueError: the pick is invalid.
        """
        if pick is None:
            return None
        number = None if pick.number is None else operator.index(pick.number)
        pick = replace(pick, number=number, values={path: _plain(value) for path, value in pick.values.items()})
        if number in self._interrupted:
            return replace(pick, milestone=self._milestones[number])
        if number is None and not situation.can_begin:
            raise ValueError(f"{pick}: the study has all of its trials")
        if number is not None and number not in self._paused:
            raise ValueError(f"{pick}: trial {number} does not wait at a milestone")
        _check_values(pick, situation.space)
        epoch = 0.0 if number is None else self._scheduler.last_epoch(number)
        return replace(pick, milestone=self._milestone_after(epoch, pick.milestone))

    def _milestone_after(self, epoch: float, milestone: float | None = None) -> float:
        """Return the given milestone, or else the scheduler's.

        Raises:
            ValueError: it is invalid.
        """
        milestone = self._scheduler.milestone(epoch) if milestone is None else milestone
        return checked_milestone(milestone, after=epoch)

    def _ask(self, question: Callable[[], T], otherwise: T) -> T:
        """Return the scheduler's answer; record any error of its own as `problem`."""
        if self.problem is not None:
            return otherwise
        try:
            return question()
        except UserError:
            raise
        except Exception as error:
            if type(self._section).__module__.startswith(f"{__package__}."):
                raise
            self.blame(told(error))
            return otherwise


def _check_values(pick: Pick, space: SearchSpace) -> None:
    for path, value in pick.values.items():
        domain = next((p.domain for p in space.parameters if p.path == path), None)
        known = domain.listed(value) if isinstance(domain, ChoiceDomain) else value
        if domain is None or known not in domain:
            raise ValueError(f"{pick}: {path} cannot be {value!r}: {domain or 'it is not searched'}")


def _plain(value: Any) -> Any:
    """Return a value that JSON can hold: numpy's numbers are not."""
    return value.item() if hasattr(value, "item") else value
