"""A study's trials as arrays, kept up to date from decision to decision."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from fmnist_tune.engine.curves import Observations
from fmnist_tune.engine.encoding import Encoding
from fmnist_tune.engine.state import TrialState

Array = NDArray[np.float64]
Ints = NDArray[np.int64]


SHARE_AHEAD = 0.15
MIN_ON_PLATEAU = 8  # trials before which nothing is called a plateau
NOISE = 0.006  # of accuracies on 10,000 images, two standard deviations


def log_error(accuracy: Array) -> Array:
    """Return -log(1 - accuracy + 0.01): halving the errors counts the same anywhere."""
    z: Array = -np.log(np.maximum(1 - accuracy, 0) + 0.01)
    return z


def accuracy_of(z: Array) -> Array:
    """Return accuracies, in [0, 1]: the inverse of `log_error`."""
    accuracy: Array = 1.01 - np.exp(-np.clip(z, -np.log(1.01), -np.log(0.01)))
    return accuracy


class History:
    """What is known of the trials, a row for each.

    Attributes:
        numbers: of the trials in the study.
        units: (n, parameters).
        features: (n, d).
        epoch: (n,) trained.
        until: (n,) to which it is trained now; NaN if it is not.
        epochs: (n,) of its whole training.
        log_s: (n,) of the measured seconds of an epoch; NaN where none was.
        n_reports: evaluations in all.
    """

    def __init__(self, encoding: Encoding, max_epochs: int) -> None:
        self._encoding = encoding
        self._log_epochs = math.log(max(max_epochs, 3))
        self.max_epochs = max_epochs
        self._trials: tuple[TrialState, ...] = ()
        self.numbers: list[int] = []
        self.units = np.zeros((0, len(encoding.parameters)))
        self.features = np.zeros((0, len(encoding.groups)))
        self.epoch = self.epochs = self.until = self.log_s = self._first = self._top = self._begun = np.zeros(0)
        self._latest = np.zeros(0)
        self._rise = np.zeros(0)  # from the first evaluation to the second
        self._n_points = np.zeros(0, dtype=np.int64)
        self._is_over = np.zeros(0, dtype=bool)
        self.n_reports = 0

    def time_of(self, epoch: Array) -> Array:
        """Return the time of epochs: 0 after the first, 1 at the last."""
        time: Array = np.log(epoch) / self._log_epochs
        return time

    def update(self, trials: Sequence[TrialState]) -> None:
        """Take the trials of a study; those of the last update in the same order first."""
        n_old, n = len(self.numbers), len(trials)
        if n > n_old:
            new = trials[n_old:]
            self.numbers += [trial.number for trial in new]
            units = np.array([self._encoding.units(trial.values) for trial in new]).reshape(n - n_old, -1)
            self.units = np.concatenate([self.units, units])
            self.features = np.concatenate([self.features, self._encoding.features(units)])
            self._n_points = np.concatenate([self._n_points, np.zeros(n - n_old, dtype=np.int64)])
            nan = np.full(n - n_old, np.nan)
            self.epoch = np.concatenate([self.epoch, np.zeros(n - n_old)])
            self.epochs = np.concatenate([self.epochs, np.full(n - n_old, float(self.max_epochs))])
            self._is_over = np.concatenate([self._is_over, np.zeros(n - n_old, dtype=bool)])
            self.until, self.log_s, self._first, self._top, self._begun, self._latest, self._rise = (
                np.concatenate([column, nan])
                for column in (self.until, self.log_s, self._first, self._top, self._begun, self._latest, self._rise)
            )
        old, self._trials = self._trials, tuple(trials)
        for i, trial in enumerate(self._trials):
            if i >= len(old) or trial is not old[i]:  # they are frozen
                self._take(i, trial)
        self.n_reports = int(self._n_points.sum())

    def _take(self, i: int, trial: TrialState) -> None:
        self.until[i] = np.nan if trial.until is None else trial.until
        self.epochs[i] = self.max_epochs if trial.epochs is None else trial.epochs
        self._is_over[i] = trial.is_over
        self._n_points[i] = len(trial.points)
        if not trial.points:
            return
        last = trial.points[-1]
        self.epoch[i], self._first[i], self._begun[i] = last.epoch, trial.points[0].value, trial.points[0].order
        self._latest[i] = last.value
        self._rise[i] = trial.points[1].value - trial.points[0].value if len(trial.points) > 1 else np.nan
        self._top[i] = max(point.value for point in trial.points)
        if trial.seconds > 0:
            self.log_s[i] = math.log(trial.seconds / last.epoch)

    def measured(self) -> tuple[Array, Array]:
        """Return features and log seconds of an epoch of the trials that were trained."""
        known = ~np.isnan(self.log_s)
        return self.features[known], self.log_s[known]

    def running(self) -> Ints:
        """Return the rows that a worker trains now."""
        return np.flatnonzero(~np.isnan(self.until))

    @property
    def is_any_finished(self) -> bool:
        """Whether a trial has been trained to its end, or is going to be."""
        return bool(np.any(np.fmax(self.epoch, self.until) >= self.epochs))

    def unfinished(self, limit: int) -> Ints:
        """Return the rows that can be continued, at most so many, the most promising."""
        rows = np.flatnonzero(np.isnan(self.until) & ~self._is_over & (self._n_points > 0) & (self.epoch < self.epochs))
        return rows if len(rows) <= limit else np.sort(rows[np.argsort(-self._top[rows], kind="stable")[:limit]])

    def stalled(self) -> float:
        """Return the share of all evaluations since the best value last rose by more than its noise."""
        best = float(np.nanmax(self._top))
        first: int = min(
            point.order
            for i in map(int, np.flatnonzero(self._top >= best - NOISE))
            for point in self._trials[i].points
            if point.value >= best - NOISE
        )
        return 1 - (first + 1) / self.n_reports

    def is_on_plateau(self, share: float) -> bool:
        """Return whether at least this share of the first evaluations, and the next ones of these trials, are the same.

        Noise aside. Where a space holds good configurations alone, first evaluations are the same too, but curves rise.
        """
        rows = np.flatnonzero(self._n_points > 0)
        if len(rows) < MIN_ON_PLATEAU:
            return False
        rows = rows[np.argsort(self._first[rows], kind="stable")]
        first = self._first[rows]
        n_same = np.searchsorted(first, first + 2 * NOISE, side="right") - np.arange(len(rows))
        i = int(np.argmax(n_same))
        rises = self._rise[rows[i : i + n_same[i]]]
        rises = rises[~np.isnan(rises)]
        return bool(n_same[i] >= share * len(rows) and len(rises) and np.median(rises) <= NOISE)

    def seconds_until(self, epoch: float) -> float:
        """Return the seconds that all trials take up to an epoch, those under way included."""
        return float(np.nansum(np.minimum(np.fmax(self.epoch, self.until), epoch) * np.exp(self.log_s)))

    def ranked(self, least: float, below: float) -> Ints:
        """Return the rows that wait between two epochs, the best first."""
        rows = self.unfinished(len(self.numbers))
        rows = rows[(self.epoch[rows] >= least) & (self.epoch[rows] < below)]
        return rows[np.argsort(-self._latest[rows], kind="stable")]

    def promoted(self, factor: int) -> int | None:
        """Return the row that waits, of the deepest ones, among the best 1/factor of those that came as far."""
        waiting = self.unfinished(len(self.numbers))
        for epoch in sorted(set(self.epoch[waiting]), reverse=True):
            ranking = sorted((-p.value, i) for i, t in enumerate(self._trials) for p in t.points if p.epoch == epoch)
            candidates = set(waiting[self.epoch[waiting] == epoch].tolist())
            row = next((i for _, i in ranking[: len(ranking) // factor] if i in candidates), None)
            if row is not None:
                return row
        return None

    def best(self, n: int) -> Ints:
        """Return the rows of the best values."""
        rows = np.flatnonzero(self._n_points > 0)
        return rows[np.argsort(-self._top[rows], kind="stable")[:n]]

    def ahead(self) -> Ints:
        """Return the rows of the best first evaluations: a share of them, at least three."""
        rows = np.flatnonzero(self._n_points > 0)
        n = max(3, int(SHARE_AHEAD * len(rows)))
        return rows[np.argsort(-self._first[rows], kind="stable")[:n]]

    @property
    def is_accuracy(self) -> bool:
        """Whether all values are accuracies, whose logarithm the model takes."""
        return bool(np.nanmax(self._top) <= 1 and np.nanmin(self._first) >= 0)

    def transformed(self, values: Array) -> Array:
        """Return values on the scale of the model: as they are, if they are no accuracies."""
        return log_error(values) if self.is_accuracy else values

    @property
    def best_z(self) -> float:
        """The best value, transformed."""
        return float(self.transformed(np.array([np.nanmax(self._top)]))[0])

    def cutoff(self, n: int) -> int:
        """Return the order before which the first n evaluations came: above n where others were not finite."""
        orders = sorted(point.order for trial in self._trials for point in trial.points)
        return max(n, orders[n - 1] + 1)

    def observations(self, limit: int, before: int | None = None) -> Observations:
        """Return evaluations for a model.

        Args:
            limit: of rows: the best trials have several, spaced geometrically, others their last one; if these are
                still too many, some are left out.
            before: as if there were only the evaluations of a lower order; None for all.
        """
        known = np.flatnonzero(self._begun < (math.inf if before is None else before))
        top = self._top[known] if before is None else [max(v for _, v in _seen(self._trials[i], before)) for i in known]
        ranked = known[np.argsort(-np.asarray(top), kind="stable")]
        if len(ranked) > limit // 2:  # the best half, and of the others evenly
            best, others = ranked[: limit // 4], ranked[limit // 4 :]
            others = others[np.argsort(others * 0.6180339887498949 % 1, kind="stable")]
            ranked = np.concatenate([best, others[: limit // 2 - limit // 4]])
        curves = {i: _seen(self._trials[i], before) for i in ranked.tolist()}
        chosen = [(i, *curve[-1]) for i, curve in curves.items()]
        for i, curve in curves.items():
            geometric = _spaced(curve)
            if len(chosen) + len(geometric) > limit:
                break
            chosen += [(i, *point) for point in geometric]
        chosen.sort()
        rows = np.array([row for row, _, _ in chosen], dtype=np.int64)
        return Observations(
            features=self.features[rows],
            time=self.time_of(np.array([epoch for _, epoch, _ in chosen])),
            trial=rows,
            z=self.transformed(np.array([value for _, _, value in chosen])),
        )


def _seen(trial: TrialState, before: int | None) -> list[tuple[float, float]]:
    return [(p.epoch, p.value) for p in trial.points if before is None or p.order < before]


def _spaced(curve: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """Return points before the last, each at half the epoch of the one after it or less."""
    spaced: list[tuple[float, float]] = []
    bound = curve[-1][0] / 2
    for epoch, value in reversed(curve):
        if epoch <= bound + 1e-9:
            spaced.append((epoch, value))
            bound = epoch / 2
    return spaced
