"""The model that a decision is made by, fitted to a study's evaluations."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from fmnist_tune.engine.curves import (
    CurveModel,
    Kernel,
    Likelihood,
    Observations,
    Offset,
    Prior,
    Trend,
    no_offset,
    trend_of,
)
from fmnist_tune.engine.encoding import Encoding
from fmnist_tune.engine.history import History
from fmnist_tune.engine.lesson import Lessons

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Settings:
    """What was found by `python -m benchmarks.engine`.

    Attributes:
        n_initial: cheap, spread-out configurations before the model decides.
        n_new: new configurations compared in a decision.
        n_refined: of these, the best ones of which neighbours are compared too.
        n_unfinished: trials compared, the most promising.
        n_observations: from which the model predicts, at most.
        n_known: configurations from which the known seconds are learned.
        refit: the kernel is fitted again when the evaluations are this many times those of the last fit.
        max_iterations: of a fit.
        margin: by which the best value is to be exceeded, at most, where there was no progress; in units of the
            spread of the trials.
        n_stalled: new configurations compared there.
        chance: of becoming the best that a trial is to have, to be continued once there are to be no others.
        plateau: share of the trials that must be on a plateau for ranks alone to decide.
        n_to_end: of the time that it takes to train the most promising trial to its end, this is reserved for it.
        prior: of the kernel.
        slope: by which curves are expected to rise, per unit of time.
        slope_weight: of that expectation, against the trials' own slopes.
        lesson_weight: of what earlier studies say, in the first trials; log seconds count half.
    """

    n_initial: int = 4
    n_new: int = 150
    n_refined: int = 5
    n_unfinished: int = 100
    n_observations: int = 150
    n_known: int = 96
    refit: float = 1.25
    max_iterations: int = 25
    margin: float = 3.0
    n_stalled: int = 24
    chance: float = 0.05
    plateau: float = 0.5
    n_to_end: float = 1.0
    prior: Prior = field(default_factory=Prior)
    slope: float = 0.4
    slope_weight: float = 0.08
    lesson_weight: float = 1.0


class Fit:
    """Fits the kernel now and then, and conditions it on all evaluations."""

    def __init__(self, history: History, encoding: Encoding, settings: Settings, lessons: Lessons | None) -> None:
        """Fit a history.

        Args:
            history: of the study, which others keep up to date.
            encoding: of its space.
            settings: of the search.
            lessons: of earlier studies; None for none.
        """
        self._history = history
        self._encoding = encoding
        self._settings = settings
        self._lessons = lessons
        self._fitted: tuple[int, Array] | None = None

    def model(self) -> CurveModel:
        """Return the model of all evaluations."""
        history = self._history
        kernel = Kernel(self._theta(), self._encoding.groups)
        data = history.observations(self._settings.n_observations)
        offset, trend = self._mean(data)
        model = CurveModel(data, kernel, trend, offset)
        running = history.running()
        if len(running):  # fantasies: they come to what is expected of them
            time = history.time_of(history.until[running])
            mean, _ = model.predict(history.features[running], time, running)
            fantasies = Observations(features=history.features[running], time=time, trial=running, z=mean)
            model = CurveModel(data.plus(fantasies), kernel, trend, offset)
        return model

    def _mean(self, data: Observations) -> tuple[Offset, Trend]:
        """Return what lessons say of configurations, as far as these observations agree, and the trend of the rest."""

        def trend(data: Observations) -> Trend:
            return trend_of(data, prior_slope=self._settings.slope, prior_weight=self._settings.slope_weight)

        whole, lessons = trend(data), self._lessons
        if lessons is None:
            return no_offset, whole
        trials, first = np.unique(data.trial, return_index=True)
        deviations = whole.standardize(data.z, data.time)
        by_trial = np.array([deviations[data.trial == trial].mean() for trial in trials])
        weight = whole.scale * lessons.trust(data.features[first], by_trial)

        def offset(features: Array) -> Array:
            return weight * lessons.ends(features)

        return offset, trend(replace(data, z=data.z - offset(data.features)))

    def _theta(self) -> Array:
        """Return the kernel's parameters, fitted to the first so many evaluations: to as many whenever it is asked."""
        settings = self._settings
        n = 1
        while (following := max(n + 1, math.ceil(n * settings.refit))) <= self._history.n_reports:
            n = following
        if self._fitted is None or self._fitted[0] != n:
            data = self._history.observations(settings.n_observations, n_reports=n)
            offset, trend = self._mean(data)
            y = trend.standardize(data.z - offset(data.features), data.time)
            prior = settings.prior.arrays(self._encoding.n_groups)
            prior = self._lessons.prior(settings.prior) if self._lessons else prior
            likelihood = Likelihood(data, y, self._encoding.groups, prior)
            self._fitted = n, likelihood.maximize(settings.max_iterations)
        return self._fitted[1]
