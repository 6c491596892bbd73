"""A trial's validation accuracy as it was trained, looks within the first epoch included."""

from __future__ import annotations

from dataclasses import dataclass

from optuna.trial import FrozenTrial

LOOKS_KEY = "looks"


@dataclass(frozen=True)
class Point:
    """A validation accuracy, and after how many epochs it was measured: less than 1 for a look within the first."""

    epoch: float
    accuracy: float


def curve_of(trial: FrozenTrial) -> dict[float, float]:
    """Return validation accuracy by epoch, and by the share of the first epoch where a look gave it."""
    return looks_of(trial) | trial.intermediate_values


def looks_of(trial: FrozenTrial) -> dict[float, float]:
    """Return validation accuracy by the share of the first epoch that was trained."""
    return dict(trial.user_attrs.get(LOOKS_KEY, ()))


def latest_of(trial: FrozenTrial) -> Point | None:
    """Return the accuracy where a trial stands, whatever its state; None before the first one."""
    curve = curve_of(trial)
    return Point(max(curve), curve[max(curve)]) if curve else None
