"""What a finished study teaches others: length-scales, which configurations came to what, and seconds.

A lesson is a prior and a source of candidates: how far a new study follows it depends on how well it fits there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_solve, cholesky

from fmnist_tune.engine.blas import one_thread
from fmnist_tune.engine.curves import JITTER, N_SHARED, CurveModel, Kernel, Likelihood, Prior, matern, trend_of
from fmnist_tune.engine.encoding import Encoding
from fmnist_tune.engine.history import History
from fmnist_tune.engine.settings import Settings
from fmnist_tune.engine.state import TrialState

Array = NDArray[np.float64]

MOST_ROWS, MOST_VALUES = 60, 800  # configurations of a lesson: the best half, and of the others evenly; their values
N_BEST = 3  # of each lesson, proposed as candidates
PRIOR_SD = 0.4  # of the log length-scales that lessons tell
ROW_NOISE = 0.3  # of what a configuration came to, in standard deviations of all
TRUST, TRUST_WEIGHT = 0.7, 3.0  # how far a new study is expected to follow, and how many trials that expectation weighs


@dataclass(frozen=True)
class Lesson:
    """What one study teaches; JSON can say it, in some 10 kB.

    Attributes:
        study: its name.
        scales: log length-scales by the name of what they belong to, as `Encoding.group_names` has them.
        shared: the other log parameters of its kernel.
        configurations: searched values by dotted path.
        ends: what each configuration is expected to come to at its end: standard deviations above the study's mean.
        log_s: of an epoch of each, None where it was not measured.
    """

    study: str
    scales: Mapping[str, float]
    shared: Sequence[float]
    configurations: Sequence[Mapping[str, Any]]
    ends: Sequence[float]
    log_s: Sequence[float | None]

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON has it."""
        return asdict(self)

    @classmethod
    @one_thread()
    def of(cls, study: str, trials: Sequence[TrialState], encoding: Encoding, max_epochs: int) -> Lesson | None:
        """Return what the trials of a study teach; None if fewer than three were evaluated.

        Args:
            study: its name.
            trials: of it.
            encoding: of its space.
            max_epochs: of its longest training.
        """
        history = History(encoding, max_epochs)
        history.update([trial for trial in trials if trial.points])
        n = len(history.numbers)
        if n < 3:
            return None
        settings = Settings()
        data = history.observations(settings.n_observations)
        trend = trend_of(data, prior_slope=settings.slope, prior_weight=settings.slope_weight)
        y, prior = trend.standardize(data.z, data.time), settings.prior.arrays(encoding.n_groups)
        theta = Likelihood(data, y, encoding.groups, prior).maximize(settings.max_iterations)
        model = CurveModel(data, Kernel(theta, encoding.groups), trend)
        at_end = np.ones(n)
        ends = trend.standardize(model.predict(history.features, at_end, np.arange(n))[0], at_end)
        order, half = np.argsort(-ends, kind="stable"), min(MOST_ROWS, MOST_VALUES // len(encoding.parameters)) // 2
        others = order[half:]
        kept = [*order[:half], *others[:: max(1, -(-len(others) // max(half, 1)))]]
        return cls(
            study=study,
            scales={name: round(float(theta[i]), 4) for i, name in enumerate(encoding.group_names)},
            shared=[round(float(value), 4) for value in theta[-N_SHARED:]],
            configurations=[encoding.values(history.units[i]) for i in kept],
            ends=[round(float(ends[i]), 4) for i in kept],
            log_s=[None if np.isnan(history.log_s[i]) else round(float(history.log_s[i]), 4) for i in kept],
        )


class Lessons:
    """What earlier studies teach about a space."""

    def __init__(self, lessons: Sequence[Lesson], encoding: Encoding) -> None:
        """Translate lessons; what they say of parameters that the space does not search is left out."""
        self._lessons = lessons
        self._encoding = encoding
        self._pupils = [_Interpolation(lesson, encoding) for lesson in lessons]

    def prior(self, otherwise: Prior) -> tuple[Array, Array]:
        """Return means and standard deviations of a kernel's log parameters."""
        mean, sd = otherwise.arrays(self._encoding.n_groups)
        for i, name in enumerate(self._encoding.group_names):
            known = [lesson.scales[name] for lesson in self._lessons if name in lesson.scales]
            if known:
                mean[i], sd[i] = np.mean(known), PRIOR_SD
        mean[-N_SHARED:] = np.mean([lesson.shared for lesson in self._lessons], axis=0)
        return mean, sd

    def ends(self, features: Array) -> Array:
        """Return what configurations are expected to come to, in standard deviations, the mean over the lessons."""
        expected: Array = np.mean([pupil.ends(features) for pupil in self._pupils], axis=0)
        return expected

    def trust(self, features: Array, deviations: Array) -> float:
        """Return how far a study follows the lessons: 1 for exactly, 0 for not at all, never less.

        Args:
            features: (n, d) of its trials.
            deviations: (n,) from its mean, in standard deviations.
        """
        expected = self.ends(features)
        expected = expected - expected.mean()
        weight = float(expected @ expected) + TRUST_WEIGHT
        return max(0.0, (float(expected @ deviations) + TRUST_WEIGHT * TRUST) / weight)

    def best(self, rng: np.random.Generator) -> Array:
        """Return units of the configurations that were best, (n, parameters); what they leave open is drawn."""
        rows = np.array([
            self._encoding.units(lesson.configurations[i])
            for lesson in self._lessons
            for i in np.argsort(-np.asarray(lesson.ends), kind="stable")[:N_BEST]
        ])  # fmt: skip
        return self._encoding.snap(np.where(np.isnan(rows), rng.random(rows.shape), np.clip(rows, 0, 1)))

    def seconds(self) -> list[tuple[Array, Array]]:
        """Return features and log seconds of an epoch, of each study: of its machine and data, so only ratios count."""
        return [pupil.seconds for pupil in self._pupils]


class _Interpolation:
    """One lesson in the coordinates of a space: its configurations, and a Gaussian process through their ends."""

    def __init__(self, lesson: Lesson, encoding: Encoding) -> None:
        scales = np.array([lesson.scales.get(name, np.inf) for name in encoding.group_names])
        self._root = np.exp(-scales[encoding.groups])
        self._features = encoding.features(np.array([encoding.units(row) for row in lesson.configurations]))
        covariance = self._covariance(self._features)
        covariance[np.diag_indices(len(covariance))] += ROW_NOISE**2 + JITTER
        self._alpha = cho_solve((cholesky(covariance, lower=True), True), np.asarray(lesson.ends))
        known = [i for i, log_s in enumerate(lesson.log_s) if log_s is not None]
        self.seconds = self._features[known], np.array([lesson.log_s[i] for i in known], dtype=float)

    def _covariance(self, features: Array) -> Array:
        a, b = features * self._root, self._features * self._root
        return matern(np.sqrt(np.maximum(((a[:, None] - b[None]) ** 2).sum(2), 0)))

    def ends(self, features: Array) -> Array:
        expected: Array = self._covariance(features) @ self._alpha
        return expected
