"""Learning curves by a Gaussian process over configurations and epochs.

After freeze-thaw Bayesian optimization (Swersky, Snoek and Adams 2014, https://arxiv.org/abs/1406.3896), with a product
kernel over configuration and epoch instead of exponential decays.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_solve, cholesky, solve_triangular
from scipy.optimize import minimize

Array = NDArray[np.float64]
Ints = NDArray[np.int64]

Offset = Callable[[Array], Array]  # of z, (n,), from features (n, d)

N_SHARED = 5  # log parameters beside the length-scales: of time, growth, signal, trial, noise
JITTER = 1e-6


def no_offset(features: Array) -> Array:
    """Return zeros."""
    return np.zeros(len(features))


@dataclass(frozen=True)
class Observations:
    """Evaluations, a row for each.

    Attributes:
        features: (n, d) of the configuration.
        time: (n,) logarithm of the epoch; 1 at the last epoch of a full training, 0 after the first.
        trial: (n,) an index that rows of the same trial share.
        z: (n,) value, transformed.
    """

    features: Array
    time: Array
    trial: Ints
    z: Array

    def __len__(self) -> int:
        return len(self.z)

    def plus(self, other: Observations) -> Observations:
        """Return the rows of both."""
        return Observations(
            features=np.concatenate([self.features, other.features]),
            time=np.concatenate([self.time, other.time]),
            trial=np.concatenate([self.trial, other.trial]),
            z=np.concatenate([self.z, other.z]),
        )


@dataclass(frozen=True)
class Trend:
    """The mean of all curves: z = level + slope * time; deviations from it are measured in units of `scale`."""

    level: float
    slope: float
    scale: float

    def standardize(self, z: Array, time: Array) -> Array:
        """Return deviations from the mean."""
        standardized: Array = (z - self.level - self.slope * time) / self.scale
        return standardized

    def restore(self, deviation: Array, time: Array) -> Array:
        """Return z of deviations."""
        restored: Array = self.level + self.slope * time + self.scale * deviation
        return restored


def trend_of(data: Observations, *, prior_slope: float, prior_weight: float) -> Trend:
    """Return the mean curve: its slope from within trials, since those trained longest are the best ones."""
    n_trials = int(data.trial.max()) + 1
    counts = np.maximum(np.bincount(data.trial, minlength=n_trials), 1)
    time = data.time - (np.bincount(data.trial, data.time, n_trials) / counts)[data.trial]
    z = data.z - (np.bincount(data.trial, data.z, n_trials) / counts)[data.trial]
    slope = (float(time @ z) + prior_weight * prior_slope) / (float(time @ time) + prior_weight)
    residual = data.z - slope * data.time
    by_trial = (np.bincount(data.trial, residual, n_trials) / counts)[np.unique(data.trial)]
    level = float(np.mean(by_trial))
    scale = float(np.std(by_trial)) if len(by_trial) > 1 else 0.0
    return Trend(level=level, slope=slope, scale=max(scale, 0.02))


@dataclass(frozen=True)
class Kernel:
    """Covariances of curves.

    Attributes:
        theta: log length-scale of each group of coordinates, then of time, then log standard deviations: of what
            grows with time, of the configuration's part, of the trial's own, of the noise.
        groups: (d,) index of the length-scale of each coordinate.
    """

    theta: Array
    groups: Ints

    @property
    def weights(self) -> Array:
        """Of each coordinate in squared distances."""
        weights: Array = np.exp(-2 * self.theta[self.groups])
        return weights

    @property
    def shared(self) -> tuple[float, float, float, float, float]:
        """Time's length-scale, and the standard deviations of growth, signal, trial and noise."""
        time, growth, signal, trial, noise = np.exp(self.theta[-N_SHARED:])
        return float(time), float(growth), float(signal), float(trial), float(noise)

    def variance(self, time: Array) -> Array:
        """Return the variances of curves at times, without noise."""
        _, growth, signal, own, _ = self.shared
        variance: Array = (signal**2 + own**2) * (1 + growth**2 * grown(time) ** 2)
        return variance

    def between(self, one: Observations, features: Array, time: Array, trial: Ints) -> Array:
        """Return the covariances (rows of one, rows of the other), without noise."""
        time_scale, growth, signal, own, _ = self.shared
        root = np.sqrt(self.weights)
        a, b = one.features * root, features * root
        squared = np.maximum((a * a).sum(1)[:, None] + (b * b).sum(1)[None] - 2 * a @ b.T, 0)
        same = one.trial[:, None] == trial[None]
        lag = np.abs(one.time[:, None] - time[None]) / time_scale
        over_time = matern(lag) + growth**2 * np.outer(grown(one.time), grown(time))
        covariance: Array = (signal**2 * matern(np.sqrt(squared)) + own**2 * same) * over_time
        return covariance


