"""What a file allows but probably does not mean: settings without effect, pruners that mislead or never act."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from fmnist_tune.config.modular import ModularConfig, ModularTraining
from fmnist_tune.config.parameters import Parameter, value_at
from fmnist_tune.config.schema import Settings
from fmnist_tune.config.tasks import AnyConfig


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


def _pruner(settings: Settings, tree: Mapping[str, Any], configs: Sequence[AnyConfig]) -> Iterator[str]:
    pruner, given = settings.search.pruner, value_at(tree, "search.pruner") or {}
    if pruner.name == "none":
        ignored = [key for key in given if key != "name"]
        if ignored:
            yield f"search.pruner: {' and '.join(ignored)} have no effect with name none".replace(
                "have", "has" if len(ignored) == 1 else "have"
            )
        return
    epochs = sorted({config.training.epochs for config in configs})
    if not epochs or "min_epochs" not in given or pruner.min_epochs < epochs[0]:
        return
    what = "evaluation" if settings.task == ModularConfig.task else "epoch"
    rung = f"search.pruner: asha first compares trials after {what} {pruner.min_epochs:g}"
    if pruner.min_epochs >= epochs[-1]:
        yield f"{rung}, but the last one is {epochs[-1]}: no trial is stopped early; use a smaller min_epochs"
    else:
        yield (
            f"{rung}: those with {epochs[0]} {what}s end before, and none of them is stopped early; use a min_epochs "
            f"below {epochs[0]}"
        )


def _grokking(settings: Settings, tree: Mapping[str, Any]) -> Iterator[str]:
    """Yield that ASHA misleads on a plateau that every run has to cross."""
    pruner = settings.search.pruner
    if settings.task != ModularConfig.task or pruner.name == "none":
        return
    training = tree.get("training")
    given = training if isinstance(training, dict) else {}
    steps, every = (given.get(key, ModularTraining.model_fields[key].default) for key in ("steps", "eval_every"))
    half = steps // every // 2 if isinstance(steps, int) and isinstance(every, int) else None
    if half is not None and pruner.min_epochs >= half:
        return
    instead = "" if half is None else f", or min_epochs of at least {half} (half of all evaluations)"
    yield (
        f"search.pruner: asha compares trials by validation accuracy after {pruner.min_epochs:g} "
        f"evaluation{'s' if pruner.min_epochs > 1 else ''}, where those that generalise later look like those that "
        f"never do, and ends them; use {{name: none}}{instead}"
    )
