"""Pydantic's errors as our messages: dotted path, value, what is allowed, did you mean."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, get_args

import pydantic

from fmnist_tune.config.foreign import instead, search_form
from fmnist_tune.config.parameters import value_at
from fmnist_tune.config.schema import SETTINGS_KEYS, TRIAL_KEYS, Settings
from fmnist_tune.errors import Problem, did_you_mean, nearest
from fmnist_tune.models.architectures import ARCHITECTURES
from fmnist_tune.registry import UNKNOWN_NAME, UNUSABLE, SectionRegistry
from fmnist_tune.search.asha import SCHEDULERS
from fmnist_tune.section import Section
from fmnist_tune.tasks.config import TaskConfig

_SECTION_ERRORS = ("model_type", "model_attributes_type", "dict_type")


_SPACES = ("space", "search_space", "parameters", "params", "hyperparameters", "config", "param_space")


@dataclass(frozen=True)
class Mistake:
    """One error of pydantic.

    Attributes:
        loc: pydantic's location, without the branches of unions.
        kind: pydantic's error type.
        message: for the user.
        guess: the probable meaning; None without a guess.
        is_sure: whether the guess is a similar word, rather than suggested by other keys.
    """

    loc: tuple[Any, ...]
    kind: str
    message: str
    guess: object = None
    is_sure: bool = True

    @property
    def path(self) -> str:
        """The dotted path."""
        return ".".join(map(str, self.loc))


def schema_problems(error: pydantic.ValidationError, tree: object, config: type[TaskConfig]) -> list[Problem]:
    """Turn pydantic's errors into ours: dotted path, value, what is allowed, did you mean.

    Args:
        error: pydantic's.
        tree: what was validated.
        config: the task's schema of model, training and data.
    """
    return [Problem(m.path, m.message) for m in mistakes_of(error, tree, config)]


def homes(config: type[TaskConfig]) -> dict[str, tuple[str, ...]]:
    """Return the sections in which each key is allowed."""
    found: dict[str, tuple[str, ...]] = {}

    def walk(section: type[Section], path: str) -> None:
        for key, field in section.model_fields.items():
            if path:
                found[key] = tuple(dict.fromkeys((*found.get(key, ()), path)))
            place = f"{path}.{key}" if path else key
            registry = _registries(config).get(place)
            for kind in _sections(field.annotation) if registry is None else registry.known().values():
                walk(kind, place)

    for schema in (Settings, config):
        walk(schema, "")
    return found


def home_hint(key: object, config: type[TaskConfig]) -> str:
    """Return the sections in which a key is allowed, as the end of a message; empty if none."""
    if str(key) in _SPACES:
        return "; what is searched stands in its place in model, training and data"
    sections = homes(config).get(str(key), ())
    return f"; {key} stands in {' or '.join(sections)}" if sections else ""


def mistakes_of(
    error: pydantic.ValidationError, tree: object, config: type[TaskConfig], searched: Collection[str] = ()
) -> list[Mistake]:
    """Return pydantic's errors in its order; arguments as for `schema_problems`.

    Args:
        searched: paths of the searched parameters.
    """
    found = []
    for detail in error.errors(include_url=False):
        loc = tuple(part for part in detail["loc"] if part != "[key]")  # pydantic's marker for the key of a mapping
        found.append(_mistake(detail, loc, tree, config, searched))
    return found


def _mistake(
    detail: Any, loc: tuple[Any, ...], tree: object, config: type[TaskConfig], searched: Collection[str]
) -> Mistake:
    value, kind, context = detail["input"], detail["type"], detail.get("ctx", {})
    may_be_searched = loc[:1] not in {(key,) for key in SETTINGS_KEYS}
    if isinstance(value, list) and loc and isinstance(loc[-1], int):  # a list of lists instead of a list
        loc, value = loc[:-1], value_at(tree, ".".join(map(str, loc[:-1])))
    if kind == "extra_forbidden":
        return Mistake(loc, kind, _unknown_key(loc, value, tree, config, searched))
    if kind == "missing":
        return Mistake(loc, kind, "missing; every file needs it")
    if kind == "value_error":
        return Mistake(loc, kind, f"{context['error']}{instead(value) if isinstance(value, str) else ''}")
    if kind == "literal_error":
        allowed = [w.strip(" '") for w in str(context["expected"]).replace(" or ", ", ").split(",")]
        if isinstance(value, dict) and value.get("name") in allowed:
            hint = f"; write {value['name']}"
        else:
            hint = (instead(value) if may_be_searched else "") or did_you_mean(value, allowed)
        return Mistake(loc, kind, f"{_shown(value)} is not one of {', '.join(allowed)}{hint}", nearest(value, allowed))
    if kind == UNKNOWN_NAME:
        return _wrong_name(loc, kind, value, _registries(config)[".".join(map(str, loc))])
    if kind == UNUSABLE:
        return Mistake((*loc, "name"), kind, context["reason"])
    if kind in _SECTION_ERRORS:
        return Mistake(loc, kind, _no_section(loc, value, tree, config, searched))
    wanted = kind.partition("_")[0]
    message = f"{_shown(value)}: {detail['msg'][0].lower()}{detail['msg'][1:]}".replace("input should be", "should be")
    typo = did_you_mean(next(iter(value)), ("float", "int", "choice")) if isinstance(value, dict) and value else ""
    hint = instead(value, wanted) if may_be_searched or not isinstance(value, list | dict) else ""
    return Mistake(loc, kind, message + (hint or typo))


def _unknown_key(
    loc: tuple[Any, ...], value: object, tree: object, config: type[TaskConfig], searched: Collection[str]
) -> str:
    """Return what may be meant by a key that is not allowed."""
    key, parent = loc[-1], loc[:-1]
    registry, name, named = _choice_at(parent, tree, config)
    known = _fields_at(parent, tree, config)
    allowed = f"unknown key; allowed are {', '.join(known)}"
    classes = {} if registry is None else registry.known()
    owners = [other for other, section in classes.items() if key in section.model_fields]
    if owners:
        when = f"{{{named}: {owners[0] if len(owners) == 1 else '[' + ', '.join(owners) + ']'}}}"
        if not {named.removesuffix(".name"), named} & set(searched):
            return f"a key of {' and '.join(owners)}, not of {name}; allowed are {', '.join(known)}"
        is_searched = f"{named.removesuffix('.name')}.{key}" in searched
        how = f"add when: {when} to it" if is_searched else f"write {{choice: [{value}], when: {when}}}"
        return f"a key of {' and '.join(owners)}, but {named} can be {name} too; {how}"
    if key == "when":
        return f"{allowed}; when stands inside the braces of a searched value: {{float: [0.0, 0.5], when: {{...}}}}"
    form = search_form(value_at(tree, ".".join(map(str, parent))) if parent else None)
    if form is not None:
        form = f"{{name: {form}}}" if "name" in known else form
        return f"{allowed}; to search {'.'.join(map(str, parent))}, write {form}"
    return f"{allowed}{did_you_mean(key, known) or home_hint(key, config)}"


def _wrong_name(loc: tuple[Any, ...], kind: str, value: object, registry: SectionRegistry[Any]) -> Mistake:
    known, names = registry.known(), registry.names()
    allowed = f"allowed are {', '.join(names)}"
    name = value.get("name") if isinstance(value, dict) else None
    place = (*loc, "name")
    given = set(map(str, value)) if isinstance(value, dict) else set()
    built_in = [other for other in registry.built_in if other in known]
    alike = max(built_in, key=lambda other: len(given & set(known[other].model_fields)), default=None)
    if name is None:
        form = search_form(value)
        return Mistake(
            place, kind, f"missing; {allowed}" + (f"; to search it, write {form}" if form else ""), alike, False
        )
    guess: str | None
    if isinstance(name, str) and "torchvision" in known and any(a.startswith(name.lower()) for a in ARCHITECTURES):
        architecture = nearest(name, ARCHITECTURES) or next(a for a in ARCHITECTURES if a.startswith(name.lower()))
        hint, guess = f"; write name: torchvision, architecture: {architecture}", "torchvision"
    else:
        own = f"; a {registry.noun} of your own is named package.module:Class"
        hint, guess = did_you_mean(name, names) or instead(name) or own, nearest(name, names)
    text = f"{_shown(name)} is not a {registry.noun}; {allowed}{hint}"
    return Mistake(place, kind, text, guess or alike, guess is not None)


def _no_section(
    loc: tuple[Any, ...], value: object, tree: object, config: type[TaskConfig], searched: Collection[str]
) -> str:
    """Return what to write where a section is expected."""
    known = _fields_at(loc, tree, config)
    expected = f"should be a mapping of {', '.join(known)}" if known else "should be a mapping"
    if value is None:
        return f"empty; {expected}"
    if "name" not in known or not isinstance(value, str | list) or not value:
        return f"{_shown(value)}: {expected}"
    if isinstance(value, str) and ".".join(map(str, loc)) not in searched:
        return f"{value!r} alone; write {{name: {value}}}"
    words = value if isinstance(value, list) else [value, "..."]
    name = words[0] if loc[0] in SETTINGS_KEYS else f"{{choice: [{', '.join(map(str, words))}]}}"
    return f"{_shown(value)} alone; write {{name: {name}}}"


def _registries(config: type[TaskConfig]) -> dict[str, SectionRegistry[Any]]:
    """Return the registries of named sections, by dotted path."""
    return {**config.registries(), "search.pruner": SCHEDULERS}


def _fields_at(path: tuple[Any, ...], tree: object, config: type[TaskConfig]) -> tuple[str, ...]:
    """Return the schema's keys at a path; empty if there are none.

    Args:
        path: in the file.
        tree: the file's content.
        config: the task's schema of model, training and data.
    """
    if not path:
        return (*SETTINGS_KEYS, *TRIAL_KEYS)
    section: type[Section] | None = Settings if path[0] in SETTINGS_KEYS else config
    for i, key in enumerate(path):
        registry, name, _ = _choice_at(path[: i + 1], tree, config)
        if registry is not None:
            classes = registry.known()
            section = classes.get(str(name), next(iter(classes.values()), None))
            continue
        field = None if section is None else section.model_fields.get(key)
        section = None if field is None else next(iter(_sections(field.annotation)), None)
    return () if section is None else tuple(section.model_fields)


def _choice_at(
    path: tuple[Any, ...], tree: object, config: type[TaskConfig]
) -> tuple[SectionRegistry[Any] | None, object, str]:
    """Return a section's registry (None without one), the name given in the file, and the key of that name."""
    place = ".".join(map(str, path))
    registry, key = _registries(config).get(place), f"{place}.name"
    name = None if registry is None else value_at(tree, key) or registry.default
    return registry, name, key


def _sections(annotation: object) -> list[type[Section]]:
    """Return the section classes that a field may hold."""
    return [k for k in get_args(annotation) or (annotation,) if isinstance(k, type) and issubclass(k, Section)]


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
