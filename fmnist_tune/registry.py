"""Classes by name: built in, from an entry point, or `package.module:Class`; and sections with named classes."""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import sys
import traceback
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, Generic, TypeVar

import pydantic
from pydantic_core import PydanticCustomError

from fmnist_tune.errors import UserError, did_you_mean
from fmnist_tune.section import Section

UNUSABLE, UNKNOWN_NAME = "unusable_name", "unknown_name"  # pydantic error types for a section's name

_third_party: set[str] = set()  # modules of the classes found by name, apart from ours

C = TypeVar("C")
R = TypeVar("R")
S = TypeVar("S", bound=Section)


class PluginError(ValueError):
    """A named class cannot be imported, is of the wrong kind, or has a mistake."""


@dataclass(frozen=True)
class Registry(Generic[C]):
    """Classes of one kind.

    Attributes:
        base: their base class.
        built_in: ours, by name; a string is a location, imported on demand.
        group: of entry points.
        needs: methods that a class must override.
        found: other classes looked up so far, by name.
    """

    base: type[C]
    built_in: Mapping[str, type[C] | str]
    group: str = ""
    needs: tuple[str, ...] = ()
    found: dict[str, type[C]] = field(default_factory=dict)

    def known(self) -> dict[str, type[C]]:
        """Return the classes already imported, by name."""
        return {**{name: c for name, c in self.built_in.items() if not isinstance(c, str)}, **self.found}

    def names(self) -> tuple[str, ...]:
        """Return the names that a file may use, besides package.module:Class."""
        return tuple(dict.fromkeys((*self.built_in, *_entry_points(self.group))))

    def find(self, name: object) -> type[C] | None:
        """Return a class by name; None if the name is unknown.

        Raises:
            PluginError: it cannot be imported, or is of another kind.
        """
        if not isinstance(name, str):
            return None
        if name in self.built_in:
            return self._built_in(name)
        place = name if ":" in name else _entry_points(self.group).get(name)
        if place is None:
            return None
        found = _imported(place, os.getcwd())
        if isinstance(found, PluginError):
            raise found
        if not isinstance(found, type) or not issubclass(found, self.base):
            what = f"the class {found.__name__}" if isinstance(found, type) else f"a {type(found).__name__}"
            raise PluginError(f"{place} is {what}; it must be a class derived from {public_name(self.base)}")
        for method in self.needs:
            if getattr(found, method) is getattr(self.base, method):
                kind = "method" if callable(getattr(self.base, method)) else "property"
                raise PluginError(f"{place} has no {kind} {method}")
        self.found[name] = found
        _third_party.add(found.__module__)
        return found

    def _built_in(self, name: str) -> type[C]:
        place = self.built_in[name]
        if isinstance(place, str):
            module, _, attribute = place.partition(":")
            place = getattr(importlib.import_module(module), attribute)
        return place


@dataclass(frozen=True)
class SectionRegistry(Registry[S]):
    """The classes that a task's section may have.

    Attributes:
        noun: the word for them in messages.
        default: the name of a section without one; None if a name is required.
    """

    noun: str = "model"
    default: str | None = None

    def read(self, value: object) -> object:
        """Return the section named in a mapping; any other value unchanged.

        Raises:
            PydanticCustomError, pydantic.ValidationError: there is no such class, or its keys are invalid.
        """
        if not isinstance(value, dict):
            return value
        try:
            found = self.find(value.get("name", self.default))
            if found is None:
                raise PydanticCustomError(UNKNOWN_NAME, "unknown")
            with blamed_on(found):
                return found.model_validate(value)
        except PluginError as error:
            raise PydanticCustomError(UNUSABLE, "{reason}", {"reason": str(error)}) from None


def public_name(base: type) -> str:
    """Return the name to import a class by: from its package if that exports it, otherwise from its module."""
    package = base.__module__.rpartition(".")[0]
    place = package if getattr(sys.modules.get(package), base.__name__, None) is base else base.__module__
    return f"{place}.{base.__name__}"


@contextlib.contextmanager
def blamed_on(found: type) -> Iterator[None]:
    """Turn any error of a class's own code, other than a ValueError, into a PluginError that names it."""
    try:
        yield
    except (ValueError, PydanticCustomError):
        raise
    except UserError as error:
        raise PluginError(str(error)) from None
    except (Exception, SystemExit) as error:
        raise PluginError(f"{place_of(found)} raised {told(error)}") from None


