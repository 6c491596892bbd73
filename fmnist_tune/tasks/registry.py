"""Tasks by name: built in, from an entry point, or `package.module:Class`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fmnist_tune.errors import UserError, did_you_mean, nearest
from fmnist_tune.registry import PluginError, Registry, SectionRegistry, place_of, public_name, told
from fmnist_tune.tasks.config import TaskConfig
from fmnist_tune.tasks.task import Task

DEFAULT = "fashion-mnist"  # image classification; on Fashion-MNIST, unless the file names another data set
TASKS: Registry[Task] = Registry(
    base=Task,
    built_in={
        DEFAULT: "fmnist_tune.tasks.images:ImageTask",
        "modular-addition": "fmnist_tune.tasks.modular_addition:ModularAddition",
    },
    group="fmnist_tune.tasks",
    needs=("new_run",),
)


def find_task(name: object) -> Task:
    """Return a task by name.

    Raises:
        PluginError: the name is unknown, or refers to something that is no task or cannot be imported.
    """
    found = TASKS.find(name)
    if found is None:
        names = TASKS.names()
        hint = did_you_mean(name, names) or "; a task of your own is named package.module:Class"
        raise PluginError(f"{name!r} is not one of {', '.join(names)}{hint}")
    if not isinstance(getattr(found, "config", None), type) or not issubclass(found.config, TaskConfig):
        raise PluginError(f"{name} has no config, which must be a class derived from {public_name(TaskConfig)}")
    if not isinstance(getattr(found.config, "models", None), SectionRegistry):
        config = place_of(found.config)
        raise PluginError(f"{name}: {config} has no models, which must be a fmnist_tune.tasks.SectionRegistry")
    try:
        return found()
    except UserError:
        raise
    except (Exception, SystemExit) as error:
        raise PluginError(f"{place_of(found)} raised {told(error)}") from None


def is_unusable(name: object) -> bool:
    """Return whether a name is of a third-party task that cannot be imported."""
    try:
        find_task(name)
    except PluginError:
        return isinstance(name, str) and (":" in name or name in TASKS.names())
    return False


def guess_task(tree: Mapping[str, Any]) -> Task:
    """Return a file's task; if misspelt, the one probably meant, judged by its name or its model's."""
    task, model = tree.get("task", DEFAULT), tree.get("model")
    try:
        return find_task(task)
    except PluginError:
        meant = nearest(task, TASKS.names()) if isinstance(task, str) and ":" not in task else None
    if meant is not None:
        return find_task(meant)
    name = model.get("name") if isinstance(model, dict) else None
    built_in = [find_task(key) for key in TASKS.built_in]
    return next((t for t in built_in if isinstance(name, str) and name in t.config.models.built_in), built_in[0])
