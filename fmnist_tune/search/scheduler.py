"""The scheduler decides which trial a free worker trains, and how far: subclass `Scheduler` and its section."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Literal, SupportsFloat, TypeAlias

from pydantic import model_validator

from fmnist_tune.section import Section
from fmnist_tune.units import percent

if TYPE_CHECKING:
    from fmnist_tune.config import SearchSpace


LEAST_STEP = 0.001  # epochs between two milestones
WHOLE_FROM = 0.9  # of an epoch; our schedulers have no milestone between there and the end of the first epoch

LessonData: TypeAlias = dict[str, Any]  # what an earlier study teaches, as JSON has it
State: TypeAlias = Literal["running", "paused", "interrupted", "ended"]


@dataclass(frozen=True)
class KnownTrial:
    """A trial as a scheduler sees it.

    Attributes:
        number: the trial's.
        state: a paused trial waits at its milestone; an interrupted one waits elsewhere and resumes before any other.
        values: the searched values, by dotted path.
        curve: validation accuracy by epoch; below 1, by the share of the first epoch, on a sample.
        n_epochs: of its whole training.
        epoch_s: expected seconds of its next epoch; 0 before any was trained.
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
    """A search when a worker is free.

    Attributes:
        paused: numbers of the trials paused at their milestones, ascending.
        running: milestones of the trials that other workers train, by number.
        can_begin: whether the study has room for a new trial.
        n_workers: how many trials are trained at a time.
        left_s: seconds until the deadline; infinite without one.
        epoch_s: expected seconds of a new trial's epoch; 0 before any was trained.
        space: the search space.
        trials: all trials of the study by number, each looked up on access.
        lessons: what the studies of `search.learn_from` teach.
    """

    paused: Sequence[int]
    running: Mapping[int, float]
    can_begin: bool
    n_workers: int
    left_s: float
    epoch_s: float
    space: SearchSpace
    trials: Mapping[int, KnownTrial]
    lessons: Sequence[LessonData] = ()


@dataclass(frozen=True)
class Pick:
    """What a free worker trains.

    Attributes:
        number: of a paused trial; None for a new one.
        milestone: the epoch after which it is picked again or pauses; infinite for its end; None for
            `Scheduler.milestone`.
        values: proposed for a new trial, by dotted path; missing ones are sampled. The study's initial points take
            precedence.
        note: kept with the trial, for the scheduler after an interruption; what JSON can say, and short.
    """

    number: int | None = None
    milestone: float | None = None
    values: Mapping[str, Any] = field(default_factory=dict)
    note: Any = None


