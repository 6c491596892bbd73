"""The outcome of a training on modular addition: when it memorised, when it generalised, and its value."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from fmnist_tune.tasks.modular_addition.config import ModularConfig
from fmnist_tune.tasks.objective import Objective
from fmnist_tune.training.results import EpochResult
from fmnist_tune.units import percent

SOLVED = 0.99  # share of the validation pairs correct
MEMORISED = 0.99  # share of the training pairs correct


def steps_to_solve(config: ModularConfig, history: Sequence[EpochResult]) -> int | None:
    """Return the steps until the first evaluation with 99 % of the validation pairs correct; None if never."""
    return _first(config, [result.val_accuracy for result in history], SOLVED)


def steps_to_memorise(config: ModularConfig, history: Sequence[EpochResult]) -> int | None:
    """Return the steps until the first evaluation with 99 % of the training pairs correct; None if never."""
    return _first(config, [result.train_accuracy for result in history], MEMORISED)


def value(config: ModularConfig, history: Sequence[EpochResult]) -> float:
    """Return what a search maximises.

    If solved, the share of `training.steps` left when 99 % of the validation pairs were correct, in [0, 1): fewer
    steps are better. Otherwise the shortfall from 99 %, as a negative number, so that the sampler can rank failures.
    """
    steps = steps_to_solve(config, history)
    if steps is not None:
        return 1 - steps / config.training.steps
    return max(result.val_accuracy for result in history) - SOLVED


def milestones(config: ModularConfig, history: Sequence[EpochResult]) -> dict[str, Any]:
    """Return both step counts, for a trial's attributes and the figures over seeds."""
    return {
        "steps_to_memorise": steps_to_memorise(config, history),
        "steps_to_solve": steps_to_solve(config, history),
    }


class StepsLeft(Objective):
    """The share of the steps left when the task was solved; see `value`."""

    metric: ClassVar[str] = "steps_left"
    label: ClassVar[str] = "share of steps left"
    is_on_curve: ClassVar[bool] = False
    history: ClassVar[str] = (
        "Share of the steps that every trial trained to its end had left when 99% of the validation pairs were right; "
        "where they never were, what was missing to 99%, below zero."
    )

    @property
    def is_share(self) -> bool:
        return True

    def text(self, value: float) -> str:
        if value >= 0:
            return f"{percent(value)} of the steps left"
        return f"not solved, {-100 * value:.2f} points short of 99 %"

    def sentence(self, value: float) -> str:
        return self.text(value)

    def value_of(self, config: Any, history: Sequence[EpochResult]) -> float:
        return value(config, history)

    def attributes_of(self, config: Any, history: Sequence[EpochResult]) -> dict[str, Any]:
        return milestones(config, history)


def _first(config: ModularConfig, accuracies: Sequence[float], threshold: float) -> int | None:
    every = config.training.eval_every
    return next((i * every for i, accuracy in enumerate(accuracies, start=1) if accuracy >= threshold), None)
