"""What a study tries first: the configuration that a file which searches nothing would train, as far as it fits."""

from __future__ import annotations

import math
from typing import Any

from pydantic import BaseModel

from fmnist_tune.config import SearchSpace
from fmnist_tune.config.domain import ChoiceDomain, Domain
from fmnist_tune.config.model import Cnn, Mlp, Torchvision
from fmnist_tune.config.schema import TrialConfig

# What the models take where a file says nothing, although their fields have None there.
UNSAID = {"model.depth": 2, "model.width": 128, "model.blocks": 3, "model.base_channels": 32}
MODELS: dict[str, type[BaseModel]] = {"mlp": Mlp, "cnn": Cnn, "torchvision": Torchvision}


def first_guess(space: SearchSpace) -> dict[str, Any]:
    """Return values by dotted path: each parameter's default, or what is nearest to it in its domain.

    A choice that does not list the default takes the first of its values, a range without a default its middle.
    """
    values: dict[str, Any] = {}
    for parameter in space.parameters:
        if space.is_active(parameter, values):
            values[parameter.path] = _nearest(parameter.domain, _default(parameter.path, space, values))
    return values


def _default(path: str, space: SearchSpace, values: dict[str, Any]) -> Any:
    if path in UNSAID:
        return UNSAID[path]
    section, *keys = path.split(".")
    if section == "model":
        name = values.get("model.name", space.tree["model"].get("name"))
        fields = MODELS[name].model_fields if name in MODELS else {}
        return fields[keys[0]].get_default(call_default_factory=True) if keys[0] in fields else None
    node: Any = TrialConfig.model_fields[section].default if section in TrialConfig.model_fields else None
    for key in keys:
        node = getattr(node, key, None)
    return node


def _nearest(domain: Domain, default: Any) -> Any:
    if isinstance(domain, ChoiceDomain):
        return default if default in domain else domain.values[0]
    low, high = domain.ends()
    if not isinstance(default, int | float):
        default = math.sqrt(low * high) if domain.log else (low + high) / 2
    if domain.step is not None:
        default = low + round((default - low) / domain.step) * domain.step
    return min(max(default, low), high)
