"""What a search space that leaves values out is read with: its pruner, and what its task implies."""

from __future__ import annotations

import copy
from collections.abc import Collection, Mapping
from typing import Any

from fmnist_tune.config.domain import is_searched
from fmnist_tune.config.parameters import searched_nodes, set_at, value_at
from fmnist_tune.config.schema import TRIAL_KEYS
from fmnist_tune.section import Section
from fmnist_tune.tasks.config import TaskConfig

PRUNER = "search.pruner"
FIRST_EVALUATION = "search.pruner.min_epochs"
CPUS = "resources.cpus"
# What a new study is begun with where its file leaves it out, by the space, the machine and the time.
DERIVED = (FIRST_EVALUATION, CPUS)


def imply_pruner(tree: dict[str, Any]) -> tuple[str, ...]:
    """Choose freeze-thaw for a file that names neither sampler nor pruner; return the path if so."""
    search = tree.get("search", {})
    if not isinstance(search, dict) or "pruner" in search or not _searches(tree):
        return ()
    if not isinstance(search.get("sampler", {}), dict) or "name" in search.get("sampler", {}):
        return ()
    tree["search"] = {**search, "pruner": {"name": "freeze-thaw"}}
    return (PRUNER,)


def imply_values(tree: dict[str, Any], config: type[TaskConfig]) -> tuple[str, ...]:
    """Add what a task implies to a file that searches something; return the paths."""
    found = [path for path in config.implied if _searches(tree) and _can_be_added(tree, path, config)]
    for path in found:
        section, _, key = path.rpartition(".")
        tree[section] = {**tree.get(section, {}), key: config.implied[path]}
    return tuple(found)


def with_values(tree: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """Return a file's data with values by dotted path; None leaves a key out."""
    changed: dict[str, Any] = copy.deepcopy(dict(tree))
    for path, value in values.items():
        section, _, key = path.rpartition(".")
        if value is not None:
            set_at(changed, path.split("."), value)
        elif isinstance(parent := value_at(changed, section), dict):
            parent.pop(key, None)
    return changed


def begun_with(
    tree: Mapping[str, Any], implied: Collection[str], begun: Mapping[str, Any], config: type[TaskConfig]
) -> dict[str, Any]:
    """Return a file's data with a study's values for what the file leaves out.

    Args:
        tree: of the file.
        implied: paths that the file leaves out, but which have a value.
        begun: of the study.
        config: of their task.
    """
    left_out = {*implied, *(path for path in DERIVED if value_at(tree, path) is None)}
    # A study of version 0.2.0 has none of what a task implies, which means the same as false.
    left_out |= {path for path in config.implied if value_at(tree, path) is False and value_at(begun, path) is None}
    return with_values(tree, {path: value_at(begun, path) for path in sorted(left_out)})


def _searches(tree: Mapping[str, Any]) -> bool:
    return any(searched_nodes({key: tree[key] for key in TRIAL_KEYS if key in tree}, ()))


def _can_be_added(tree: Mapping[str, Any], path: str, config: type[TaskConfig]) -> bool:
    """Return whether a file leaves a key of a section out; not where the section as a whole is searched, or unknown."""
    section, _, key = path.rpartition(".")
    node, kind = tree.get(section, {}), config.model_fields[section].annotation
    is_known = isinstance(kind, type) and issubclass(kind, Section) and key in kind.model_fields
    return is_known and isinstance(node, dict) and not is_searched(node) and key not in node
