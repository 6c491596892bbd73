"""Pydantic's complaints in our words: dotted path, value, what is allowed, did you mean."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, get_args

import pydantic

from fmnist_tune.config.parameters import value_at
from fmnist_tune.config.schema import SETTINGS_KEYS, TRIAL_KEYS, Settings
from fmnist_tune.config.section import Section
from fmnist_tune.errors import Problem, did_you_mean


def schema_problems(error: pydantic.ValidationError, tree: object, config: type[Section]) -> list[Problem]:
    """Turn pydantic's errors into ours: dotted path, value, what is allowed, did you mean.

    Args:
        error: pydantic's.
        tree: what was validated.
        config: the task's schema of model, training and data.
    """
    models = _model_names(config)
    problems: list[Problem] = []
    for detail in error.errors(include_url=False):
        # Pydantic names the branch of the model union as if it were a key, and the key of a mapping as '[key]'.
        loc = tuple(part for i, part in enumerate(detail["loc"]) if not (i == 1 and part in models) and part != "[key]")
        value = detail["input"]
        kind = detail["type"]
        context: Mapping[str, Any] = detail.get("ctx", {})
        parent = loc[:-1]
        known = _fields_at(parent, value_at(tree, "model.name"), config)
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


def _model_names(config: type[Section]) -> tuple[str, ...]:
    """Return the names of a task's models."""
    sections = get_args(config.model_fields["model"].annotation)
    return tuple(name for section in sections for name in get_args(section.model_fields["name"].annotation))


def _fields_at(path: tuple[Any, ...], model_name: object, config: type[Section]) -> tuple[str, ...]:
    """Return the keys that the schema knows at a path, for did-you-mean; empty where it knows none.

    Args:
        path: in the file.
        model_name: what the file calls its model.
        config: the task's schema of model, training and data.
    """
    if not path:
        return (*SETTINGS_KEYS, *TRIAL_KEYS)
    section: type[Section] | None = Settings if path[0] in SETTINGS_KEYS else config
    for key in path:
        field = None if section is None else section.model_fields.get(key)
        section = None if field is None else _section_of(field.annotation, model_name)
    return () if section is None else tuple(section.model_fields)


def _section_of(annotation: object, name: object) -> type[Section] | None:
    """Return the section that a field holds; of several the one of this name, else the first."""
    kinds = [k for k in get_args(annotation) or (annotation,) if isinstance(k, type) and issubclass(k, Section)]
    named = [k for k in kinds if len(kinds) > 1 and name in get_args(k.model_fields["name"].annotation)]
    return next(iter(named or kinds), None)


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
