"""In what two search spaces differ."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fmnist_tune.config import flatten

# What may differ: a budget changes how long a study goes on, and initial points what it tries next, not what it is.
FREE = ("search.trials", "search.timeout", "search.epoch_timeout", "search.initial")
NAME = "study"  # which the study has itself


def space_differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """Return a readable line for each value in which two search spaces differ, what is free aside."""
    before, after = ({k: v for k, v in _leaves(tree).items() if k not in (*FREE, NAME)} for tree in (old, new))
    lines = []
    for path in [*before, *(p for p in after if p not in before)]:
        if before.get(path) != after.get(path) or (path in before) != (path in after):
            was = before.get(path, "absent")
            now = after.get(path, "absent")
            lines.append(f"{path}: {was} -> {now}")
    return lines


def _leaves(tree: Mapping[str, Any]) -> dict[str, Any]:
    """Flatten a search space so that a range reads `lr: low`, `lr: high`."""
    leaves: dict[str, Any] = {}
    for path, value in flatten(dict(tree)).items():
        head, _, kind = path.rpartition(".")
        if kind in ("float", "int") and isinstance(value, list) and len(value) == 2:
            leaves[f"{head}: kind"] = kind
            leaves[f"{head}: low"], leaves[f"{head}: high"] = value
        elif kind in ("choice", "log", "step"):
            leaves[f"{head}: {kind}"] = value
        else:
            leaves[path] = value
    return leaves
