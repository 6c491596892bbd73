"""Sections by name: built in, of an entry point, or `package.module:Class`."""

from __future__ import annotations

import contextlib
import importlib
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

from fmnist_tune.errors import did_you_mean
from fmnist_tune.section import Section

NO_PLUGIN, UNKNOWN_NAME = "no_plugin", "unknown_plugin_name"  # pydantic's kinds of errors about a section's name

S = TypeVar("S", bound=Section)


class PluginError(ValueError):
    """Something that a name stands for is not what it must be, or has a mistake."""


@dataclass(frozen=True)
class Registry(Generic[S]):
    """Sections of one kind, such as a task's models: `name` decides which other keys one has.

    Attributes:
        base: from which each is derived; its method `build` is overridden.
        built_in: ours, by name.
        group: of entry points.
        kind: what each is, for messages.
        found: others that have been asked for so far, by name.
    """

    base: type[S]
    built_in: Mapping[str, type[S]]
    group: str
    kind: str = "model"
    found: dict[str, type[S]] = field(default_factory=dict)

    def known(self) -> dict[str, type[S]]:
        """Return the sections by name that need not be imported any more."""
        return {**self.built_in, **self.found}

    def names(self) -> tuple[str, ...]:
        """Return the names that a file may use; package.module:Class apart."""
        return tuple(dict.fromkeys((*self.built_in, *_entry_points(self.group))))

    def find(self, name: object) -> type[S] | None:
        """Return the section of a name; None if the name is unknown.

        Raises:
            PluginError: what it stands for cannot be imported, or is no section of this kind.
        """
        if not isinstance(name, str):
            return None
        if name in self.built_in:
            return self.built_in[name]
        place = name if ":" in name else _entry_points(self.group).get(name)
        if place is None:
            return None
        found = _imported(place, os.getcwd())
        if isinstance(found, PluginError):
            raise found
        if not isinstance(found, type) or not issubclass(found, self.base):
            what = f"the class {found.__name__}" if isinstance(found, type) else f"a {type(found).__name__}"
            base = f"{self.base.__module__.removesuffix('.section')}.{self.base.__name__}"
            raise PluginError(f"{place} is {what}; it must be a class derived from {base}")
        if getattr(found, "build", None) is getattr(self.base, "build", None):
            raise PluginError(f"{place} has no method build")
        self.found[name] = found
        return found

    def read(self, value: object) -> object:
        """Return the section that a mapping names; what is no mapping as it is.

        Raises:
            PydanticCustomError, pydantic.ValidationError: there is no such section, or it cannot have such keys.
        """
        if not isinstance(value, dict):
            return value
        name = value.get("name")
        try:
            found = self.find(name)
            if found is None:
                raise PydanticCustomError(UNKNOWN_NAME, "unknown")
            with blamed_on(found):
                return found.model_validate(value)
        except PluginError as error:
            raise PydanticCustomError(NO_PLUGIN, "{reason}", {"reason": str(error)}) from None


@contextlib.contextmanager
def blamed_on(section: type[Section]) -> Iterator[None]:
    """Turn what a section's own code raises, other than a ValueError, into a PluginError that names it."""
    try:
        yield
    except (ValueError, PydanticCustomError):
        raise
    except Exception as error:
        raise PluginError(f"{section.__module__}:{section.__qualname__} raised {told(error)}") from None


def told(error: BaseException) -> str:
    """Return an exception of somebody else's code on one line, with the last line of it that is no library's."""
    libraries = ("<", str(Path(__file__).parent), str(Path(pydantic.__file__).parents[1]))
    frames = [f for f in traceback.extract_tb(error.__traceback__) if not f.filename.startswith(libraries)]
    where = f" ({Path(frames[-1].filename).name}, line {frames[-1].lineno})" if frames else ""
    text = str(error).strip().partition("\n")[0]
    return type(error).__name__ + (f": {text}" if text else "") + ("" if isinstance(error, SyntaxError) else where)


def forget_imports() -> None:
    """Look again for what could not be imported: its author may have repaired it."""
    _imported.cache_clear()


@cache
def _imported(place: str, folder: str) -> Any:
    """Return what `package.module:Class` names, or a PluginError that says why it cannot be had.

    Args:
        place: the name.
        folder: the current one, from which modules are imported too; installed ones come first. Ray adds the same
            folder to its workers' paths.
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
    """Return what is installed under a group: the place of each name."""
    return {entry.name: f"{entry.module}:{entry.attr}" for entry in entry_points(group=group)}
