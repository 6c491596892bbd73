"""The model of a history: its kernel fitted to the first evaluations, its predictions from the latest."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from fmnist_tune.engine.curves import CurveModel, Kernel, Likelihood, Observations, Trend, trend_of
from fmnist_tune.engine.history import History
from fmnist_tune.engine.settings import Settings

Array = NDArray[np.float64]
Ints = NDArray[np.int64]


class CurveFit:
    """Makes models; what it keeps between them follows from the trials."""

    def __init__(self, history: History, groups: Ints, settings: Settings) -> None:
        """Model a history, which may grow.

        Args:
            history: the trials.
            groups: (d,) index of the length-scale of each coordinate.
            settings: of the search.
        """
        self._history = history
        self._groups = groups
        self._settings = settings
        self._fitted: tuple[int, Array] | None = None

    def model(self) -> CurveModel:
        """Return the model of all evaluations; running trials come to what is expected of them."""
        history = self._history
        kernel = Kernel(self._theta(), self._groups)
        data = history.observations(self._settings.n_observations)
        model = CurveModel(data, kernel, self._trend(data))
        running = history.running()
        if len(running):  # fantasies
            time = history.time_of(history.until[running])
            mean, _ = model.predict(history.features[running], time, running)
            fantasies = Observations(features=history.features[running], time=time, trial=running, z=mean)
            model = CurveModel(data.plus(fantasies), kernel, model.trend)
        return model

    def _trend(self, data: Observations) -> Trend:
        return trend_of(data, prior_slope=self._settings.slope, prior_weight=self._settings.slope_weight)

    def _theta(self) -> Array:
        """Return the kernel's parameters, fitted to the first so many evaluations: to as many whenever it is asked."""
        settings = self._settings
        n = 1
        while (following := max(n + 1, math.ceil(n * settings.refit))) <= self._history.n_reports:
            n = following
        if self._fitted is None or self._fitted[0] != n:
            data = self._history.observations(settings.n_observations, n_reports=n)
            y = self._trend(data).standardize(data.z, data.time)
            likelihood = Likelihood(data, y, self._groups, settings.prior)
            self._fitted = n, likelihood.maximize(settings.max_iterations)
        return self._fitted[1]