def grown(time: Array) -> Array:
    """Return how much of its growth a curve has had: none before the end of the first epoch."""
    return np.maximum(time, 0)


def matern(r: Array) -> Array:
    """Return Matern 5/2 correlations at distances, in length-scales."""
    s = np.sqrt(5) * r
    correlation: Array = (1 + s + s * s / 3) * np.exp(-s)
    return correlation


@dataclass(frozen=True)
class Prior:
    """Of a kernel's log parameters: independent normal distributions.

    Attributes:
        scale: mean and standard deviation of configurations' log length-scales.
        time: of time's.
        growth: of the part that grows with time, in units of the one that does not.
        signal: of the standard deviations of the configuration's part.
        trial: of the trial's own.
        noise: of the noise.
    """

    scale: tuple[float, float] = (-0.4, 0.8)
    time: tuple[float, float] = (0.3, 0.5)
    growth: tuple[float, float] = (0.5, 0.6)
    signal: tuple[float, float] = (0.0, 0.5)
    trial: tuple[float, float] = (-1.6, 0.7)
    noise: tuple[float, float] = (-2.5, 0.8)

    def arrays(self, n_groups: int) -> tuple[Array, Array]:
        """Return means and standard deviations of all parameters."""
        rows = np.array([self.scale] * n_groups + [self.time, self.growth, self.signal, self.trial, self.noise])
        # The more parameters there are, the longer the scales: distances grow with the root of their number.
        rows[:n_groups, 0] += 0.5 * np.log(max(n_groups, 1) / 4)
        return rows[:, 0], rows[:, 1]


