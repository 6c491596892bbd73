"""What decides which trial a free worker trains, and how far: derive a scheduler, and the section that builds it."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeAlias

from pydantic import model_validator

from fmnist_tune.section import Section
from fmnist_tune.units import percent

if TYPE_CHECKING:
    from fmnist_tune.config import SearchSpace


WHOLE_FROM = 0.9  # of an epoch; our schedulers have no milestone between there and the end of the first epoch

State: TypeAlias = Literal["running", "paused", "interrupted", "ended"]


@dataclass(frozen=True)
class KnownTrial:
    """A trial as a scheduler sees it.

    Attributes:
        number: the trial's.
        state: a paused trial waits at its milestone; an interrupted one, somewhere else, goes on before any other.
        values: the searched values, by dotted path.
        curve: validation accuracy by epoch; below 1, by the share of the first epoch, on a sample.
        n_epochs: of its whole training.
        epoch_s: seconds that its next epoch is expected to take; 0 where no epoch has been trained.
        notes: of the picks that it was trained for, by the epoch at which it stood.
    """

    number: int
    state: State
    values: Mapping[str, Any]
    curve: Mapping[float, float]
    n_epochs: int
    epoch_s: float
    notes: Mapping[float, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Situation:
    """A search at the moment when a worker is free.

    Attributes:
        paused: numbers of the trials that may go on, ascending: they wait at their milestones.
        running: milestones of the trials that other workers train, by number.
        can_begin: whether the study has room for a new trial.
        n_workers: how many trials are trained at a time.
        left_s: seconds until the deadline; infinite without one.
        epoch_s: seconds that an epoch of a new trial is expected to take; 0 where none has been trained.
        space: what is searched.
        trials: all of the study, by number; each is looked up when it is asked for.
    """

    paused: Sequence[int]
    running: Mapping[int, float]
    can_begin: bool
    n_workers: int
    left_s: float
    epoch_s: float
    space: SearchSpace
    trials: Mapping[int, KnownTrial]


@dataclass(frozen=True)
class Pick:
    """What a free worker trains.

    Attributes:
        number: of a paused trial; None for a new one.
        milestone: the epoch after which it is picked again, or pauses; infinite for its end; None for
            `Scheduler.milestone`.
        values: proposed for a new trial, by dotted path; what they leave out is sampled. The study's initial points
            come before.
        note: kept with the trial, for the scheduler after an interruption; what JSON can say, and short.
    """

    number: int | None = None
    milestone: float | None = None
    values: Mapping[str, Any] = field(default_factory=dict)
    note: Any = None


class Scheduler:
    """Trains every trial to its end, one after the other: what a scheduler does unless it overrides it.

    At every start of a search it is built anew, and told every evaluation of the study: it keeps no state that does not
    follow from these. Its methods answer at once, and the same for the same situation.

    Attributes:
        settings: its section of the file.
        curves: all evaluations: validation accuracy by epoch, by number.
    """

    # Whether `next` itself minds `left_s`. The last part of the time of another scheduler finishes promising trials.
    plans_time: ClassVar[bool] = False

    def __init__(self, settings: SchedulerSection) -> None:
        """Begin without an evaluation."""
        self.settings = settings
        self.curves: dict[int, dict[float, float]] = {}

    def report(self, number: int, epoch: float, accuracy: float) -> None:
        """Take in an evaluation; of an epoch that was trained again, the latest counts."""
        self.curves.setdefault(number, {})[epoch] = accuracy

    def milestone(self, epoch: float) -> float:
        """Return the milestone of a trial that begins (0), or goes on, at an epoch; infinite for its end.

        Milestones below 1 are shares of the first epoch, others whole numbers.
        """
        return math.inf

    def next(self, situation: Situation) -> Pick | None:
        """Return what a free worker trains; None for nothing, as long as no other trial comes to its milestone.

        It is asked too when a trial comes to its milestone, and is then paused: picking that trial lets it go on.
        """
        stopped = set(self.to_prune(situation))
        kept = [number for number in self.ranked(situation.paused) if number not in stopped]
        return Pick(kept[0]) if kept else Pick() if situation.can_begin else None

    def to_prune(self, situation: Situation) -> Collection[int]:
        """Return the paused trials that are given up; asked where one has come to its milestone and was not picked."""
        return ()

    def ranked(self, numbers: Iterable[int]) -> list[int]:
        """Return paused trials, the most promising first: by epoch, then by accuracy."""
        return sorted(numbers, key=lambda n: (-self.last_epoch(n), -self._latest(n), n))

    def is_promising(self, number: int) -> bool:
        """Return whether a paused trial is in the better half of those that reached its epoch."""
        place, n = self._place(number)
        return 2 * place <= n + 1

    def rank_text(self, number: int) -> str:
        """Return a paused trial's accuracy and its rank among those that reached its epoch, for people."""
        place, n = self._place(number)
        return f"{percent(self._latest(number))} at epoch {round(self.last_epoch(number), 2):g}, rank {place}/{n}"

    def verdict(self, number: int, situation: Situation) -> str:
        """Return why a trial was given up, for people."""
        return f"{self.settings.name}: {self.rank_text(number)}"

    def last_epoch(self, number: int) -> float:
        """Return the latest epoch that a trial has reported; 0 before the first evaluation."""
        return max(self.curves.get(number, {}), default=0.0)

    def _latest(self, number: int) -> float:
        return self.curves[number][self.last_epoch(number)]

    def _place(self, number: int) -> tuple[int, int]:
        """Return a trial's rank among those that reached its latest epoch, and how many these are."""
        epoch = self.last_epoch(number)
        reached = [(-curve[epoch], other) for other, curve in self.curves.items() if epoch in curve]
        return 1 + sum(other < (-self._latest(number), number) for other in reached), len(reached)


class SchedulerSection(Section):
    """The settings of a scheduler: derive from it, give it fields, and build the scheduler.

    Attributes:
        name: the scheduler.
    """

    name: str

    @property
    def first_milestone(self) -> float:
        """After how many epochs trials are first compared; infinite if never."""
        return self.build().milestone(0)

    def build(self) -> Scheduler:
        """Build the scheduler."""
        raise NotImplementedError

    @model_validator(mode="after")
    def _buildable(self) -> SchedulerSection:
        scheduler: object = self.build()
        if not isinstance(scheduler, Scheduler):
            raise ValueError(f"build returned {scheduler!r}, not a Scheduler")
        if not scheduler.milestone(0) > 0:
            raise ValueError(f"the first milestone is {scheduler.milestone(0)}; it must be after some training")
        return self

    def warnings(self, given: Collection[str], epochs: Sequence[int], unit: str) -> Iterable[str]:
        """Return what is probably not meant.

        Args:
            given: keys that the file has.
            epochs: lengths of trainings that the space allows, ascending.
            unit: what an epoch is called.
        """
        return ()
