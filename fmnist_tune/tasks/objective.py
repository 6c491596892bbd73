"""What a study maximises."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from fmnist_tune.tasks.config import TaskConfig
from fmnist_tune.training.results import EpochResult, best_epoch
from fmnist_tune.units import percent


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
    def curve_label(self) -> str:
        """What the figure of a trial's curve is called, for a column."""
        return self.label.removeprefix("validation ") if self.is_on_curve else "accuracy"

    def curve_text(self, value: float) -> str:
        """Return a figure of a trial's curve on its own."""
        return self.text(value) if self.is_on_curve else percent(value)

    def value_of(self, config: TaskConfig, history: Sequence[EpochResult]) -> float:
        """Return the value of a training that has come to its end."""
        best = best_epoch(history) if config.early_stopping is not None else len(history)
        return history[best - 1].val_accuracy

    def attributes_of(self, config: TaskConfig, history: Sequence[EpochResult]) -> dict[str, Any]:
        """Return what else to record of a training's course."""
        return {"best_epoch": best_epoch(history)} if config.early_stopping is not None else {}
