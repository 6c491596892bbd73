"""What a training on modular addition came to: when it had memorised, when it had generalised, what that is worth."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fmnist_tune.config.modular import ModularConfig
from fmnist_tune.training.results import EpochResult
from fmnist_tune.units import percent

SOLVED = 0.99  # of the validation pairs right
MEMORISED = 0.99  # of the training pairs right


def steps_to_solve(config: ModularConfig, history: Sequence[EpochResult]) -> int | None:
    """Return the steps before the first evaluation with 99 % of the validation pairs right; None if it never was."""
    return _first(config, [result.val_accuracy for result in history], SOLVED)


def steps_to_memorise(config: ModularConfig, history: Sequence[EpochResult]) -> int | None:
    """Return the steps before the first evaluation with 99 % of the training pairs right; None if it never was."""
    return _first(config, [result.train_accuracy for result in history], MEMORISED)


def value(config: ModularConfig, history: Sequence[EpochResult]) -> float:
    """Return what a search maximises.

    Solved: the share of `training.steps` that was left when 99 % of the validation pairs were right, in [0, 1), so
    fewer steps are better. Otherwise what was missing to 99 %, as a negative number, so that the sampler is told which
    of two failures came nearer.
    """
    steps = steps_to_solve(config, history)
    if steps is not None:
        return 1 - steps / config.training.steps
    return max(result.val_accuracy for result in history) - SOLVED


def value_text(value: float) -> str:
    """Return such a value in words."""
    return (
        f"{percent(value)} of the steps left" if value >= 0 else f"not solved, {-100 * value:.2f} points short of 99 %"
    )


def milestones(config: ModularConfig, history: Sequence[EpochResult]) -> dict[str, Any]:
    """Return both step counts, for a trial's attributes and the figures over seeds."""
    return {
        "steps_to_memorise": steps_to_memorise(config, history),
        "steps_to_solve": steps_to_solve(config, history),
    }


def _first(config: ModularConfig, accuracies: Sequence[float], threshold: float) -> int | None:
    every = config.training.eval_every
    return next((i * every for i, accuracy in enumerate(accuracies, start=1) if accuracy >= threshold), None)
