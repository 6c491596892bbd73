"""Keeps what only torch.compile and torch.export use from being imported by those who do neither."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

DYNAMO = "torch._dynamo"
META_REGISTRATIONS = "torch._meta_registrations"


class _Absent(ModuleType):
    """Stands where a module would; whatever is asked of it brings in the real one."""

    __path__: list[str]

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") and name != "__path__":
            raise AttributeError(name)
        import_compiler()
        return getattr(sys.modules[self.__name__], name)


class _AbsentDynamo(_Absent):
    """TorchDynamo, as far as torch.optim asks it not to compile its methods."""

    @staticmethod
    def graph_break(*args: object, **kwargs: object) -> None:
        """Do nothing, as it does outside of torch.compile."""

    @staticmethod
    def disable(fn: Callable[..., Any], *args: object, **kwargs: object) -> Callable[..., Any]:
        """Return the function, which is what disabling comes to outside of torch.compile."""
        return fn


def skip_compiler() -> None:
    """Spare a process imports that take seconds of a core; of what is imported already it spares nothing.

    `import torch` brings in the operators' shapes for tensors without data, a third of its time (torch/__init__.py,
    torch/_meta_registrations.py), and every optimizer of torch.optim TorchDynamo, sympy and triton (torch/_compile.py),
    also where nothing is ever compiled.
    """
    for name, absent in ((META_REGISTRATIONS, _Absent), (DYNAMO, _AbsentDynamo)):
        if name not in sys.modules:
            sys.modules[name] = absent(name)


def import_compiler() -> None:
    """Bring in the real modules, for those who do compile or export."""
    for name in (META_REGISTRATIONS, DYNAMO):
        if isinstance(sys.modules.get(name), _Absent):
            del sys.modules[name]
        importlib.import_module(name)