class Likelihood:
    """Negative log posterior of a kernel's parameters, with its gradient."""

    def __init__(self, data: Observations, y: Array, groups: Ints, prior: tuple[Array, Array]) -> None:
        """Prepare distances.

        Args:
            data: the observations.
            y: (n,) their standardized values.
            groups: (d,) index of the length-scale of each coordinate.
            prior: means and standard deviations of the parameters.
        """
        self._y = y
        self._n_groups = int(groups.max()) + 1 if len(groups) else 0
        self._mean, self._sd = prior
        n = len(y)
        self._squared = np.zeros((self._n_groups, n, n))
        for column, group in zip(data.features.T, groups, strict=True):
            self._squared[group] += (column[:, None] - column[None]) ** 2
        self._lag = np.abs(data.time[:, None] - data.time[None])
        self._grown = np.outer(grown(data.time), grown(data.time))
        self._same = (data.trial[:, None] == data.trial[None]).astype(float)

    def __call__(self, theta: Array) -> tuple[float, Array]:
        """Return the value and its gradient."""
        g, n = self._n_groups, len(self._y)
        weights = np.exp(-2 * theta[:g])
        time_scale, growth, signal, own, noise = np.exp(theta[g:])
        r = np.sqrt(np.tensordot(weights, self._squared, axes=1))
        s, q = np.sqrt(5) * r, np.sqrt(5) * self._lag / time_scale
        decay_r, decay_q = np.exp(-s), np.exp(-q)
        by_growth = growth**2 * self._grown
        over_time = (1 + q + q * q / 3) * decay_q + by_growth
        by_config = signal**2 * (1 + s + s * s / 3) * decay_r
        by_trial = own**2 * self._same
        level = by_config + by_trial
        K = level * over_time
        K[np.diag_indices(n)] += noise**2 + JITTER
        L = cholesky(K, lower=True, check_finite=False)
        inverse = cho_solve((L, True), np.eye(n), check_finite=False)
        alpha = inverse @ self._y
        W = inverse - np.outer(alpha, alpha)
        WT = W * over_time
        gradient = np.empty_like(theta)
        slope = WT * (signal**2 * 5 / 3 * (1 + s) * decay_r)  # d k / d log(length-scale) = this * weight * distance^2
        gradient[:g] = 0.5 * weights * np.tensordot(self._squared, slope, axes=2)
        gradient[g] = 0.5 * np.sum(W * level * (q * q / 3) * (1 + q) * decay_q)
        gradient[g + 1] = np.sum(W * level * by_growth)
        gradient[g + 2] = np.sum(WT * by_config)
        gradient[g + 3] = np.sum(WT * by_trial)
        gradient[g + 4] = noise**2 * np.trace(W)
        deviation = (theta - self._mean) / self._sd
        value = 0.5 * self._y @ alpha + np.log(np.diag(L)).sum() + 0.5 * deviation @ deviation
        return float(value), gradient + deviation / self._sd

    def maximize(self, max_iterations: int) -> Array:
        """Return the most probable parameters, from the prior's mean on."""
        bounds = list(zip(self._mean - 4 * self._sd, self._mean + 4 * self._sd, strict=True))
        found = minimize(
            self, self._mean, jac=True, method="L-BFGS-B", bounds=bounds, options={"maxiter": max_iterations}
        )
        theta: Array = found.x
        return theta


class CurveModel:
    """What curves are expected to come to, given those that were seen."""

    def __init__(self, data: Observations, kernel: Kernel, trend: Trend, offset: Offset = no_offset) -> None:
        """Condition on observations.

        Args:
            data: the observations.
            kernel: of the curves.
            trend: of what is left of z without the offset.
            offset: known of configurations before any observation.
        """
        self.data = data
        self.kernel = kernel
        self.trend = trend
        self.offset = offset
        covariance = kernel.between(data, data.features, data.time, data.trial)
        covariance[np.diag_indices(len(data))] += kernel.shared[-1] ** 2 + JITTER
        self._L = cholesky(covariance, lower=True, check_finite=False)
        y = trend.standardize(data.z - offset(data.features), data.time)
        self._alpha = cho_solve((self._L, True), y, check_finite=False)

    @property
    def noise(self) -> float:
        """The standard deviation of an evaluation's noise, in units of z."""
        return self.trend.scale * self.kernel.shared[-1]

    def mean_of_new(self, features: Array, time: Array) -> Array:
        """Return the mean of z, (m,), of configurations that are new; features and time as in `predict`."""
        covariance = self.kernel.between(self.data, features, time, np.full(len(time), -1))
        return self.trend.restore(covariance.T @ self._alpha, time) + self.offset(features)

    def predict(self, features: Array, time: Array, trial: Ints) -> tuple[Array, Array]:
        """Return mean and standard deviation of z, (m,) each, without noise.

        Args:
            features: (m, d) of the configurations.
            time: (m,) of the epochs.
            trial: (m,) indices as in the observations; -1 for a configuration that is new.
        """
        covariance = self.kernel.between(self.data, features, time, trial)
        mean = covariance.T @ self._alpha
        half = solve_triangular(self._L, covariance, lower=True, check_finite=False)
        variance = np.maximum(self.kernel.variance(time) - np.einsum("ij,ij->j", half, half), 1e-10)
        return self.trend.restore(mean, time) + self.offset(features), self.trend.scale * np.sqrt(variance)
