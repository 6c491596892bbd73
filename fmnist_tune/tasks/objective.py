"""What a study maximises."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Real
from typing import Any, ClassVar

from fmnist_tune.registry import own_result, plain
from fmnist_tune.tasks.config import TaskConfig
from fmnist_tune.training.results import EpochResult, best_epoch
from fmnist_tune.units import percent


def value_of(objective: Objective, config: TaskConfig, history: Sequence[EpochResult]) -> float:
    """Return the value of a training that has come to its end, by an objective that may be somebody's own.

    Raises:
        UserError: it is no number, or the objective raised something.
    """
    return float(own_result(objective, "value_of", Real, config, history))  # type: ignore[type-abstract]  # an ABC


def attributes_of(objective: Objective, config: TaskConfig, history: Sequence[EpochResult]) -> dict[str, Any]:
    """Return what an objective that may be somebody's own records of a training's course.

    Raises:
        UserError: it is no mapping that JSON can keep, or the objective raised something.
    """
    return plain(objective, "attributes_of", own_result(objective, "attributes_of", dict, config, history))


class Objective:
    """The value of a finished trial, the higher the better: here, the validation accuracy of its last epoch.

    With early stopping it is that of the best epoch. Derive from it for another figure.
    """

    # Its name in Optuna.
    metric: ClassVar[str] = "val_accuracy"
    # Its name for people.
    label: ClassVar[str] = "validation accuracy"
    # Whether it is on the scale of a trial's curve, the `val_accuracy` of its epochs.
    is_on_curve: ClassVar[bool] = True
    # What the optimization history shows, for the report; empty for the value over trials.
    history: ClassVar[str] = ""

    def text(self, value: float) -> str:
        """Return a value on its own."""
        return percent(value)

    def sentence(self, value: float) -> str:
        """Return a value, and what it is of."""
        return f"{self.label} {self.text(value)}"

    @property
    def is_share(self) -> bool:
        """Whether its values are shares, which plots and differences have in percent; not if `text` is overridden."""
        return type(self).text is Objective.text

    @property
    def curve_label(self) -> str:
        """What the figure of a trial's curve is called, for a column."""
        return self.curve_name.removeprefix("validation ")

    @property
    def curve_name(self) -> str:
        """What the figure of a trial's curve is called in full."""
        return self.label if self.is_on_curve else Objective.label

    def curve_text(self, value: float) -> str:
        """Return a figure of a trial's curve on its own."""
        return self.text(value) if self.is_on_curve else percent(value)

    def difference(self, value: float) -> str:
        """Return a difference of two values on its own, with its sign."""
        return f"{100 * value:+.2f} points" if self.is_share else f"{value:+.4g}"

    def value_of(self, config: TaskConfig, history: Sequence[EpochResult]) -> float:
        """Return the value of a training that has come to its end."""
        best = best_epoch(history) if config.early_stopping is not None else len(history)
        return history[best - 1].val_accuracy

    def attributes_of(self, config: TaskConfig, history: Sequence[EpochResult]) -> dict[str, Any]:
        """Return what else to record of a training's course."""
        return {"best_epoch": best_epoch(history)} if config.early_stopping is not None else {}
