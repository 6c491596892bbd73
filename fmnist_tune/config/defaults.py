"""What holds in a space besides what it searches: values that its file fixes, and defaults where it says nothing."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from fmnist_tune.config.corners import probes
from fmnist_tune.config.initial import INITIAL
from fmnist_tune.config.parameters import flatten, searched_nodes, substitute
from fmnist_tune.config.schema import TRIAL_KEYS
from fmnist_tune.config.space import SearchSpace
from fmnist_tune.errors import UserError

# What no value means, where it means anything: the schema's None.
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
    """A value that the file leaves to us.

    Attributes:
        path: dotted.
        value: what holds; None as in the schema, see NONE_MEANS.
        models: with which models, where the file may choose others that have another value or none; else empty.
        is_spare: whether the file searches it too, under a condition, and this holds where that does not.
    """

    path: str
    value: Any
    models: tuple[str, ...]
    is_spare: bool


def fixed_values(space: SearchSpace) -> dict[str, Any]:
    """Return what the file fixes, by dotted path; initial points aside, which have their own place."""
    searched = {path for path, _ in searched_nodes(space.tree, ())}
    return {
        path: value
        for path, value in flatten(space.tree).items()
        if path not in ("study", INITIAL) and not any(path == s or path.startswith(f"{s}.") for s in searched)
    }


def default_values(space: SearchSpace) -> list[Default]:
    """Return what holds where the file says nothing, in the order of the schema."""
    found: dict[tuple[str, str], set[str]] = {}
    models: set[str] = set()
    for values in probes(space.parameters, space.tree):
        try:
            config = space.config(values)
        except UserError:
            continue
        models.add(config.model.name)
        held = config.model_dump(mode="json")
        held["model"] |= {k: v for k, v in config.model.if_none().items() if held["model"][k] is None}
        for path, value in _known(flatten(held), flatten(substitute(space.tree, values))).items():
            found.setdefault((path, json.dumps(value)), set()).add(config.model.name)
    given = flatten({key: space.tree[key] for key in ("task", "search", "resources") if key in space.tree})
    settings = _known(flatten(space.settings.model_dump(mode="json", exclude={"study"})), given)
    searched = {parameter.path for parameter in space.parameters}
    ours = [
        Default(
            path=path,
            value=json.loads(text),
            models=tuple(sorted(names)) if names != models and path.startswith("model.") else (),
            is_spare=path in searched,
        )
        for (path, text), names in found.items()
    ]
    ours.sort(key=lambda default: TRIAL_KEYS.index(default.path.partition(".")[0]))
    return [*(Default(path, value, (), False) for path, value in settings.items()), *ours]


def _known(values: dict[str, Any], given: dict[str, Any]) -> dict[str, Any]:
    """Return those of a configuration's values that are not given, without a None that means nothing."""
    return {
        path: value
        for path, value in values.items()
        if not any(path == g or path.startswith(f"{g}.") or g.startswith(f"{path}.") for g in given)
        and (value is not None or path in NONE_MEANS)
    }
