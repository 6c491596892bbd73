"""A file's searched parameters, their conditions, and the substitution of their values."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from fmnist_tune.config.domain import ChoiceDomain, Domain, is_searched, parse_domain
from fmnist_tune.config.schema import TRIAL_KEYS
from fmnist_tune.errors import Problem, did_you_mean

# What may differ: a budget changes how long a study goes on, initial points and lessons what it tries next, not what it
# is.
FREE = ("search.trials", "search.timeout", "search.epoch_timeout", "search.initial", "search.learn_from")
NAME_KEY = "study"  # which the study has itself

PathParts = tuple[str | int, ...]


@dataclass(frozen=True)
class Parameter:
    """A searched value.

    Attributes:
        path: dotted path in the file; also its name in Optuna.
        domain: the values it may take.
        when: conditions: paths of other parameters, each with the values under which this one is used; all must hold.
    """

    path: str
    domain: Domain
    when: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)


def flatten(tree: object, path: str = "") -> dict[str, Any]:
    """Return every leaf of nested mappings by its dotted path; lists and empty mappings are leaves."""
    if not isinstance(tree, dict) or not tree:
        return {path: tree}
    return {
        name: value
        for key, child in tree.items()
        for name, value in flatten(child, f"{path}.{key}" if path else str(key)).items()
    }


def set_at(tree: dict[str, Any], path: list[str], value: object) -> None:
    for key in path[:-1]:
        if not isinstance(tree.setdefault(key, {}), dict):
            return  # the schema will say that a mapping belongs here
        tree = tree[key]
    tree[path[-1]] = value


def value_at(tree: object, path: str) -> Any:
    for key in path.split("."):
        if isinstance(tree, dict):
            tree = next((child for k, child in tree.items() if str(k) == key), None)
        elif isinstance(tree, list) and key.isdecimal() and int(key) < len(tree):
            tree = tree[int(key)]
        else:
            return None
    return tree


def searched_nodes(node: object, path: PathParts) -> Iterator[tuple[str, dict[Any, Any]]]:
    if is_searched(node):
        assert isinstance(node, dict)
        yield ".".join(map(str, path)), node
    elif isinstance(node, dict):
        for key, child in node.items():
            yield from searched_nodes(child, (*path, key))
    elif isinstance(node, list):
        for i, child in enumerate(node):
            yield from searched_nodes(child, (*path, i))


def is_active(parameter: Parameter, values: Mapping[str, Any], tree: object) -> bool:
    for other, wanted in parameter.when.items():
        actual = values[other] if other in values else value_at(tree, other)
        if is_searched(actual) or actual not in wanted:
            return False
    return True


def substitute(tree: dict[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """Return model, training and data with searched values filled in; parameters without a value are left out."""

    def fill(node: Any, path: str) -> Any:
        if isinstance(node, dict):
            children = {key: (child, f"{path}.{key}" if path else str(key)) for key, child in node.items()}
            return {
                key: copy.deepcopy(values[name]) if is_searched(child) else fill(child, name)
                for key, (child, name) in children.items()
                if not is_searched(child) or name in values
            }
        if isinstance(node, list):
            names = [f"{path}.{i}" for i in range(len(node))]
            return [
                copy.deepcopy(values[name]) if is_searched(child) else fill(child, name)
                for child, name in zip(node, names, strict=True)
                if not is_searched(child) or name in values
            ]
        return node

    filled: dict[str, Any] = fill({key: tree[key] for key in TRIAL_KEYS if key in tree}, "")
    return filled


def read_parameters(tree: dict[str, Any]) -> tuple[list[Parameter], list[Problem], set[str]]:
    """Return the parameters in dependency order, their problems, and the paths that could not be read."""
    nodes = dict(searched_nodes({key: tree[key] for key in TRIAL_KEYS if key in tree}, ()))
    parameters: dict[str, Parameter] = {}
    problems: list[Problem] = []
    for path, node in nodes.items():
        try:
            parameters[path] = Parameter(path, parse_domain(node), _read_when(node.get("when", {})))
        except (ValueError, OverflowError) as error:
            problems.append(Problem(path, str(error)))
    broken = set(nodes) - set(parameters)
    fixed = flatten({key: tree[key] for key in TRIAL_KEYS if key in tree})
    for parameter in parameters.values():
        for other, wanted in parameter.when.items():
            message = _when_problem(other, wanted, nodes, parameters, fixed)
            if message:
                problems.append(Problem(parameter.path, message))
                broken.add(parameter.path)
    ordered, cycle = _in_dependency_order(parameters)
    if cycle:
        problems.append(Problem(cycle[0], f"when is circular: {' -> '.join(cycle)}"))
        broken |= set(parameters) - {p.path for p in ordered}
    return [p for p in ordered if p.path not in broken], problems, broken


def _read_when(node: object) -> dict[str, tuple[Any, ...]]:
    if not isinstance(node, dict) or any(not isinstance(key, str) for key in node):
        raise ValueError(f"when must be a mapping {{other.parameter: value or [values]}}, but is {node!r}")
    when = {}
    for key, value in node.items():
        if isinstance(value, dict):
            raise ValueError(f"when: {key}: must be a value or a list of values, but is {value!r}")
        when[key] = tuple(value) if isinstance(value, list) else (value,)
        if not when[key]:
            raise ValueError(f"when: {key}: the list is empty, so this could never be used")
    return when


def _when_problem(
    other: str,
    wanted: tuple[Any, ...],
    nodes: Mapping[str, object],
    parameters: Mapping[str, Parameter],
    fixed: Mapping[str, Any],
) -> str | None:
    if other in parameters:
        domain = parameters[other].domain
        wrong = [value for value in wanted if value not in domain]
        if not wrong:
            return None
        hint = did_you_mean(wrong[0], map(str, domain.ends())) if isinstance(domain, ChoiceDomain) else ""
        return f"when: {other} can never be {wrong[0]!r}; it is one of {domain}{hint}"
    if other in nodes or other in fixed:
        return None
    known = [*nodes, *(path for path in fixed if not any(path.startswith(f"{node}.") for node in nodes))]
    hint = did_you_mean(other, known) or "; it has to stand in the file"
    return f"when: unknown parameter {other!r}{hint}"


def _in_dependency_order(parameters: Mapping[str, Parameter]) -> tuple[list[Parameter], list[str]]:
    ordered: dict[str, Parameter] = {}
    waiting = dict(parameters)
    while waiting:
        ready = [p for p in waiting.values() if all(other not in waiting for other in p.when)]
        if not ready:
            start = next(iter(waiting))
            chain = [start]
            while True:
                follower = next(other for other in waiting[chain[-1]].when if other in waiting)
                if follower in chain:
                    return list(ordered.values()), [*chain[chain.index(follower) :], follower]
                chain.append(follower)
        for parameter in ready:
            ordered[parameter.path] = waiting.pop(parameter.path)
    return list(ordered.values()), []


def space_differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """Return a readable line for each value in which two search spaces differ, what is free aside."""
    before, after = (
        {k: v for k, v in _leaves(tree).items() if k not in (*FREE, NAME_KEY) and v != {}} for tree in (old, new)
    )
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
