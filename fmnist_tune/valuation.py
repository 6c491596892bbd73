"""What a finished trial is worth, by its task; the higher the better."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from fmnist_tune.config.modular import ModularConfig
from fmnist_tune.config.schema import TrialConfig
from fmnist_tune.config.tasks import AnyConfig
from fmnist_tune.modular import outcome
from fmnist_tune.training.results import EpochResult, best_epoch
from fmnist_tune.units import percent

VAL_ACCURACY = "val_accuracy"


@dataclass(frozen=True)
class Objective:
    """What a study maximises.

    Attributes:
        metric: its name in Optuna.
        label: its name for people.
        text: a value on its own.
        sentence: a value, and what it is of.
    """

    metric: str
    label: str
    text: Callable[[float], str]
    sentence: Callable[[float], str]

    @property
    def is_val_accuracy(self) -> bool:
        """Whether a trial's value is on the scale of its curve."""
        return self.metric == VAL_ACCURACY


OBJECTIVES = {
    TrialConfig.task: Objective(
        VAL_ACCURACY, "validation accuracy", percent, lambda value: f"validation accuracy {percent(value)}"
    ),
    ModularConfig.task: Objective("steps_left", "share of steps left", outcome.value_text, outcome.value_text),
}


def value_of(config: AnyConfig, history: Sequence[EpochResult]) -> float:
    """Return the value of a training that has come to its end."""
    if isinstance(config, ModularConfig):
        return outcome.value(config, history)
    best = best_epoch(history) if config.training.early_stopping is not None else len(history)
    return history[best - 1].val_accuracy


def attributes_of(config: AnyConfig, history: Sequence[EpochResult]) -> dict[str, Any]:
    """Return what else to record of a training's course."""
    if isinstance(config, ModularConfig):
        return outcome.milestones(config, history)
    return {"best_epoch": best_epoch(history)} if config.training.early_stopping is not None else {}
