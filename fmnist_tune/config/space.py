"""A search space: what is fixed, what is searched, and under which conditions."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pydantic

from fmnist_tune.config.corners import check_configs, corners, probes
from fmnist_tune.config.domain import ChoiceDomain
from fmnist_tune.config.implied import imply_pruner, imply_values, with_values
from fmnist_tune.config.initial import config_problems_of, read_initial
from fmnist_tune.config.parameters import (
    Parameter,
    is_active,
    read_parameters,
    searched_nodes,
    set_at,
    substitute,
    value_at,
)
from fmnist_tune.config.problems import home_hint, schema_problems
from fmnist_tune.config.schema import SETTINGS_KEYS, TRIAL_KEYS, Settings, add_units
from fmnist_tune.config.warnings import repeats, space_warnings
from fmnist_tune.config.yaml_text import dump_yaml, read_yaml
from fmnist_tune.errors import FileError, Problem, UserError, did_you_mean, near_file
from fmnist_tune.files import user_path
from fmnist_tune.registry import forget_imports, own_code
from fmnist_tune.tasks.config import TaskConfig
from fmnist_tune.tasks.registry import DEFAULT, find_task, task_of
from fmnist_tune.tasks.task import Task, title_of

MAX_GRID = 10_000
EPOCH_TIMEOUT = "search.epoch_timeout"  # of the search section, it alone matters to a recipe


@dataclass(frozen=True)
class SearchSpace:
    """A search space whose every value has been checked.

    Attributes:
        source: the file's name, for messages.
        settings: study, task, search, resources.
        parameters: what is searched; a parameter comes after those its conditions name. Empty for a recipe.
        tree: the file's plain data, with overrides from the command line (of a study's name and seed).
        warnings: what is allowed but probably not meant.
        initial: the points that a study begins with, each by dotted path; what one leaves out is sampled.
        implied: paths that the file leaves out and whose values depend on the rest of it.
    """

    source: str
    settings: Settings
    parameters: tuple[Parameter, ...]
    tree: dict[str, Any]
    warnings: tuple[str, ...] = ()
    initial: tuple[dict[str, Any], ...] = ()
    implied: tuple[str, ...] = ()

    @property
    def task(self) -> Task:
        """What is learned."""
        return find_task(self.settings.task)

    def is_active(self, parameter: Parameter, values: Mapping[str, Any]) -> bool:
        """Return whether a parameter is used, given the values of those before it."""
        return is_active(parameter, values, self.tree)

    def config(self, values: Mapping[str, Any]) -> TaskConfig:
        """Build one trial's configuration.

        Args:
            values: the value of each active parameter, by path.

        Raises:
            UserError: the values do not make a configuration that can be trained.
        """
        schema = self.task.config
        try:
            return schema.model_validate(substitute(self.tree, values))
        except pydantic.ValidationError as error:
            raise UserError("; ".join(str(p) for p in schema_problems(error, {}, schema))) from None

    def corner_configs(self) -> Iterator[TaskConfig]:
        """Yield configurations with the model's parameters at their ends, as far as they can be built."""
        for values in corners(self.parameters, self.tree):
            with contextlib.suppress(UserError):
                yield self.config(values)

    def end_configs(self) -> Iterator[TaskConfig]:
        """Yield configurations that take every parameter to its ends, as far as they are allowed."""
        for values in probes(self.parameters, self.tree):
            with contextlib.suppress(UserError):
                yield self.config(values)

    @property
    def max_epochs(self) -> int:
        """Epochs of the longest training."""
        return max((config.training.epochs for config in self.end_configs()), default=1)

    def values_for(self, config: TaskConfig) -> dict[str, Any] | None:
        """Return the values with which this space gives a configuration; None if it cannot give it."""
        tree = config.model_dump()
        values: dict[str, Any] = {}
        for parameter in self.parameters:
            if self.is_active(parameter, values):
                value, domain = value_at(tree, parameter.path), parameter.domain
                if isinstance(domain, ChoiceDomain):
                    value = domain.listed(value)
                if value not in domain:
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
        """Return the file's data with every searched value replaced by the given one and inactive ones left out.

        What the task implies is written out, so that the recipe means the same wherever it is read.
        """
        head: dict[str, Any] = {key: self.tree[key] for key in ("study", "task") if key in self.tree}
        tail = {"resources": self.tree["resources"]} if "resources" in self.tree else {}
        limit = value_at(self.tree, EPOCH_TIMEOUT)
        tail |= {} if limit is None else {"search": {"epoch_timeout": limit}}
        recipe = {**head, **substitute(self.tree, values), **tail}
        with contextlib.suppress(UserError):  # a trial that failed since it cannot be built
            config = self.config(values).model_dump()
            recipe = with_values(recipe, {path: value_at(config, path) for path in self.task.config.implied})
        return recipe

    def changed(self, tree: Mapping[str, Any]) -> SearchSpace:
        """Return the space with other data, in which nothing more is implied."""
        return self if tree == self.tree else read_space(dump_yaml(tree), self.source, is_stored=True)

    def size(self) -> int | None:
        """Count different configurations, to 10,001 at most; None where a float without a step makes them endless."""
        if any(p.domain.n_values is None for p in self.parameters):
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
        text = user_path(path).read_text(encoding="utf-8")
    except IsADirectoryError:
        raise UserError(f"{source}: a directory; give a YAML file, such as search_spaces/cnn.yaml") from None
    except FileNotFoundError:
        raise UserError(f"{source}: no such file{near_file(user_path(path))}") from None
    except UnicodeDecodeError as error:
        raise UserError(f"{source}: not UTF-8 text (byte {error.start})") from None
    except OSError as error:
        raise UserError(f"{source}: cannot be read: {error.strerror}") from None
    return read_space(text, source, overrides)


