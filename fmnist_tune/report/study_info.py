"""The numbers behind the report's plots of a search."""

from __future__ import annotations

import math
from collections.abc import Container, Sequence
from dataclasses import dataclass, replace
from statistics import mean, median
from typing import Any

from optuna.trial import FrozenTrial

from fmnist_tune.config import SearchSpace
from fmnist_tune.config.domain import ChoiceDomain, Domain
from fmnist_tune.study import trial_table
from fmnist_tune.study.summary import edge_of
from fmnist_tune.study.trial_table import TrialRow

CLIMB_TOP = 3
CLIMB_GAIN = 0.001  # 0.1 points
FLOOR_SHARE = 2.0


@dataclass(frozen=True)
class Point:
    """A trial's place in a plot: `x` is its number or a parameter's value."""

    x: Any
    value: float
    state: str
    number: int


@dataclass(frozen=True)
class HistoryInfo:
    """Optimization history.

    Attributes:
        points: trials with a value, by number.
        best_so_far: (number, value) of each COMPLETE trial, where value is the highest so far.
        failed: numbers of failed trials that have no value.
        n_untrained: trials, except failed ones, that have trained nothing yet.
    """

    points: tuple[Point, ...]
    best_so_far: tuple[tuple[int, float], ...]
    failed: tuple[int, ...]
    n_untrained: int


@dataclass(frozen=True)
class Slice:
    """One parameter against the accuracy.

    Attributes:
        domain: its range or choices; points of a choice have the choice's index as x.
        points: trials that use it and have a value.
        best: the best trial's point; None without one, or if it does not use the parameter.
        edge: "lower" or "upper" if the best value lies within 5% of that end; None otherwise.
    """

    path: str
    domain: Domain
    points: tuple[Point, ...]
    best: Point | None
    edge: str | None


@dataclass(frozen=True)
class Curve:
    """A trial's validation accuracy by epoch, including shares of the first one."""

    number: int
    state: str
    epochs: tuple[float, ...]
    values: tuple[float, ...]


@dataclass(frozen=True)
class CurvesInfo:
    """Learning curves by number; `best` is the best trial's number."""

    curves: tuple[Curve, ...]
    best: int | None


@dataclass(frozen=True)
class Axis:
    """An axis of the parallel coordinates: `ticks` are (position in [0, 1], label)."""

    path: str
    ticks: tuple[tuple[float, str], ...]
    can_be_unused: bool


@dataclass(frozen=True)
class Line:
    """A trial in the parallel coordinates: its position in [0, 1] on each axis, None for unused parameters."""

    number: int
    value: float
    positions: tuple[float | None, ...]


@dataclass(frozen=True)
class ParallelInfo:
    """Parallel coordinates: trials with a value, the highest last; `best` is a number."""

    axes: tuple[Axis, ...]
    lines: tuple[Line, ...]
    best: int | None


@dataclass(frozen=True)
class Climb:
    """How much the best trials still improved at the end.

    Attributes:
        trials: the best COMPLETE trials of at least three epochs, at most three of them.
        gain: mean accuracy gain over the last third of the epochs.
        epochs: of the longest of them.
    """

    trials: tuple[int, ...]
    gain: float
    epochs: int

    @property
    def is_climbing(self) -> bool:
        """Whether more epochs may help: the gain is more than 0.1 points."""
        return self.gain > CLIMB_GAIN


def trial_rows(trials: Sequence[FrozenTrial], space: SearchSpace, *, is_running: bool) -> tuple[TrialRow, ...]:
    """Return a study's trials for plots: unfinished or failed ones are placed at their latest accuracy."""
    rows = []
    for row in trial_table.trial_rows(trials, space, is_running=is_running):
        value = row.value if row.state in ("complete", "pruned") and row.value is not None else row.accuracy
        if not space.task.objective.is_on_curve and row.state != "complete":
            value = None  # an accuracy, unlike the others' values
        rows.append(replace(row, value=value if value is not None and math.isfinite(value) else None))
    return tuple(rows)


def floor_of(values: Sequence[float]) -> float:
    """Return the lower end of an accuracy axis so that the better half of the values takes at least a third of it.

    Otherwise, trials that learned nothing would squeeze the interesting ones into a line; figures draw lower values on
    the edge. 0 for no values.
    """
    if not values:
        return 0.0
    top, middle = max(values), median(values)
    return max(min(values), middle - FLOOR_SHARE * (top - middle)) if top > middle else min(values)


