"""Keeps TorchDynamo from being imported by those who compile nothing."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

NAME = "torch._dynamo"


class _Absent(ModuleType):
    """Stands where TorchDynamo would; whatever else is asked of it brings in the real one."""

    __path__: list[str]

    @staticmethod
    def graph_break(*args: object, **kwargs: object) -> None:
        """Do nothing, as it does outside of torch.compile."""

    @staticmethod
    def disable(fn: Callable[..., Any], *args: object, **kwargs: object) -> Callable[..., Any]:
        """Return the function, which is what disabling comes to outside of torch.compile."""
        return fn

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") and name != "__path__":
            raise AttributeError(name)
        return getattr(import_dynamo(), name)


def skip_dynamo() -> None:
    """Spare a process the import of TorchDynamo, sympy and triton: two seconds on one core.

    torch.optim imports it in every optimizer to exclude its own methods from compilation (torch/_compile.py,
    torch/optim/optimizer.py), also where nothing is ever compiled.
    """
    if NAME not in sys.modules:
        sys.modules[NAME] = _Absent(NAME)


def import_dynamo() -> ModuleType:
    """Return the real TorchDynamo."""
    if isinstance(sys.modules.get(NAME), _Absent):
        del sys.modules[NAME]
    return importlib.import_module(NAME)
