"""A search space as tables for people: searched values, initial points, fixed and default values."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from fmnist_tune.config import Parameter, SearchSpace
from fmnist_tune.config.defaults import NONE_MEANS, Default, default_values, fixed_values
from fmnist_tune.study.columns import Column, NamedTable
from fmnist_tune.units import duration


def space_table(space: SearchSpace) -> RenderableType:
    """Return a search space as a table; to be printed with `crop=False`."""
    settings = space.settings
    size = space.size()
    search = settings.search
    limit = f", at most {duration(search.timeout)} a run" if search.timeout is not None else ""
    head = (
        f"study {settings.study}: {len(space.parameters)} parameters"
        f"{f', {size:,} configurations' if size is not None and size <= 10_000 else ''}; "
        f"{search.trials} trials{limit}; sampler {search.sampler.name}, pruner {search.pruner.name}"
        if space.parameters
        else f"recipe {settings.study}: nothing is searched"
    )
    parts: list[RenderableType] = [Text(head, style="bold")]
    if space.parameters:
        parts.append(_parameters_table(space))
    if space.initial:
        parts += ["", _initial_table(space)]
    fixed = [(path, _flat(value)) for path, value in fixed_values(space).items()]
    defaults = [
        (d.path, f"{NONE_MEANS[d.path] if d.value is None else _flat(d.value)}{_where(d)}")
        for d in default_values(space)
    ]
    for title, rows in (("fixed", fixed), ("by default", defaults)):
        if rows:
            parts += ["", _values_table(title, rows)]
    return Group(*parts, *(Text(f"warning: {w}", style="yellow") for w in space.warnings))


def _parameters_table(space: SearchSpace) -> NamedTable:
    kinds = [type(p.domain).__name__.removesuffix("Domain").lower() for p in space.parameters]
    values = [str(p.domain) for p in space.parameters]
    conditions = [
        ", ".join(f"{other} is {' or '.join(map(str, allowed))}" for other, allowed in p.when.items())
        for p in space.parameters
    ]
    columns = [
        Column("kind", kinds),
        Column("values", values),
        Column("used when", [when or "always" for when in conditions]),
    ]
    facts = [
        f"{kind}: {text}{f'; used when {when}' if when else ''}"
        for kind, text, when in zip(kinds, values, conditions, strict=True)
    ]
    tiers = [columns, columns[1:]] if any(conditions) else [columns, columns[:2], columns[1:2]]
    return NamedTable([p.path for p in space.parameters], tiers, facts, title="parameter")


def _initial_table(space: SearchSpace) -> NamedTable:
    named = [p for p in space.parameters if any(p.path in point for point in space.initial)]
    columns = [
        Column(str(i), [_flat(point[p.path]) if p.path in point else _left_out(p, point, space) for p in named])
        for i, point in enumerate(space.initial)
    ]
    facts = [", ".join(cells) for cells in zip(*(column.cells for column in columns), strict=True)]
    return NamedTable([p.path for p in named], [columns], facts, title="initial point")


def _left_out(parameter: Parameter, point: Mapping[str, Any], space: SearchSpace) -> str:
    return "sampled" if space.is_active(parameter, point) else "-"


def _values_table(title: str, rows: Sequence[tuple[str, str]]) -> NamedTable:
    values = [value for _, value in rows]
    return NamedTable([path for path, _ in rows], [[Column("value", values)]], values, title=title)


def _flat(value: object) -> str:
    return value if isinstance(value, str) else f"{value:g}" if isinstance(value, float) else json.dumps(value)


def _where(default: Default) -> str:
    where = [f"model {' or '.join(default.models)}"] if default.models else []
    where += ["where it is not searched"] if default.is_spare else []
    return f" ({', '.join(where)})" if where else ""
