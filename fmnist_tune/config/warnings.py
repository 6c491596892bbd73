"""What a file allows but probably does not mean: settings without effect, pruners that mislead or never act."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from fmnist_tune.config.modular import ModularConfig, ModularTraining
from fmnist_tune.config.parameters import Parameter, value_at
from fmnist_tune.config.schema import Settings
from fmnist_tune.config.tasks import AnyConfig
from fmnist_tune.registry import blamed_on


def space_warnings(
    settings: Settings, parameters: Sequence[Parameter], tree: Mapping[str, Any], configs: Sequence[AnyConfig]
) -> tuple[str, ...]:
    """Return a sentence for each thing that is probably not meant.

    Args:
        settings: of the file.
        parameters: what it searches.
        tree: the file's plain data.
        configs: what the ends of the parameters give.
    """
    found = list(_unused(parameters, tree))
    gpus = settings.resources.gpus
    if gpus is not None and gpus > 1:
        found.append(f"resources.gpus: a trial trains on one GPU; the others of {gpus:g} are reserved for nothing")
    if parameters:
        found += [*_pruner(settings, tree, configs), *_grokking(settings, tree), *_initial(settings)]
    elif "search" in tree:
        found.append("search: nothing is searched in this file, so that this section has no effect")
    return tuple(found)


def _unused(parameters: Sequence[Parameter], tree: Mapping[str, Any]) -> Iterator[str]:
    """Yield the parameters whose condition names a fixed value that is another one."""
    searched = {parameter.path for parameter in parameters}
    for parameter in parameters:
        for other, wanted in parameter.when.items():
            actual = value_at(tree, other)
            if other not in searched and not isinstance(actual, dict) and actual not in wanted:
                yield f"{parameter.path}: never used, since {other} is {actual} and nothing else"


def _initial(settings: Settings) -> Iterator[str]:
    """Yield that the study is full before every initial point has begun."""
    n_points, n_trials = len(settings.search.initial), settings.search.trials
    if n_points > n_trials:
        left = n_points - n_trials
        yield f"search.initial: {n_points} points, but search.trials is {n_trials}: the last {left} never begin"


def _pruner(settings: Settings, tree: Mapping[str, Any], configs: Sequence[AnyConfig]) -> Iterable[str]:
    given = value_at(tree, "search.pruner") or {}
    unit = "evaluation" if settings.task == ModularConfig.task else "epoch"
    pruner, epochs = settings.search.pruner, sorted({config.training.epochs for config in configs})
    try:
        with blamed_on(type(pruner)):
            return tuple(pruner.warnings(given, epochs, unit))
    except ValueError as error:
        return (f"search.pruner: {error}",)


def _grokking(settings: Settings, tree: Mapping[str, Any]) -> Iterator[str]:
    """Yield that an early comparison misleads on a plateau that every run has to cross."""
    pruner = settings.search.pruner
    first = pruner.first_milestone
    if settings.task != ModularConfig.task or math.isinf(first):
        return
    training = tree.get("training")
    given = training if isinstance(training, dict) else {}
    steps, every = (given.get(key, ModularTraining.model_fields[key].default) for key in ("steps", "eval_every"))
    half = steps // every // 2 if isinstance(steps, int) and isinstance(every, int) else None
    if half is not None and first >= half:
        return
    instead = "" if half is None else f", or min_epochs of at least {half} (half of all evaluations)"
    yield (
        f"search.pruner: {pruner.name} compares trials by validation accuracy after {first:g} "
        f"evaluation{'s' if first > 1 else ''}, where those that generalise later look like those that "
        f"never do, and ends them; use {{name: none}}{instead}"
    )
