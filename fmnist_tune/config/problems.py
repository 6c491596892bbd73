"""Pydantic's complaints in our words: dotted path, value, what is allowed, did you mean."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pydantic

from fmnist_tune.config.parameters import value_at
from fmnist_tune.config.schema import Section, fields_at, model_names
from fmnist_tune.errors import Problem, did_you_mean


def schema_problems(error: pydantic.ValidationError, tree: object, config: type[Section]) -> list[Problem]:
    """Turn pydantic's errors into ours: dotted path, value, what is allowed, did you mean.

    Args:
        error: pydantic's.
        tree: what was validated.
        config: the task's schema of model, training and data.
    """
    models = model_names(config)
    problems: list[Problem] = []
    for detail in error.errors(include_url=False):
        # Pydantic names the branch of the model union as if it were a key, and the key of a mapping as '[key]'.
        loc = tuple(part for i, part in enumerate(detail["loc"]) if not (i == 1 and part in models) and part != "[key]")
        value = detail["input"]
        kind = detail["type"]
        context: Mapping[str, Any] = detail.get("ctx", {})
        parent = loc[:-1]
        known = fields_at(parent, value_at(tree, "model.name"), config)
        if kind == "extra_forbidden":
            message = f"unknown key; allowed are {', '.join(known)}{did_you_mean(loc[-1], known)}"
        elif kind == "missing":
            message = "missing; every file needs it"
        elif kind == "value_error":
            message = str(context["error"])
        elif kind == "literal_error":
            allowed = [w.strip(" '") for w in str(context["expected"]).replace(" or ", ", ").split(",")]
            message = f"{_shown(value)} is not one of {', '.join(allowed)}{did_you_mean(value, allowed)}"
        elif kind in ("union_tag_invalid", "union_tag_not_found"):
            name = value.get("name") if isinstance(value, dict) else None
            loc = (*loc, "name")
            message = (
                f"{name!r} is not a model; allowed are {', '.join(models)}{did_you_mean(name, models)}"
                if name is not None
                else f"missing; allowed are {', '.join(models)}"
            )
        else:
            message = f"{_shown(value)}: {detail['msg'][0].lower()}{detail['msg'][1:]}"
            message = message.replace("input should be", "should be").replace(
                "a valid dictionary or instance of ", "the mapping "
            )
            if isinstance(value, dict) and value:
                message += did_you_mean(next(iter(value)), ("float", "int", "choice"))
        path = ".".join(str(part) for part in loc)
        problems.append(Problem(path, message))
    return problems


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
