"""What a decision is made from, and what it says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


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
class Begin:
    """Start a trial with these values and train it until an epoch."""

    values: Mapping[str, Any]
    until: float


@dataclass(frozen=True)
class Continue:
    """Train a trial on until an epoch."""

    trial: int
    until: float
