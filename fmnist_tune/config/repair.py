"""All mistakes in model, training and data, including those that pydantic reports only after others are fixed."""

from __future__ import annotations

import copy
import re
from collections.abc import Collection, Iterable, Mapping
from typing import Any

import pydantic

from fmnist_tune.config.problems import Mistake, mistakes_of
from fmnist_tune.errors import Problem
from fmnist_tune.tasks.config import TaskConfig

MAX_ROUNDS = 4


def config_problems(tree: Mapping[str, Any], config: type[TaskConfig], searched: Collection[str] = ()) -> list[Problem]:
    """Return all problems in model, training and data.

    Pydantic checks a model's keys only once its name is valid, and a section as a whole only once all its values are
    valid. So each mistake is replaced by a guess, or else left out, and the result is validated again.

    Args:
        tree: model, training and data.
        config: the task's schema of them.
        searched: paths of the searched parameters.
    """
    found: dict[str, Mistake] = {}
    looked_at = dict(tree)
    for _ in range(MAX_ROUNDS):
        try:
            config.model_validate(looked_at)
            break
        except pydantic.ValidationError as error:
            mistakes = mistakes_of(error, looked_at, config, searched)
        new = {m.path: m for m in mistakes if m.path not in found and not _is_doubtful(m, found.values(), config)}
        found |= new
        if not new:
            break
        looked_at = copy.deepcopy(looked_at)
        for mistake in mistakes:
            _put_right(looked_at, mistake)
    return [Problem(m.path, m.message) for m in found.values()]


def _is_doubtful(mistake: Mistake, known: Iterable[Mistake], config: type[TaskConfig]) -> bool:
    """Return whether a mistake may be caused by an earlier guess or omission."""
    section = mistake.loc if mistake.kind == "value_error" else mistake.loc[:-1]
    blind = [k for k in known if k.loc[:-1] == section and (k.guess is None or not k.is_sure)]
    if mistake.kind == "value_error":  # about the section as a whole
        names = [str(k.loc[-1]) for k in blind if k.kind != "extra_forbidden"]
        return "name" in names or any(re.search(rf"\b{re.escape(name)}\b", mistake.message) for name in names)
    if mistake.kind == "extra_forbidden" and not all(k.is_sure for k in blind):
        return any(
            mistake.loc[-1] in section.model_fields
            for registry in config.registries().values()
            for section in registry.known().values()
        )
    return False


def _put_right(tree: dict[str, Any], mistake: Mistake) -> None:
    """Replace a mistake by the guess, or remove it."""
    loc = mistake.loc
    if mistake.kind == "value_error" or not loc:
        return
    while loc and isinstance(loc[-1], int) and isinstance(_at(tree, loc[:-1]), list):
        loc = loc[:-1]  # a list is left out as a whole
    parent = _at(tree, loc[:-1])
    if not isinstance(parent, dict):
        return
    if mistake.guess is not None:
        parent[loc[-1]] = mistake.guess
    else:
        parent.pop(next((key for key in parent if str(key) == str(loc[-1])), None), None)


def _at(tree: object, loc: tuple[Any, ...]) -> object:
    for part in loc:
        if isinstance(tree, dict):
            tree = next((child for key, child in tree.items() if str(key) == str(part)), None)
        elif isinstance(tree, list) and isinstance(part, int) and part < len(tree):
            tree = tree[part]
        else:
            return None
    return tree
