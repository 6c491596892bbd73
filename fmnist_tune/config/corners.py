"""Checks that configurations at the ends of a search space are valid, and that their models can be built."""

from __future__ import annotations

import contextlib
import itertools
import random
from collections.abc import Iterator, Sequence
from typing import Any

import pydantic

from fmnist_tune.config.parameters import Parameter, is_active, substitute
from fmnist_tune.config.problems import schema_problems
from fmnist_tune.config.repair import config_problems
from fmnist_tune.errors import Problem
from fmnist_tune.registry import PluginError
from fmnist_tune.tasks.config import TaskConfig

MAX_CORNERS = 256


def check_configs(
    parameters: list[Parameter], tree: dict[str, Any], schema: type[TaskConfig], broken: set[str]
) -> tuple[list[Problem], tuple[str, ...]]:
    """Validate the configurations at the ends of every parameter, and build the model at the space's corners."""
    searched = {p.path for p in parameters}
    for section, registry in schema.registries().items():
        for name in next((p.domain.ends() for p in parameters if p.path == f"{section}.name"), ()):
            with contextlib.suppress(PluginError):  # messages about one model's keys depend on the other models
                registry.find(name)
    found: dict[tuple[str, str], Problem] = {}
    for values in probes(parameters, tree):
        for problem in config_problems(substitute(tree, values), schema, searched):
            hidden = any(
                problem.path == b or problem.path.startswith(f"{b}.") or b.startswith(f"{problem.path}.")
                for b in broken
            )
            if not hidden and problem.path:  # without a path: the model's shape, which the corners below check
                found.setdefault((problem.path, problem.message), problem)
    if found or broken:
        return list(found.values()), ()
    failures: list[str] = []
    n_corners = 0
    for corner in corners(parameters, tree):
        n_corners += 1
        try:
            schema.model_validate(substitute(tree, corner))
        except pydantic.ValidationError as error:
            failures.append(schema_problems(error, {}, schema)[0].message)
    if failures and len(failures) == n_corners:
        return [Problem("model", failures[0].removeprefix("model: "))], ()
    if failures:
        share = f"{len(failures)} of the {n_corners} corners of the space cannot be built, and such trials will fail"
        return [], (f"{share}: {failures[0]}",)
    return [], ()


def probes(parameters: Sequence[Parameter], tree: object) -> Iterator[dict[str, Any]]:
    """Yield values that take every parameter to each end, and every two parameters of a section to each pair of ends.

    Conditions are met where possible. Pairs of model parameters are left to `corners`, since some of them may fail.
    """
    by_path = {p.path: p for p in parameters}

    def demands(parameter: Parameter) -> dict[str, Any]:
        needed: dict[str, Any] = {}
        for other, values in parameter.when.items():
            if other in by_path:
                needed |= {**demands(by_path[other]), other: values[0]}
        return needed

    yield _complete(parameters, {}, tree)
    for parameter in parameters:
        for end in parameter.domain.ends():
            yield _complete(parameters, {**demands(parameter), parameter.path: end}, tree)
    for one, other in itertools.combinations(parameters, 2):
        section = one.path.rpartition(".")[0]
        if section == other.path.rpartition(".")[0] and section != "model":
            pairs = itertools.product(one.domain.ends(), other.domain.ends())
            for first, second in itertools.islice(pairs, MAX_CORNERS):
                wanted = {one.path: first, other.path: second}
                yield _complete(parameters, {**demands(one), **demands(other), **wanted}, tree)


def corners(parameters: Sequence[Parameter], tree: object) -> Iterator[dict[str, Any]]:
    """Yield values with every model parameter at an end: all such corners, or a fixed sample of them."""
    shaping = [p for p in parameters if p.path in ("model", "data") or p.path.startswith(("model.", "data.pad"))]
    ends = [p.domain.ends() for p in shaping]
    total = 1
    for values in ends:
        total *= len(values)
    rng = random.Random(0)
    combos = (
        itertools.product(*ends)
        if total <= MAX_CORNERS
        else ([rng.choice(v) for v in ends] for _ in range(MAX_CORNERS))
    )
    for combo in combos:
        yield _complete(parameters, {p.path: value for p, value in zip(shaping, combo, strict=True)}, tree)


def _complete(parameters: Sequence[Parameter], wanted: dict[str, Any], tree: object) -> dict[str, Any]:
    """Return a value for every active parameter: the wanted one, or else the lowest."""
    values: dict[str, Any] = {}
    for p in parameters:
        if is_active(p, values, tree):
            values[p.path] = wanted.get(p.path, p.domain.ends()[0])
    return values
