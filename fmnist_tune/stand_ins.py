"""Stand-ins for modules that a library imports and that are asked nothing here: imports take seconds of a core."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from types import ModuleType
from typing import Any


class _StandIn(ModuleType):
    """Stands where a module would; whatever it has no answer to brings in the real one."""

    __path__: list[str]

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") and name != "__path__":
            raise AttributeError(name)
        for module in self._together:
            bring_in(module)
        return getattr(sys.modules[self.__name__], name)


def put_stand_in(module: str, together: Sequence[str] = (), **answers: object) -> None:
    """Spare this process the import of a module; one that is imported already stays.

    Args:
        module: its full name.
        together: modules that come in when this one does, since it needs them in place; it may be among them.
        answers: what is asked of it all the same, by name.
    """
    if module not in sys.modules:
        sys.modules[module] = _StandIn(module)
        vars(sys.modules[module]).update(answers, _answers=tuple(answers), _together=together or (module,))


def take_away(module: str) -> None:
    """Let whoever imports a module, or asks its stand-in, get the real one from here on."""
    found = sys.modules.get(module)
    if isinstance(found, _StandIn):
        del sys.modules[module]
        for name in found._answers:
            delattr(found, name)


def bring_in(module: str) -> None:
    """Import the real module in place of its stand-in."""
    take_away(module)
    importlib.import_module(module)
