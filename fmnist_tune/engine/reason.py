"""Why a candidate was chosen, in numbers for people: accuracies and seconds."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from fmnist_tune.engine.candidates import Candidates
from fmnist_tune.engine.curves import CurveModel
from fmnist_tune.engine.history import History, accuracy_of
from fmnist_tune.engine.state import Forecast

Array = NDArray[np.float64]

MIDDLE_90 = np.array([0.0, -1.6448536269514722, 1.6448536269514722])  # median, 5 % and 95 % of a normal distribution
STEPS = np.linspace(-6.0, 6.0, 1201)
WEIGHTS = np.exp(-0.5 * STEPS**2) / np.exp(-0.5 * STEPS**2).sum()


def forecast(chosen: Candidates, until: float, model: CurveModel, history: History) -> Forecast:
    """Return what is expected of a candidate.

    Args:
        chosen: the candidate, alone.
        until: its horizon.
        model: of the curves.
        history: of the trials.
    """
    epochs = np.array([chosen.epochs[0], until])
    mean, sd = model.predict(chosen.features.repeat(2, axis=0), history.time_of(epochs), chosen.row.repeat(2))
    sd_seen = math.hypot(sd[0], model.noise)
    median, low, high = _values(mean[0] + sd_seen * MIDDLE_90, history).tolist()
    excess = _values(mean[1] + sd[1] * STEPS, history) - _values(np.array([history.best_z]), history)
    return Forecast(
        end=(median, low, high),
        horizon=float(until),
        seconds=float((until - chosen.epoch[0]) * np.exp(chosen.log_s[0])),
        gain=float(np.maximum(excess, 0) @ WEIGHTS),
    )


def _values(z: Array, history: History) -> Array:
    return accuracy_of(z) if history.is_accuracy else z
