"""A study's initial points: `search.initial`, checked against the searched parameters."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

import pydantic

from fmnist_tune.config.domain import ChoiceDomain, FloatDomain, IntDomain, is_searched
from fmnist_tune.config.foreign import instead
from fmnist_tune.config.parameters import Parameter, flatten, is_active, substitute, value_at
from fmnist_tune.config.problems import schema_problems
from fmnist_tune.config.schema import TRIAL_KEYS
from fmnist_tune.errors import Problem, did_you_mean
from fmnist_tune.tasks.config import TaskConfig

INITIAL = "search.initial"


def read_initial(
    parameters: Sequence[Parameter], tree: dict[str, Any], broken: Collection[str]
) -> tuple[tuple[dict[str, Any], ...], list[Problem]]:
    """Return the points, with values as listed in their domains, and the problems found.

    Anything but a list of mappings is left to the schema.

    Args:
        parameters: the searched parameters.
        tree: the file's plain data.
        broken: paths of parameters that could not be read.
    """
    listed = value_at(tree, INITIAL)
    nodes = listed if isinstance(listed, list) else []
    if nodes and not parameters and not broken:
        text = "nothing is searched in this file, so that a study has no points to begin with; leave it out"
        return (), [Problem(INITIAL, text)]
    points: list[dict[str, Any]] = []
    problems: list[Problem] = []
    first: dict[str, str] = {}  # a point's place in the file, by its values
    by_path = {p.path: p for p in parameters}
    for where, node in ((f"{INITIAL}.{i}", node) for i, node in enumerate(nodes) if isinstance(node, dict)):
        points.append({})
        found = list(_read_point(node, where, points[-1], by_path, tree, broken))
        if not found and (same := first.setdefault(json.dumps(points[-1], sort_keys=True), where)) != where:
            found.append(Problem(where, f"the same point as {same}; leave it out"))
        problems += found
    return tuple(points), problems


def _read_point(
    node: Mapping[Any, Any],
    where: str,
    point: dict[str, Any],
    parameters: Mapping[str, Parameter],
    tree: dict[str, Any],
    broken: Collection[str],
) -> Iterator[Problem]:
    """Fill in a point's values; yield its problems."""
    if not node:
        yield Problem(where, "empty; name at least one searched parameter, such as {model.dropout: 0.2}")
    for path, value in ((str(path), value) for path, value in node.items()):
        if path not in parameters:
            if path not in broken:
                yield Problem(f"{where}.{path}", _not_searched(path, value, parameters, tree))
        elif not is_searched(value):  # refused by the schema
            if value in parameters[path].domain:
                point[path] = _as_listed(parameters[path], value)
            else:
                yield Problem(f"{where}.{path}", _outside(parameters[path], value))
    for path in point:
        for other, wanted in parameters[path].when.items():
            allowed = " or ".join(map(str, wanted))
            if other in broken:
                continue
            if other in point or other not in parameters:
                actual = point[other] if other in point else value_at(tree, other)
                if actual not in wanted:
                    text = f"has no effect where {other} is {actual}; it is used when that is {allowed}"
                    yield Problem(f"{where}.{path}", text)
            elif other not in node:
                text = f"is used only when {other} is {allowed}; give the point a value for that too"
                yield Problem(f"{where}.{path}", text)


def _not_searched(path: str, value: object, parameters: Mapping[str, Parameter], tree: dict[str, Any]) -> str:
    inner = [p for p in parameters if p.startswith(f"{path}.")]
    if inner:
        within = flatten(value, path) if isinstance(value, dict) else {}
        paths = [p for p in within if p in parameters] or inner[:1]
        return f"a section; name each parameter by its dotted path, such as {paths[0]}"
    fixed = flatten({key: tree[key] for key in TRIAL_KEYS if key in tree})
    if path in fixed:
        return f"fixed in this file at {fixed[path]!r}; a point gives values to what is searched alone"
    near = did_you_mean(path, parameters) or f"; searched are {', '.join(parameters)}"
    return f"no parameter that this file searches{near}"


def _as_listed(parameter: Parameter, value: Any) -> Any:
    domain = parameter.domain
    if isinstance(domain, ChoiceDomain):
        return domain.listed(value)
    if isinstance(domain, FloatDomain):
        return float(value) if domain.step is None else domain.value(round((value - domain.low) / domain.step))
    return value


def _outside(parameter: Parameter, value: object) -> str:
    domain = parameter.domain
    if isinstance(domain, ChoiceDomain):
        return f"{value!r} is not one of {domain}{did_you_mean(value, map(str, domain.values))}"
    is_text = isinstance(value, str | float)
    hint = instead(value, "int" if isinstance(domain, IntDomain) else "float") if is_text else ""
    return f"{value!r} is not in {domain}{hint}"


def config_problems_of(
    points: Sequence[Mapping[str, Any]],
    parameters: Sequence[Parameter],
    tree: dict[str, Any],
    schema: type[TaskConfig],
) -> Iterator[Problem]:
    """Yield why points that are fully specified are invalid configurations."""
    for i, point in enumerate(points):
        if all(p.path in point for p in parameters if is_active(p, point, tree)):
            try:
                schema.model_validate(substitute(tree, point))
            except pydantic.ValidationError as error:
                yield Problem(f"{INITIAL}.{i}", "; ".join(map(str, schema_problems(error, {}, schema))))