def history(rows: Sequence[TrialRow]) -> HistoryInfo:
    """Return the optimization history."""
    best_so_far: list[tuple[int, float]] = []
    for row in rows:
        if row.state == "complete" and row.value is not None:
            before = best_so_far[-1][1] if best_so_far else row.value
            best_so_far.append((row.number, max(before, row.value)))
    return HistoryInfo(
        tuple(Point(r.number, r.value, r.state, r.number) for r in rows if r.value is not None),
        tuple(best_so_far),
        tuple(row.number for row in rows if row.state == "failed" and row.value is None),
        sum(row.value is None and row.state != "failed" for row in rows),
    )


def slices(rows: Sequence[TrialRow], space: SearchSpace, best: int | None) -> list[Slice]:
    """Return a slice of each searched parameter; `best` is the best trial's number."""
    found = []
    for parameter in space.parameters:
        path, domain = parameter.path, parameter.domain
        points = tuple(
            Point(_index(domain, row.values[path]), row.value, row.state, row.number)
            for row in rows
            if row.value is not None and path in row.values
        )
        best_point = next((p for p in points if p.number == best), None)
        edge = edge_of(domain, best_point.x) if best_point is not None else None
        found.append(Slice(path, domain, points, best_point, edge))
    return found


def curves(rows: Sequence[TrialRow], best: int | None) -> CurvesInfo:
    """Return the learning curves; `best` is the best trial's number."""
    found = (Curve(row.number, row.state, tuple(row.curve), tuple(row.curve.values())) for row in rows if row.curve)
    return CurvesInfo(tuple(found), best)


def parallel(
    rows: Sequence[TrialRow], space: SearchSpace, best: int | None = None, shown: Container[str] | None = None
) -> ParallelInfo:
    """Return the parallel coordinates of all trials with a value.

    Args:
        rows: the trials.
        space: the search space.
        best: the best trial's number.
        shown: paths of the parameters that get an axis; None for all.
    """
    parameters = [p for p in space.parameters if shown is None or p.path in shown]
    lines = [
        Line(
            row.number,
            row.value,
            tuple(_position(p.domain, row.values[p.path]) if p.path in row.values else None for p in parameters),
        )
        for row in rows
        if row.value is not None
    ]
    lines.sort(key=lambda line: (line.value, -line.number))
    axes = tuple(Axis(p.path, _ticks(p.domain), bool(p.when)) for p in parameters)
    return ParallelInfo(axes, tuple(lines), best)


def climb(rows: Sequence[TrialRow]) -> Climb | None:
    """Return how much the best COMPLETE trials improved in their last third of epochs; None if all are too short."""
    complete = [r for r in rows if r.state == "complete" and r.value is not None and len(r.epochs) >= 3]
    best = sorted(complete, key=lambda r: (-(r.value or 0.0), r.number))[:CLIMB_TOP]
    if not best:
        return None
    gains = []
    for row in best:
        values = row.epochs
        gains.append(values[-1] - values[-1 - len(values) // 3])
    return Climb(tuple(r.number for r in best), mean(gains), max(len(r.epochs) for r in best))


def best_rows(rows: Sequence[TrialRow], n: int) -> tuple[TrialRow, ...]:
    """Return the n best trials: complete ones first, then by accuracy, ties by number."""
    valued = [row for row in rows if row.value is not None]
    return tuple(sorted(valued, key=lambda r: (r.state != "complete", -(r.value or 0.0), r.number))[:n])


def _index(domain: Domain, value: Any) -> Any:
    return domain.values.index(value) if isinstance(domain, ChoiceDomain) else value


def _position(domain: Domain, value: Any) -> float:
    if isinstance(domain, ChoiceDomain):
        return domain.values.index(value) / max(1, len(domain.values) - 1)
    if domain.low == domain.high:
        return 0.5
    low, high, at = (math.log(x) if domain.log else float(x) for x in (domain.low, domain.high, value))
    return (at - low) / (high - low)


def _ticks(domain: Domain) -> tuple[tuple[float, str], ...]:
    if isinstance(domain, ChoiceDomain):
        return tuple((i / max(1, len(domain.values) - 1), str(v)) for i, v in enumerate(domain.values))
    ends = sorted({domain.low, domain.high})
    return tuple((_position(domain, v), f"{v:g}") for v in ends)
