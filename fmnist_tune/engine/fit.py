"""The model of a history: its kernel fitted to the first evaluations, its predictions from the latest."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from fmnist_tune.engine.curves import (
    CurveModel,
    Kernel,
    Likelihood,
    Observations,
    Offset,
    Trend,
    no_offset,
    trend_of,
)
from fmnist_tune.engine.encoding import Encoding
from fmnist_tune.engine.history import History
from fmnist_tune.engine.lesson import Lessons
from fmnist_tune.engine.settings import Settings

Array = NDArray[np.float64]


class CurveFit:
    """Fits the kernel now and then, and conditions it on all evaluations."""

    def __init__(
        self, history: History, encoding: Encoding, settings: Settings, lessons: Lessons | None = None
    ) -> None:
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
        """Return the model of all evaluations; running trials come to what is expected of them."""
        history = self._history
        kernel = Kernel(self._theta(), self._encoding.groups)
        data = history.observations(self._settings.n_observations)
        offset, trend = self._mean(data)
        model = CurveModel(data, kernel, trend, offset)
        running = history.running()
        if len(running):  # fantasies
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
            data = self._history.observations(settings.n_observations, before=self._history.cutoff(n))
            offset, trend = self._mean(data)
            y = trend.standardize(data.z - offset(data.features), data.time)
            own = settings.prior
            prior = self._lessons.prior(own) if self._lessons else own.arrays(self._encoding.n_groups)
            likelihood = Likelihood(data, y, self._encoding.groups, prior)
            self._fitted = n, likelihood.maximize(settings.max_iterations)
        return self._fitted[1]
