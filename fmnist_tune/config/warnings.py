"""Warnings about valid but probably unintended settings: those without effect, pruners that mislead or never act."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from fmnist_tune.config.parameters import Parameter, value_at
from fmnist_tune.config.schema import Settings
from fmnist_tune.registry import blamed_on, own_code
from fmnist_tune.tasks.config import TaskConfig
from fmnist_tune.tasks.task import Task

if TYPE_CHECKING:
    from fmnist_tune.config.space import SearchSpace


def space_warnings(
    settings: Settings,
    parameters: Sequence[Parameter],
    tree: Mapping[str, Any],
    configs: Sequence[TaskConfig],
    task: Task,
) -> tuple[str, ...]:
    """Return a sentence for each probable mistake.

    Args:
        settings: of the file.
        parameters: its searched parameters.
        tree: the file's plain data.
        configs: configurations at the ends of the parameters.
        task: the task.
    """
    found = list(_unused(parameters, tree))
    gpus = settings.resources.gpus
    if gpus is not None and gpus > 1:
        found.append(f"resources.gpus: a trial trains on one GPU; the others of {gpus:g} are reserved for nothing")
    if parameters:
        with own_code(task, "warnings"):
            of_task = tuple(task.warnings(settings, tree))
        found += [*_pruner(settings, tree, configs, task.epoch), *of_task, *_initial(settings)]
    elif "search" in tree and set(tree["search"]) != {"epoch_timeout"}:
        rest = ", but for epoch_timeout" if "epoch_timeout" in tree["search"] else ""
        found.append(f"search: nothing is searched in this file, so that this section has no effect{rest}")
    return tuple(found)


def repeats(space: SearchSpace) -> tuple[str, ...]:
    """Return that a study would train some configurations again, if it would."""
    search, is_endless = space.settings.search, any(p.domain.n_values is None for p in space.parameters)
    if not space.parameters or is_endless or search.sampler.name == "grid":
        return ()
    size = sum(1 for _ in itertools.islice(space.grid(), search.trials))
    if size == search.trials:
        return ()
    return (
        f"search.trials: {search.trials} of a space with {size} configurations: some are trained more than once; "
        "sampler: {name: grid} trains each of them once",
    )


def _unused(parameters: Sequence[Parameter], tree: Mapping[str, Any]) -> Iterator[str]:
    """Yield a warning for each parameter whose condition contradicts a fixed value."""
    searched = {parameter.path for parameter in parameters}
    for parameter in parameters:
        for other, wanted in parameter.when.items():
            actual = value_at(tree, other)
            if other not in searched and not isinstance(actual, dict) and actual not in wanted:
                yield f"{parameter.path}: never used, since {other} is {actual} and nothing else"


def _initial(settings: Settings) -> Iterator[str]:
    """Yield a warning if there are more initial points than trials."""
    n_points, n_trials = len(settings.search.initial), settings.search.trials
    if n_points > n_trials:
        left = n_points - n_trials
        yield f"search.initial: {n_points} points, but search.trials is {n_trials}: the last {left} never begin"


def _pruner(settings: Settings, tree: Mapping[str, Any], configs: Sequence[TaskConfig], unit: str) -> Iterable[str]:
    given = value_at(tree, "search.pruner") or {}
    pruner, epochs = settings.search.pruner, sorted({config.training.epochs for config in configs})
    try:
        with blamed_on(type(pruner)):
            return tuple(pruner.warnings(given, epochs, unit))
    except ValueError as error:
        return (f"search.pruner: {error}",)
