"""A trial's validation accuracy as it was trained, looks within the first epoch included."""

from __future__ import annotations

from optuna.trial import FrozenTrial

LOOKS_KEY = "looks"


def curve_of(trial: FrozenTrial) -> dict[float, float]:
    """Return validation accuracy by epoch, and by the share of the first epoch where a look gave it."""
    return looks_of(trial) | trial.intermediate_values


def looks_of(trial: FrozenTrial) -> dict[float, float]:
    """Return validation accuracy by the share of the first epoch that was trained."""
    return dict(trial.user_attrs.get(LOOKS_KEY, ()))
