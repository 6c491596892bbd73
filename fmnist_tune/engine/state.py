"""What a decision is made from, and what it says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

# What decided: spread, while nothing is known, cheap configurations far from each other; gain, the highest expected
# gain per second; leap, the same where the best value has not risen for long, with only large gains counting; end, the
# last moment at which the most promising trial can still be trained to its end; rank, ranks alone, on a plateau.
Rule: TypeAlias = Literal["spread", "gain", "leap", "end", "rank"]


@dataclass(frozen=True, slots=True)
class Point:
    """One evaluation of a trial.

    Attributes:
        epoch: epochs trained until then, a fraction within the first one.
        value: the objective, the larger the better.
        order: how many evaluations of the study had been reported before this one; with several workers, at least.
    """

    epoch: float
    value: float
    order: int


@dataclass(frozen=True, slots=True)
class TrialState:
    """How far a trial is.

    Attributes:
        number: of the trial in its study.
        values: the searched values by dotted path, unused ones left out.
        points: its evaluations, by epoch.
        seconds: that these took.
        until: epoch to which a worker trains it now; None if none does.
        epochs: of its whole training; None for the most that the space allows.
        is_over: whether it cannot be continued: complete, failed, or stopped by its own rule.
    """

    number: int
    values: Mapping[str, Any]
    points: tuple[Point, ...] = ()
    seconds: float = 0.0
    until: float | None = None
    epochs: int | None = None
    is_over: bool = False


@dataclass(frozen=True)
class SearchState:
    """What is known when a worker is free.

    Attributes:
        trials: of the study, by number.
        decision: a number that follows from the trials, another one for each decision.
        left_s: until the search ends; None for no limit.
        can_begin: whether there may be another trial.
        n_workers: trials trained at a time.
    """

    trials: Sequence[TrialState]
    decision: int
    left_s: float | None = None
    can_begin: bool = True
    n_workers: int = 1


@dataclass(frozen=True)
class Forecast:
    """What the model expected of a trial when it was chosen.

    Attributes:
        end: of the value at its last epoch the median and the ends of the 90 % interval, noise included.
        horizon: the epoch at which gains were compared.
        seconds: of training until there.
        gain: the mean by which the best value of all trials is exceeded there, counting only excess.
    """

    end: tuple[float, float, float]
    horizon: float
    seconds: float
    gain: float


@dataclass(frozen=True)
class Reason:
    """Why a trial was chosen; `forecast` is None where no model decided."""

    rule: Rule
    forecast: Forecast | None = None


@dataclass(frozen=True)
class Begin:
    """Start a trial with these values and train it until an epoch; its reason makes it no other decision."""

    values: Mapping[str, Any]
    until: float
    reason: Reason | None = field(default=None, compare=False)


@dataclass(frozen=True)
class Continue:
    """Train a trial on until an epoch; its reason makes it no other decision."""

    trial: int
    until: float
    reason: Reason | None = field(default=None, compare=False)
