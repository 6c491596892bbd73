"""What a task's trials are configured by."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fmnist_tune.config.modular import ModularConfig, ModularTraining
from fmnist_tune.config.schema import Settings, Training, TrialConfig

AnyConfig = TrialConfig | ModularConfig
AnyTraining = Training | ModularTraining
CONFIGS: dict[str, type[AnyConfig]] = {config.task: config for config in (TrialConfig, ModularConfig)}


def config_class(tree: Mapping[str, Any]) -> type[AnyConfig]:
    """Return the schema of a file's model, training and data, by its task; Fashion-MNIST's where it names none."""
    task = tree.get("task")
    return CONFIGS.get(task, TrialConfig) if isinstance(task, str) else TrialConfig


def task_warnings(settings: Settings, tree: Mapping[str, Any]) -> tuple[str, ...]:
    """Return what a task's file allows but probably does not mean: ASHA on a plateau that every run has to cross."""
    pruner = settings.search.pruner
    if settings.task != ModularConfig.task or pruner.name == "none":
        return ()
    training = tree.get("training")
    given = training if isinstance(training, dict) else {}
    steps, every = (given.get(key, ModularTraining.model_fields[key].default) for key in ("steps", "eval_every"))
    half = steps // every // 2 if isinstance(steps, int) and isinstance(every, int) else None
    if half is not None and pruner.min_epochs >= half:
        return ()
    instead = "" if half is None else f", or min_epochs of at least {half} (half of all evaluations)"
    return (
        f"search.pruner: asha compares trials by validation accuracy after {pruner.min_epochs:g} "
        f"evaluation{'s' if pruner.min_epochs > 1 else ''}, where those that generalise later look like those that "
        f"never do, and ends them; use {{name: none}}{instead}",
    )
