"""Seconds of an epoch before a configuration was trained."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

PRIOR_SD = 1.5  # of the logarithm of the machine's speed, which nobody has told
NOISE_SD = 0.15  # of the logarithm of measured seconds


class CostModel:
    """Log seconds per epoch: what is known beforehand, plus a linear correction from what was measured."""

    def __init__(
        self, n_features: int, known: tuple[Array, Array] | None, earlier: Sequence[tuple[Array, Array]] = ()
    ) -> None:
        """Make a model.

        Args:
            n_features: coordinates of a configuration.
            known: some configurations (n, n_features), and the logarithm of the seconds expected of each.
            earlier: the same of earlier studies, as measured there; where nothing is known, their slopes are.
        """
        self._slope_sd = 1.0 if known is None else 0.3
        self._known: Array | None = None
        if known is not None:
            basis = _quadratic(known[0])
            penalty = 1e-2 * np.eye(basis.shape[1])
            penalty[0, 0] = 0
            self._known = np.linalg.solve(basis.T @ basis + penalty, basis.T @ known[1]).astype(np.float64)
        self._mean: Array = np.zeros(n_features + 1)
        if known is None and any(len(log_s) for _, log_s in earlier):
            found = [CostModel(n_features, None).observe(*study) for study in earlier if len(study[1])]
            self._known = np.zeros(_quadratic(np.zeros((1, n_features))).shape[1])
            self._known[: n_features + 1] = np.mean(found, axis=0)

    def known_log_s(self, features: Array) -> Array:
        """Return what was expected before any measurement; zeros if nothing was."""
        return np.zeros(len(features)) if self._known is None else _quadratic(features) @ self._known

    def observe(self, features: Array, log_s: Array) -> Array:
        """Learn from the measured log seconds per epoch, (n,), instead of what was learned before.

        Returns:
            The level and the slopes of the correction, (1 + n_features,).
        """
        if not len(log_s):
            return self._mean
        residual = log_s - self.known_log_s(features)
        basis = _linear(features)
        # Around the median: the machine's speed is not known, and may be any.
        centre = float(np.median(residual))
        prior = np.full(basis.shape[1], self._slope_sd**-2)
        prior[0] = PRIOR_SD**-2
        precision = basis.T @ basis / NOISE_SD**2 + np.diag(prior)
        self._mean = np.linalg.solve(precision, basis.T @ (residual - centre) / NOISE_SD**2).astype(np.float64)
        self._mean[0] += centre
        return self._mean

    def log_s(self, features: Array) -> Array:
        """Return the expected log seconds per epoch, (n,)."""
        expected: Array = self.known_log_s(features) + _linear(features) @ self._mean
        return expected


def _linear(features: Array) -> Array:
    return np.column_stack([np.ones(len(features)), features - 0.5])


def _quadratic(features: Array) -> Array:
    centred = features - 0.5
    i, j = np.triu_indices(features.shape[1])
    return np.column_stack([np.ones(len(features)), centred, centred[:, i] * centred[:, j]])