def read_space(
    text: str, source: str, overrides: Mapping[str, Any] | None = None, *, is_stored: bool = False
) -> SearchSpace:
    """Read a search space from YAML text.

    Args:
        text: what a file holds.
        source: where it is from, for messages.
        overrides: as `load_space` takes them.
        is_stored: it was read before, and is kept in a study; until version 0.2.0 a duration needed no unit.

    Raises:
        UserError: as `load_space`.
    """
    forget_imports()
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
        set_at(tree, path.split("."), value)
    if is_stored:
        add_units(tree)
    implied = () if is_stored else imply_pruner(tree)
    task = task_of(tree)
    implied += () if is_stored or task is None else imply_values(tree, task.config)
    settings, problems = _read_settings(tree, (task or find_task(DEFAULT)).config)
    if task is None:  # nothing is known of the keys of model, training and data
        raise _error(source, [*document.problems, *problems], document.lines)
    parameters, parameter_problems, broken = read_parameters(tree)
    config_problems, warnings = check_configs(parameters, tree, task.config, broken)
    initial, initial_problems = read_initial(parameters, tree, broken)
    unread = {problem.path for problem in document.problems}
    others = [*problems, *parameter_problems, *config_problems, *_grid_problems(parameters, tree), *initial_problems]
    others += [] if others else config_problems_of(initial, parameters, tree, task.config)
    problems = [*document.problems, *(p for p in others if p.path not in unread)]
    if problems or settings is None:
        raise _error(source, problems, document.lines)
    space = SearchSpace(source, settings, tuple(parameters), tree, warnings, initial, implied)
    configs, _ = list(space.end_configs()), title_of(space)  # which a report would else be the first to ask for
    with own_code(task, "problems"):
        problems = [Problem(path, message) for path, message in task.problems(configs)]
    if problems:
        raise _error(source, problems, document.lines)
    found = space_warnings(settings, parameters, tree, configs, task)
    return replace(space, warnings=(*warnings, *found, *repeats(space)))


def _error(source: str, problems: Sequence[Problem], lines: Mapping[str, int]) -> FileError:
    return FileError(source, [replace(p, line=p.line or _line(lines, p.path)) for p in problems])


def _read_settings(tree: dict[str, Any], config: type[TaskConfig]) -> tuple[Settings | None, list[Problem]]:
    """Return what is not searched, None if it cannot be read, and what is wrong with it and with the file's keys."""
    known = (*SETTINGS_KEYS, *TRIAL_KEYS)
    problems = [
        Problem(
            str(key),
            f"unknown key; allowed are {', '.join(known)}{did_you_mean(key, known) or home_hint(key, config)}",
        )
        for key in tree
        if key not in known
    ]
    settings_tree = {key: tree[key] for key in SETTINGS_KEYS if key in tree}
    problems += [
        Problem(path, "cannot be searched; only values in model, training and data can")
        for path, _ in searched_nodes(settings_tree, ())
    ]
    try:
        return Settings.model_validate(settings_tree), problems
    except pydantic.ValidationError as error:
        taken = {problem.path for problem in problems}
        return None, problems + [p for p in schema_problems(error, settings_tree, config) if p.path not in taken]


def _grid_problems(parameters: list[Parameter], tree: dict[str, Any]) -> list[Problem]:
    if value_at(tree, "search.sampler.name") != "grid":
        return []
    endless = [
        Problem(p.path, "a grid needs a step (or use choice): a float range has endlessly many values")
        for p in parameters
        if p.domain.n_values is None
    ]
    if endless or sum(1 for _ in itertools.islice(_expand(tuple(parameters), {}, tree), MAX_GRID + 1)) <= MAX_GRID:
        return endless
    text = f"the grid has more than {MAX_GRID:,} configurations; use tpe or random"
    return [Problem("search.sampler.name", text)]


def _line(lines: Mapping[str, int], path: str) -> int | None:
    while path and path not in lines:
        path = path.rpartition(".")[0]
    return lines.get(path) if path else None


def _expand(parameters: tuple[Parameter, ...], values: dict[str, Any], tree: object) -> Iterator[dict[str, Any]]:
    if not parameters:
        yield values
        return
    first, rest = parameters[0], parameters[1:]
    if not is_active(first, values, tree):
        yield from _expand(rest, values, tree)
        return
    n_values = first.domain.n_values
    if n_values is None:
        raise ValueError(f"{first.path}: a float range without a step has no grid")
    for i in range(n_values):
        yield from _expand(rest, {**values, first.path: first.domain.value(i)}, tree)
