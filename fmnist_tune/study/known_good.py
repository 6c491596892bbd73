"""What a study tries first: settings that are known to do well, as far as the space has them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel

from fmnist_tune.config import SearchSpace
from fmnist_tune.config.domain import ChoiceDomain, Domain, is_searched, parse_domain
from fmnist_tune.config.parameters import value_at
from fmnist_tune.config.schema import TrialConfig

# Tried by hand on Fashion-MNIST, in trainings of 10 to 12 epochs; everything else starts from its default.
KNOWN: Mapping[str, Any] = {
    "model.name": "cnn",
    "model.depth": 2,
    "model.width": 512,
    "model.blocks": 3,
    "model.head": [128],
    "training.batch_size": 64,
    "training.optimizer.name": "adamw",
    "training.optimizer.momentum": 0.9,
}
# Of CNNs: each takes longer than the one before it; the second and the third end better than the first.
SIZES: tuple[Mapping[str, Any], ...] = (
    {"model.base_channels": 16},
    {"model.base_channels": 24},
    {"model.base_channels": 32, "model.dropout": 0.1},
)
LR = 2e-3  # of `cnn` at a constant rate; half of it for others, twice where it falls towards the end
DROPOUT_MLP = 0.2
WEIGHT_DECAY_ADAMW = 1e-2  # torch.optim's own default; the others' is 0


def known_good(space: SearchSpace) -> list[dict[str, Any]]:
    """Return values by dotted path of each trial to begin with: a small model, then larger CNNs if the space has them.

    A value is what is known to do well, or the default, or what is nearest to it in its domain. A choice that lists
    neither it nor numbers takes the first of its values, a range for which nothing is known its middle.
    """
    by_size: dict[Any, dict[str, Any]] = {}
    for size in SIZES:
        values = _values(space, {**KNOWN, **size})
        by_size.setdefault(values.get("model.base_channels"), values)
    return list(by_size.values())


def _values(space: SearchSpace, known: Mapping[str, Any]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for parameter in space.parameters:
        if space.is_active(parameter, values):
            values[parameter.path] = _nearest(parameter.domain, _good(parameter.path, space, known))
    return values


def _good(path: str, space: SearchSpace, known: Mapping[str, Any]) -> Any:
    """Return what is known to do well, or the default; None if there is neither."""
    if path in known:
        return known[path]
    model = _setting("model.name", space, known)
    if path == "model.dropout":
        return DROPOUT_MLP if model == "mlp" else 0.0
    if path == "training.optimizer.lr":
        is_constant = _setting("training.schedule", space, known) == "constant"
        return LR * (1 if model == "cnn" else 0.5) * (1 if is_constant else 2)
    if path == "training.optimizer.weight_decay":
        return WEIGHT_DECAY_ADAMW if _setting("training.optimizer.name", space, known) == "adamw" else 0.0
    return _default(path, model)


def _setting(path: str, space: SearchSpace, known: Mapping[str, Any]) -> Any:
    """Return a value as such a trial has it, be it searched, written or neither."""
    found = value_at(space.tree, path)
    if is_searched(found):
        return _nearest(parse_domain(found), _good(path, space, known))
    return _default(path, None) if found is None else found


def _default(path: str, model: str | None) -> Any:
    section, *keys = path.split(".")
    if section == "model":
        if not keys:
            return None
        found = TrialConfig.models.find(model)
        fields = {} if found is None else found.model_fields
        return fields[keys[0]].get_default(call_default_factory=True) if keys[0] in fields else None
    node: Any = TrialConfig.model_fields[section].default if section in TrialConfig.model_fields else None
    for key in keys:
        node = getattr(node, key, None)
    return None if isinstance(node, BaseModel) else node  # a choice among whole sections


def _nearest(domain: Domain, default: Any) -> Any:
    if isinstance(domain, ChoiceDomain):
        if default in domain or not all(_is_number(value) for value in (default, *domain.values)):
            return default if default in domain else domain.values[0]
        return min(domain.values, key=lambda value: (abs(value - default), value))
    low, high = domain.ends()
    if not _is_number(default):
        default = math.sqrt(low * high) if domain.log else (low + high) / 2
    default = min(max(default, low), high)
    return default if domain.step is None else domain.value(round((default - low) / domain.step))


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