class Scheduler:
    """The base class; by itself, it trains every trial to its end, in order.

    Each start of a search builds it anew and reports all evaluations of the study, so its state must follow from these
    alone. Its methods must return at once, and be deterministic.

    Attributes:
        settings: its section of the file.
        curves: all evaluations: validation accuracy by epoch, by trial number.
        accuracy_text: returns a validation accuracy as text; a search sets it to its task's format.
    """

    # Whether `next` itself considers `left_s`. For others, the budget completes promising trials towards the end.
    plans_time: ClassVar[bool] = False

    def __init__(self, settings: SchedulerSection) -> None:
        """Start without evaluations."""
        self.settings = settings
        self.curves: dict[int, dict[float, float]] = {}
        self.accuracy_text: Callable[[float], str] = percent

    def report(self, number: int, epoch: float, accuracy: float) -> None:
        """Add an evaluation; if an epoch was trained again, the latest counts."""
        self.curves.setdefault(number, {})[epoch] = accuracy

    def milestone(self, epoch: float) -> float:
        """Return the next milestone of a trial that starts (0) or resumes at an epoch; infinite for its end.

        Milestones below 1 are shares of the first epoch, others whole numbers.
        """
        return math.inf

    def next(self, situation: Situation) -> Pick | None:
        """Return what a free worker trains; None for nothing until another trial reaches its milestone.

        Also called when a trial has just paused at its milestone: picking that trial lets it continue.
        """
        stopped = set(self.to_prune(situation))
        kept = [number for number in self.ranked(situation.paused) if number not in stopped]
        return Pick(kept[0]) if kept else Pick() if situation.can_begin else None

    def to_prune(self, situation: Situation) -> Collection[int]:
        """Return the paused trials to prune; called when one has reached its milestone and was not picked."""
        return ()

    def ranked(self, numbers: Iterable[int]) -> list[int]:
        """Sort paused trials, the most promising first: by epoch, then by accuracy."""
        return sorted(numbers, key=lambda n: (-self.last_epoch(n), -self._latest(n), n))

    def is_promising(self, number: int) -> bool:
        """Return whether a paused trial is in the better half of those that reached its epoch."""
        place, n = self._place(number)
        return 2 * place <= n + 1

    def rank_text(self, number: int) -> str:
        """Return a paused trial's accuracy and its rank among those that reached its epoch, as text."""
        place, n = self._place(number)
        accuracy = self.accuracy_text(self._latest(number))
        return f"{accuracy} at epoch {round(self.last_epoch(number), 2):g}, rank {place}/{n}"

    def verdict(self, number: int, situation: Situation) -> str:
        """Return why a trial was pruned, as text."""
        return f"{self.settings.name}: {self.rank_text(number)}"

    def last_epoch(self, number: int) -> float:
        """Return the epoch of a trial's latest evaluation; 0 before the first."""
        return max(self.curves.get(number, {}), default=0.0)

    def _latest(self, number: int) -> float:
        return self.curves[number][self.last_epoch(number)]

    def _place(self, number: int) -> tuple[int, int]:
        """Return a trial's rank among those that reached its latest epoch, and their number."""
        epoch = self.last_epoch(number)
        reached = [(-curve[epoch], other) for other, curve in self.curves.items() if epoch in curve]
        return 1 + sum(other < (-self._latest(number), number) for other in reached), len(reached)


def checked_milestone(milestone: object, *, after: float) -> float:
    """Return a trial's milestone after an epoch.

    Raises:
        ValueError: it is none.
    """
    found = float(milestone) if isinstance(milestone, SupportsFloat) else math.nan
    is_sound = found < 1 or math.isinf(found) or found.is_integer()
    if not found >= after + LEAST_STEP or not is_sound:
        wanted = f"must be at least {LEAST_STEP:g} later, and above 1 a whole number"
        shown = repr(milestone) if math.isnan(found) else f"{found:g}"
        raise ValueError(f"milestone {shown} after epoch {after:g}: {wanted}")
    return found


class SchedulerSection(Section):
    """A scheduler's settings: subclass it, add fields, and implement `build`.

    Attributes:
        name: the scheduler.
    """

    name: str
    # Whether the scheduler proposes every value of a new trial, so that the sampler has none to choose.
    chooses_values: ClassVar[bool] = False
    # Whether the scheduler makes use of `Situation.lessons`.
    learns: ClassVar[bool] = False

    @property
    def first_milestone(self) -> float:
        """Epochs before trials are first compared; infinite if never."""
        return self.build().milestone(0)

    def build(self) -> Scheduler:
        """Build the scheduler."""
        raise NotImplementedError

    @model_validator(mode="after")
    def _buildable(self) -> SchedulerSection:
        scheduler: object = self.build()
        if not isinstance(scheduler, Scheduler):
            raise ValueError(f"build returned {scheduler!r}, not a Scheduler")
        checked_milestone(scheduler.milestone(0), after=0)
        return self

    def warnings(self, given: Collection[str], epochs: Sequence[int], unit: str) -> Iterable[str]:
        """Return warnings about probable mistakes.

        Args:
            given: keys present in the file.
            epochs: lengths of training that the space allows, ascending.
            unit: the word for an epoch.
        """
        return ()
