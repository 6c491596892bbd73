"""A space's values that are not searched: those fixed by its file, and defaults for the rest."""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from fmnist_tune.config.corners import probes
from fmnist_tune.config.initial import INITIAL
from fmnist_tune.config.parameters import flatten, searched_nodes, substitute
from fmnist_tune.config.schema import TRIAL_KEYS
from fmnist_tune.config.space import SearchSpace
from fmnist_tune.errors import UserError
from fmnist_tune.models.section import Model
from fmnist_tune.registry import own_result
from fmnist_tune.search.asha import SCHEDULERS

# The meaning of None in the schema, where it is another than "none".
NONE_MEANS = {
    "search.timeout": "none",
    "resources.gpus": "auto",
    "training.batch_size": "full",
    "training.early_stopping": "none",
    "training.optimizer.betas": "PyTorch's",
    "data.draw": "every pair once",
}


@dataclass(frozen=True)
class Default:
    """A value that the file leaves out.

    Attributes:
        path: dotted.
        value: the default; None as in the schema, see NONE_MEANS.
        models: the models it applies to, if the file allows others without it or with another value; else empty.
        is_spare: whether the file searches it under a condition, and this applies when the condition does not hold.
        why: the reason for a value that depends on the rest of the file, the machine or the time; else empty.
    """

    path: str
    value: Any
    models: tuple[str, ...]
    is_spare: bool
    why: str = ""


def fixed_values(space: SearchSpace) -> dict[str, Any]:
    """Return the values fixed by the file, by dotted path, without initial points."""
    searched = {path for path, _ in searched_nodes(space.tree, ())}
    return {
        path: value
        for path, value in flatten(space.tree).items()
        if path not in ("study", INITIAL) and not _lies_in(path, {*searched, *space.implied})
    }


def _lies_in(path: str, others: Collection[str]) -> bool:
    return any(path == other or path.startswith(f"{other}.") for other in others)


def default_values(space: SearchSpace) -> list[Default]:
    """Return the defaults of values that the file leaves out, in the order of the schema."""
    found: dict[tuple[str, str, str], set[str]] = {}
    models: set[str] = set()
    for values in probes(space.parameters, space.tree):
        try:
            config = space.config(values)
        except UserError:
            continue
        models.add(config.model.name)
        held = config.model_dump(mode="json")
        held["model"] = {key: value for key, value in _model_values(config.model).items() if value is not None}
        given = _unimplied(flatten(substitute(space.tree, values)), space)
        for path, value in _known(flatten(held), given).items():
            why = config.reason(path) if path in space.implied else ""
            found.setdefault((path, json.dumps(value), why), set()).add(config.model.name)
    given = flatten({key: space.tree[key] for key in ("task", "search", "resources") if key in space.tree})
    given = _unimplied(given, space)
    held = space.settings.model_dump(mode="json", exclude={"study"})
    if space.settings.search.pruner.name in SCHEDULERS.built_in:  # a key of `none` has no effect
        held["search"]["pruner"] = {k: v for k, v in held["search"]["pruner"].items() if v is not None}
    settings = _known(flatten(held), given)
    searched = {parameter.path for parameter in space.parameters}
    ours = [
        Default(
            path=path,
            value=json.loads(text),
            models=tuple(sorted(names)) if names != models and path.startswith("model.") else (),
            is_spare=path in searched,
            why=why,
        )
        for (path, text, why), names in found.items()
    ]
    ours.sort(key=lambda default: TRIAL_KEYS.index(default.path.partition(".")[0]))
    return [*(Default(path, value, (), False) for path, value in settings.items()), *ours]


def _unimplied(values: dict[str, Any], space: SearchSpace) -> dict[str, Any]:
    return {path: value for path, value in values.items() if not _lies_in(path, space.implied)}


def _model_values(model: Model) -> dict[str, Any]:
    """Return a model's values, with the meaning of None where it has one."""
    values = model.model_dump(mode="json")
    meanings = own_result(model, "if_none", dict)
    return values | {key: meaning for key, meaning in meanings.items() if values.get(key) is None}


def _known(values: dict[str, Any], given: dict[str, Any]) -> dict[str, Any]:
    """Return a configuration's values that are not given."""
    return {
        path: value
        for path, value in values.items()
        if not any(path == g or path.startswith(f"{g}.") or g.startswith(f"{path}.") for g in given)
    }