@contextlib.contextmanager
def own_code(owner: object, method: str, noun: str = "") -> Iterator[None]:
    """Turn what a method raises into a UserError that names its class; ours, and a UserError, raise as they are."""
    found = type(owner)
    try:
        yield
    except UserError:
        raise
    except (Exception, SystemExit) as error:
        if getattr(found, method).__module__.startswith("fmnist_tune."):
            raise
        raise UserError(f"{noun}{place_of(found)}: {method} raised {told(error)}") from None


def blame(error: BaseException) -> str | None:
    """Return as a message what the code of a class found by name has raised; None if it was other code."""
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    names = [(str(frame.f_globals.get("__name__")), frame.f_code.co_qualname) for frame in frames]
    known = [(module, name) for module, name in names if module in _third_party or module.startswith("fmnist_tune.")]
    module, name = known[-1] if known else ("", "")
    return f"{module}:{name} raised {told(error)}" if module in _third_party else None


def own_result(owner: object, method: str, kind: type[R], *arguments: Any, noun: str = "") -> R:
    """Return what a method returns.

    Raises:
        UserError: it is of another kind, or somebody's own code raised something.
    """
    with own_code(owner, method, noun):
        found = getattr(owner, method)(*arguments)
    if not isinstance(found, kind):
        where = f"{noun}{place_of(type(owner))}: {method}"
        raise UserError(f"{where} returned a {type(found).__name__}; it must be of type {kind.__name__}")
    return found


def plain(owner: object, method: str, value: Mapping[str, Any], noun: str = "") -> dict[str, Any]:
    """Return what a method returned as JSON will keep it.

    Raises:
        UserError: JSON cannot.
    """
    try:
        found: dict[str, Any] = json.loads(json.dumps(dict(value), allow_nan=False))
    except (TypeError, ValueError, RecursionError) as error:
        where = f"{noun}{place_of(type(owner))}: {method}"
        raise UserError(f"{where} returned what a study cannot record as JSON: {error}") from None
    return found


def place_of(found: type) -> str:
    """Return a class as package.module:Class."""
    return f"{found.__module__}:{found.__qualname__}"


def told(error: BaseException) -> str:
    """Return an exception of third-party code on one line, with the last line of that code."""
    libraries = ("<", str(Path(__file__).parent), str(Path(pydantic.__file__).parents[1]))
    frames = [f for f in traceback.extract_tb(error.__traceback__) if not f.filename.startswith(libraries)]
    where = f" ({Path(frames[-1].filename).name}, line {frames[-1].lineno})" if frames else ""
    text = str(error).strip().partition("\n")[0]
    return type(error).__name__ + (f": {text}" if text else "") + ("" if isinstance(error, SyntaxError) else where)


def forget_imports() -> None:
    """Retry failed imports, and look for entry points anew: the author may have fixed or installed them."""
    _imported.cache_clear()
    _entry_points.cache_clear()


@cache
def _imported(place: str, folder: str) -> Any:
    """Return the object `package.module:Class`, or a PluginError with the reason why it cannot be imported.

    Args:
        place: the name.
        folder: the current one, also searched for modules; installed ones come first. Ray adds the same folder to its
            workers' paths.
    """
    module_name, _, attribute = place.partition(":")
    if not all(part.isidentifier() for part in (*module_name.split("."), attribute)):
        return PluginError(f"{place!r} must be package.module:Class")
    if not {"", folder} & set(sys.path):
        sys.path.append(folder)
    importlib.invalidate_caches()
    try:
        with contextlib.redirect_stdout(sys.stderr):
            module = importlib.import_module(module_name)
    except (Exception, SystemExit) as error:
        if isinstance(error, ModuleNotFoundError) and error.name and f"{module_name}.".startswith(f"{error.name}."):
            near = did_you_mean(error.name, (p.stem for p in Path(folder).glob("*.py")))
            return PluginError(
                f"{place}: no module {error.name} among the installed packages or in the current folder, {folder}{near}"
            )
        return PluginError(f"{place}: {module_name} cannot be imported: {told(error)}")
    if not hasattr(module, attribute):
        near = did_you_mean(attribute, (name for name, v in vars(module).items() if isinstance(v, type)))
        return PluginError(f"{place}: {getattr(module, '__file__', None) or module_name} has no {attribute}{near}")
    return getattr(module, attribute)


@cache
def _entry_points(group: str) -> dict[str, str]:
    """Return a group's installed entry points: the location of each name."""
    return {entry.name: f"{entry.module}:{entry.attr}" for entry in entry_points(group=group)} if group else {}
