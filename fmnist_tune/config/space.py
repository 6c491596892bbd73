"""A search space: what is fixed, what is searched, and under which conditions."""

from __future__ import annotations

import copy
import itertools
import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pydantic
import yaml

from fmnist_tune.config.domain import ChoiceDomain, Domain, is_searched, parse_domain
from fmnist_tune.config.schema import SETTINGS_KEYS, TRIAL_KEYS, Section, Settings, TrialConfig, fields_at
from fmnist_tune.config.yaml_reader import read_yaml
from fmnist_tune.errors import FileError, Problem, UserError, did_you_mean

MAX_CORNERS = 256
MAX_GRID = 10_000

Path_ = tuple[str | int, ...]


@dataclass(frozen=True)
class Parameter:
    """A searched value.

    Attributes:
        path: dotted path in the file; also its name in Optuna.
        domain: the values it may take.
        when: other parameters' paths, each with the values under which this one is used; all must hold.
    """

    path: str
    domain: Domain
    when: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)


@dataclass(frozen=True)
class SearchSpace:
    """A search space whose every value has been checked.

    Attributes:
        source: the file's name, for messages.
        settings: study, task, search, resources.
        parameters: what is searched; a parameter comes after those its conditions name. Empty for a recipe.
        tree: the file's plain data, with overrides from the command line.
        warnings: what is allowed but probably not meant.
    """

    source: str
    settings: Settings
    parameters: tuple[Parameter, ...]
    tree: dict[str, Any]
    warnings: tuple[str, ...] = ()

    def is_active(self, parameter: Parameter, values: Mapping[str, Any]) -> bool:
        """Tell whether a parameter is used, given the values of those before it."""
        return _is_active(parameter, values, self.tree)

    def config(self, values: Mapping[str, Any]) -> TrialConfig:
        """Build one trial's configuration.

        Args:
            values: the value of each active parameter, by path.

        Raises:
            UserError: the values do not make a configuration that can be trained.
        """
        try:
            return TrialConfig.model_validate(_substitute(self.tree, values))
        except pydantic.ValidationError as error:
            raise UserError("; ".join(str(p) for p in _problems(error, {}, ()))) from None

    def values_for(self, config: TrialConfig) -> dict[str, Any] | None:
        """Return the values with which this space gives a configuration; None if it cannot give it."""
        tree = config.model_dump()
        values: dict[str, Any] = {}
        for parameter in self.parameters:
            if self.is_active(parameter, values):
                value = _get(tree, parameter.path)
                if value not in parameter.domain:
                    return None
                values[parameter.path] = value
        try:
            return values if self.config(values) == config else None
        except UserError:
            return None

    def to_yaml(self) -> str:
        """Return the space as YAML text that `read_space` accepts."""
        return dump_yaml(self.tree)

    def recipe(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Return the file's data with every searched value replaced by the given one and inactive ones left out."""
        head: dict[str, Any] = {key: self.tree[key] for key in ("study", "task") if key in self.tree}
        tail = {"resources": self.tree["resources"]} if "resources" in self.tree else {}
        return {**head, **_substitute(self.tree, values), **tail}

    def size(self) -> int | None:
        """Count different configurations, to 10,001 at most; None where a float without a step makes them endless."""
        grids = [_grid_values(p.domain) for p in self.parameters]
        if any(grid is None for grid in grids):
            return None
        return sum(1 for _ in itertools.islice(self.grid(), MAX_GRID + 1))

    def grid(self) -> Iterator[dict[str, Any]]:
        """Yield the values of every configuration, in the file's order; conditions make no duplicates.

        Raises:
            ValueError: a float without a step has no grid.
        """
        yield from _expand(self.parameters, {}, self.tree)


def load_space(path: str | Path, overrides: Mapping[str, Any] | None = None) -> SearchSpace:
    """Read a search space from a file.

    Args:
        path: the YAML file.
        overrides: values by dotted path that replace the file's, such as {"search.trials": 3}.

    Raises:
        UserError: the file cannot be read, or says something that is not allowed (FileError with every problem).
    """
    source = str(path)
    try:
        text = Path(path).read_text(encoding="utf-8")
    except IsADirectoryError:
        raise UserError(f"{source}: a directory; give a YAML file, such as search_spaces/cnn.yaml") from None
    except FileNotFoundError:
        parent = Path(path).parent
        names = [str(p) for p in parent.glob("*.y*ml")] if parent.is_dir() else []
        raise UserError(f"{source}: no such file{did_you_mean(source, names)}") from None
    except UnicodeDecodeError as error:
        raise UserError(f"{source}: not UTF-8 text (byte {error.start})") from None
    except OSError as error:
        raise UserError(f"{source}: cannot be read: {error.strerror}") from None
    return read_space(text, source, overrides)


def read_space(text: str, source: str, overrides: Mapping[str, Any] | None = None) -> SearchSpace:
    """Read a search space from YAML text; arguments and errors as `load_space`."""
    document = read_yaml(text, source)
    tree = document.tree
    if tree is None:
        raise FileError(source, [Problem("", "empty; a search space has at least study and model")])
    if not isinstance(tree, dict):
        kind = "a list" if isinstance(tree, list) else f"the single value {tree!r}"
        raise FileError(
            source,
            [Problem("", f"{kind}; a search space is a mapping of {', '.join((*SETTINGS_KEYS, *TRIAL_KEYS))}")],
        )
    for path, value in (overrides or {}).items():
        _override(tree, path.split("."), value)
    problems: list[Problem] = []
    known = (*SETTINGS_KEYS, *TRIAL_KEYS)
    for key in tree:
        if key not in known:
            problems.append(Problem(str(key), f"unknown key; allowed are {', '.join(known)}{did_you_mean(key, known)}"))
    settings_tree = {key: tree[key] for key in SETTINGS_KEYS if key in tree}
    problems += [
        Problem(path, "cannot be searched; only values in model, training and data can")
        for path, _ in _searched(settings_tree, ())
    ]
    settings = None
    try:
        settings = Settings.model_validate(settings_tree)
    except pydantic.ValidationError as error:
        taken = {problem.path for problem in problems}
        problems += [p for p in _problems(error, settings_tree, ()) if p.path not in taken]
    parameters, parameter_problems, broken = _read_parameters(tree)
    problems += parameter_problems
    warnings: tuple[str, ...] = ()
    if not any(p.path in ("model",) for p in problems):
        config_problems, warnings = _check_configs(parameters, tree, broken)
        problems += config_problems
    if settings is not None and settings.search.sampler.name == "grid":
        problems += [
            Problem(p.path, "a grid needs a step (or use choice): a float range has endlessly many values")
            for p in parameters
            if _grid_values(p.domain) is None
        ]
        if (
            not problems
            and sum(1 for _ in itertools.islice(_expand(tuple(parameters), {}, tree), MAX_GRID + 1)) > MAX_GRID
        ):
            problems.append(
                Problem(
                    "search.sampler.name",
                    f"the grid has more than {MAX_GRID:,} configurations; use tpe or random",
                )
            )
    if problems or settings is None:
        raise FileError(source, [Problem(p.path, p.message, _line(document.lines, p.path)) for p in problems])
    return SearchSpace(source, settings, tuple(parameters), tree, warnings)


def flatten(tree: object, path: str = "") -> dict[str, Any]:
    """Return every leaf of nested mappings by its dotted path; lists are leaves, and so are empty mappings."""
    if not isinstance(tree, dict) or not tree:
        return {path: tree}
    return {
        name: value
        for key, child in tree.items()
        for name, value in flatten(child, f"{path}.{key}" if path else str(key)).items()
    }


def dump_yaml(tree: object) -> str:
    """Return YAML text with the keys in their order, lists and small mappings on one line."""
    return yaml.dump(tree, Dumper=_Dumper, sort_keys=False, default_flow_style=None, width=120, allow_unicode=True)


class _Dumper(yaml.SafeDumper):
    """Writes 1e-4 as 1.0e-4, which YAML 1.1 readers take for a number too; aliases are written out."""

    def ignore_aliases(self, data: object) -> bool:
        return True


def _override(tree: dict[str, Any], path: list[str], value: object) -> None:
    for key in path[:-1]:
        if not isinstance(tree.setdefault(key, {}), dict):
            return  # the schema will say that a mapping belongs here
        tree = tree[key]
    tree[path[-1]] = value


def _line(lines: Mapping[str, int], path: str) -> int | None:
    while path and path not in lines:
        path = path.rpartition(".")[0]
    return lines.get(path) if path else None


def _searched(node: object, path: Path_) -> Iterator[tuple[str, dict[Any, Any]]]:
    if is_searched(node):
        assert isinstance(node, dict)
        yield ".".join(map(str, path)), node
    elif isinstance(node, dict):
        for key, child in node.items():
            yield from _searched(child, (*path, key))
    elif isinstance(node, list):
        for i, child in enumerate(node):
            yield from _searched(child, (*path, i))


def _read_parameters(tree: dict[str, Any]) -> tuple[list[Parameter], list[Problem], set[str]]:
    """Return the parameters in dependency order, what is wrong with them, and the paths that could not be read."""
    nodes = dict(_searched({key: tree[key] for key in TRIAL_KEYS if key in tree}, ()))
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
    known = [*nodes, *(path for path in fixed if path.rsplit(".", 1)[-1] not in ("when",))]
    return f"when: unknown parameter {other!r}{did_you_mean(other, known)}"


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


def _is_active(parameter: Parameter, values: Mapping[str, Any], tree: object) -> bool:
    for other, wanted in parameter.when.items():
        actual = values[other] if other in values else _get(tree, other)
        if is_searched(actual) or actual not in wanted:
            return False
    return True


def _get(tree: object, path: str) -> Any:
    for key in path.split("."):
        if isinstance(tree, dict):
            tree = next((child for k, child in tree.items() if str(k) == key), None)
        elif isinstance(tree, list) and key.isdecimal() and int(key) < len(tree):
            tree = tree[int(key)]
        else:
            return None
    return tree


def _substitute(tree: dict[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """Return model, training and data with searched values filled in; those without a value are left out."""

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


def _grid_values(domain: Domain) -> list[Any] | None:
    if isinstance(domain, ChoiceDomain):
        return list(domain.values)
    if domain.step is None:
        return None if domain.low < domain.high else [domain.low]
    n = int((domain.high - domain.low) / domain.step + 1e-8) + 1
    return [domain.low + i * domain.step for i in range(n)]


def _expand(parameters: tuple[Parameter, ...], values: dict[str, Any], tree: object) -> Iterator[dict[str, Any]]:
    if not parameters:
        yield values
        return
    first, rest = parameters[0], parameters[1:]
    if not _is_active(first, values, tree):
        yield from _expand(rest, values, tree)
        return
    grid = _grid_values(first.domain)
    if grid is None:
        raise ValueError(f"{first.path}: a float range without a step has no grid")
    for value in grid:
        yield from _expand(rest, {**values, first.path: value}, tree)


def _probes(parameters: list[Parameter], tree: object) -> Iterator[dict[str, Any]]:
    """Yield values that between them take every parameter to each of its ends, as its conditions allow."""
    by_path = {p.path: p for p in parameters}

    def complete(wanted: dict[str, Any]) -> dict[str, Any]:
        values: dict[str, Any] = {}
        for p in parameters:
            if _is_active(p, values, tree):
                values[p.path] = wanted.get(p.path, p.domain.ends()[0])
        return values

    def demands(parameter: Parameter) -> dict[str, Any]:
        needed: dict[str, Any] = {}
        for other, values in parameter.when.items():
            if other in by_path:
                needed |= {**demands(by_path[other]), other: values[0]}
        return needed

    yield complete({})
    for parameter in parameters:
        for end in parameter.domain.ends():
            yield complete({**demands(parameter), parameter.path: end})


def _corners(parameters: list[Parameter], tree: object) -> Iterator[dict[str, Any]]:
    """Yield values with every model parameter at one of its ends: all such corners, or a fixed sample of them."""
    shaping = [p for p in parameters if p.path.startswith(("model.", "data.pad"))]
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
        wanted = {p.path: value for p, value in zip(shaping, combo, strict=True)}
        corner: dict[str, Any] = {}
        for p in parameters:
            if _is_active(p, corner, tree):
                corner[p.path] = wanted.get(p.path, p.domain.ends()[0])
        yield corner


def _check_configs(
    parameters: list[Parameter], tree: dict[str, Any], broken: set[str]
) -> tuple[list[Problem], tuple[str, ...]]:
    """Validate the configurations at the ends of every parameter, and build the model at the space's corners."""
    found: dict[tuple[str, str], Problem] = {}
    for values in _probes(parameters, tree):
        filled = _substitute(tree, values)
        try:
            TrialConfig.model_validate(filled)
        except pydantic.ValidationError as error:
            for problem in _problems(error, filled, ()):
                hidden = any(
                    problem.path == b or problem.path.startswith(f"{b}.") or b.startswith(f"{problem.path}.")
                    for b in broken
                )
                if not hidden and problem.path:  # without a path: the model's shape, which the corners below decide
                    found.setdefault((problem.path, problem.message), problem)
    if found or broken:
        return list(found.values()), ()
    failures: list[str] = []
    n_corners = 0
    for corner in _corners(parameters, tree):
        n_corners += 1
        try:
            TrialConfig.model_validate(_substitute(tree, corner))
        except pydantic.ValidationError as error:
            failures.append(_problems(error, {}, ())[0].message)
    if failures and len(failures) == n_corners:
        return [Problem("model", failures[0].removeprefix("model: "))], ()
    if failures:
        share = f"{len(failures)} of the {n_corners} corners of the space cannot be built, and such trials will fail"
        return [], (f"{share}: {failures[0]}",)
    return [], ()


def _problems(error: pydantic.ValidationError, tree: object, prefix: Path_) -> list[Problem]:
    """Turn pydantic's errors into ours: dotted path, value, what is allowed, did you mean."""
    problems: list[Problem] = []
    for detail in error.errors(include_url=False):
        # Pydantic names the branch of the model union as if it were a key, and the key of a mapping as '[key]'.
        loc = tuple(
            part for i, part in enumerate(detail["loc"]) if not (i == 1 and part in ("mlp", "cnn")) and part != "[key]"
        )
        value = detail["input"]
        kind = detail["type"]
        context: Mapping[str, Any] = detail.get("ctx", {})
        parent = (*prefix, *loc[:-1])
        known = fields_at(parent, _get(tree, "model.name"))
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
            allowed = ["mlp", "cnn"]
            name = value.get("name") if isinstance(value, dict) else None
            loc = (*loc, "name")
            message = (
                f"{name!r} is not a model; allowed are mlp, cnn{did_you_mean(name, allowed)}"
                if name is not None
                else "missing; allowed are mlp, cnn"
            )
        else:
            message = f"{_shown(value)}: {detail['msg'][0].lower()}{detail['msg'][1:]}"
            message = message.replace("input should be", "should be").replace(
                "a valid dictionary or instance of ", "the mapping "
            )
            if isinstance(value, dict) and value:
                message += did_you_mean(next(iter(value)), ("float", "int", "choice"))
        path = ".".join(str(part) for part in (*prefix, *loc))
        problems.append(Problem(path, message))
    return problems


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


__all__ = ["Parameter", "SearchSpace", "Section", "dump_yaml", "flatten", "load_space", "read_space"]
