"""What a task's trials are configured by."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fmnist_tune.config.modular import ModularConfig, ModularTraining
from fmnist_tune.config.schema import Training, TrialConfig
from fmnist_tune.errors import nearest

AnyConfig = TrialConfig | ModularConfig
AnyTraining = Training | ModularTraining
CONFIGS: dict[str, type[AnyConfig]] = {config.task: config for config in (TrialConfig, ModularConfig)}


def config_class(tree: Mapping[str, Any]) -> type[AnyConfig]:
    """Return the schema of a file's model, training and data, by its task; Fashion-MNIST's where it names none.

    Where the task is misspelt it is the one that is probably meant: by its name, or else by that of the model.
    """
    task, model = tree.get("task", TrialConfig.task), tree.get("model")
    name = model.get("name") if isinstance(model, dict) else None
    meant = nearest(task, CONFIGS) if isinstance(task, str) and task not in CONFIGS else task
    if not isinstance(meant, str):  # anything may stand in a file
        name = name if isinstance(name, str) else None
        meant = next((key for key, config in CONFIGS.items() if name in config.models.built_in), TrialConfig.task)
    return CONFIGS[str(meant)]
