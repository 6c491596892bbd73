"""Tasks by name: built in, from an entry point, or `package.module:Class`."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

from fmnist_tune.errors import UserError, did_you_mean
from fmnist_tune.registry import (
    PluginError,
    Registry,
    SectionRegistry,
    own_result,
    place_of,
    public_name,
    told,
)
from fmnist_tune.tasks.config import TaskConfig
from fmnist_tune.tasks.objective import Objective
from fmnist_tune.tasks.task import Task

# What the attributes of a task and its objective must be: another type would fail at the end of a search.
TASK_TYPES: dict[str, type] = {
    **dict.fromkeys(("title", "epoch", "result", "result_label"), str),
    **dict.fromkeys(("has_test", "compares_validation"), bool),
    "objective": Objective,
    "report_files": tuple,
}
OBJECTIVE_TYPES: dict[str, type] = {**dict.fromkeys(("metric", "label", "history"), str), "is_on_curve": bool}
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
    return _built(found)  # type: ignore[arg-type]  # mypy takes the hash of a class for that of its objects


@cache
def _built(found: type[Task]) -> Task:
    """Return a task whose attributes are of the right types, and whose objective can say a value.

    Raises:
        PluginError: it is none.
    """
    try:
        task = found()
        _check_types(task, TASK_TYPES)
        _check_types(task.objective, OBJECTIVE_TYPES)
    except (UserError, PluginError):
        raise
    except (Exception, SystemExit) as error:
        raise PluginError(f"{place_of(found)} raised {told(error)}") from None
    try:
        for method in ("text", "sentence", "difference"):
            own_result(task.objective, method, str, 0.5)
    except UserError as error:
        raise PluginError(str(error)) from None
    return task


def _check_types(owner: object, types: Mapping[str, type]) -> None:
    for name, kind in types.items():
        value = getattr(owner, name)
        if not isinstance(value, kind):
            wanted = kind.__name__ if kind.__module__ == "builtins" else public_name(kind)
            raise PluginError(f"{place_of(type(owner))}: {name} is {value!r}; it must be of type {wanted}")


def task_of(tree: Mapping[str, Any]) -> Task | None:
    """Return a file's task; None if there is none of its name, or it cannot be used."""
    try:
        return find_task(tree.get("task", DEFAULT))
    except PluginError:
        return None
