"""`check`."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from fmnist_tune.cli import EXIT_OK
from fmnist_tune.cli.inputs import load_file
from fmnist_tune.cli.store import stdout
from fmnist_tune.config import Parameter, SearchSpace
from fmnist_tune.config.defaults import NONE_MEANS, Default, default_values, fixed_values
from fmnist_tune.cpus import cpu_count, gpu_count
from fmnist_tune.document.blocks import Finding, Table
from fmnist_tune.document.terminal import View
from fmnist_tune.errors import UserError
from fmnist_tune.models.check import check_models
from fmnist_tune.search.cluster import plan_workers
from fmnist_tune.search.derived import derived_defaults
from fmnist_tune.units import duration


def check(arguments: argparse.Namespace, started: float) -> int:
    """Check a search space."""
    space = load_file(arguments, arguments.space)
    check_models(space.corner_configs(), space.source)
    if arguments.json:
        parameters = [
            {
                "path": p.path,
                **vars(p.domain),
                "kind": type(p.domain).__name__.removesuffix("Domain").lower(),
                "when": dict(p.when),
            }
            for p in space.parameters
        ]
        result = {
            "study": space.settings.study,
            "parameters": parameters,
            "initial": space.initial,
            "fixed": [{"path": path, "value": value} for path, value in fixed_values(space).items()],
            "defaults": [asdict(default) for default in defaults_here(space)],
            "warnings": space.warnings,
        }
        print(json.dumps(result))
    else:
        stdout().print(space_view(space), crop=False)
    return EXIT_OK


def defaults_here(space: SearchSpace) -> list[Default]:
    """Return a file's defaults, those that a new study on this machine would have where they depend on it."""
    if not space.parameters:
        return default_values(space)
    try:
        plan = plan_workers(space.settings.resources, [{"CPU": cpu_count(), "GPU": gpu_count()}], None)
    except UserError:  # it is for another machine
        return default_values(space)
    derived = {default.path: default for default in derived_defaults(space, plan, space.settings.search.timeout)}
    return [
        replace(default, value=derived[default.path].value, why=derived[default.path].why)
        if default.path in derived
        else default
        for default in default_values(space)
    ]


def space_view(space: SearchSpace) -> RenderableType:
    """Return a search space as a view for a terminal, to be printed with `crop=False`."""
    fixed = [(path, _flat(value)) for path, value in fixed_values(space).items()]
    by_default = [
        (d.path, f"{NONE_MEANS.get(d.path, 'none') if d.value is None else _flat(d.value)}{_where(d)}")
        for d in defaults_here(space)
    ]
    values = (
        Table((title, "value"), rows, ("value",)) for title, rows in (("fixed", fixed), ("by default", by_default))
    )
    tables = [_parameters_table(space), _initial_table(space), *values]
    parts: list[RenderableType] = []
    for table in tables:
        parts += ["", View(table)] if table.rows else []
    warnings = (View(Finding(f"warning: {text}", is_warning=True)) for text in space.warnings)
    return Group(Text(_head(space), style="bold"), *parts[0 if not space.parameters else 1 :], *warnings)


def _head(space: SearchSpace) -> str:
    settings, size = space.settings, space.size()
    search = settings.search
    if not space.parameters:
        return f"recipe {settings.study}: nothing is searched"
    sampler, pruner = search.sampler.name, search.pruner.name
    is_whole = search.pruner.chooses_values and sampler != "grid"  # which keeps its own order
    chooses = f"{pruner}, which chooses the values too" if is_whole else f"sampler {sampler}, pruner {pruner}"
    limit = f", at most {duration(search.timeout)} a run" if search.timeout is not None else ""
    return (
        f"study {settings.study}: {len(space.parameters)} parameters"
        f"{f', {size:,} configurations' if size is not None and size <= 10_000 else ''}; "
        f"{search.trials} trials{limit}; {chooses}"
    )


def _parameters_table(space: SearchSpace) -> Table:
    rows = []
    for p in space.parameters:
        when = ", ".join(f"{other} is {' or '.join(map(str, allowed))}" for other, allowed in p.when.items())
        rows.append((p.path, type(p.domain).__name__.removesuffix("Domain").lower(), str(p.domain), when or "always"))
    header = ("parameter", "kind", "values", "used when")
    has_conditions = any(p.when for p in space.parameters)
    return Table(header, rows, header, (("kind",),) if has_conditions else (("used when",), ("kind",)))


def _initial_table(space: SearchSpace) -> Table:
    named = [p for p in space.parameters if any(p.path in point for point in space.initial)]
    rows = [
        (p.path, *(_flat(point[p.path]) if p.path in point else _left_out(p, point, space) for point in space.initial))
        for p in named
    ]
    numbers = tuple(map(str, range(len(space.initial))))
    return Table(("initial point", *numbers), rows, numbers)


def _left_out(parameter: Parameter, point: Mapping[str, Any], space: SearchSpace) -> str:
    return "sampled" if space.is_active(parameter, point) else "-"


def _flat(value: object) -> str:
    return value if isinstance(value, str) else f"{value:g}" if isinstance(value, float) else json.dumps(value)


def _where(default: Default) -> str:
    where = [f"model {' or '.join(default.models)}"] if default.models else []
    where += ["where it is not searched"] if default.is_spare else []
    return (f" ({', '.join(where)})" if where else "") + (f", {default.why}" if default.why else "")
