"""Keeps what only torch.compile and torch.export use from being imported by those who do neither."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fmnist_tune.stand_ins import bring_in, put_stand_in

DYNAMO = "torch._dynamo"
META_REGISTRATIONS = "torch._meta_registrations"  # never asked itself, but Dynamo computes with what it registers
COMPILER = (META_REGISTRATIONS, DYNAMO)


def skip_compiler() -> None:
    """Spare a process imports that take seconds of a core; of what is imported already it spares nothing.

    `import torch` brings in the operators' shapes for tensors without data, a third of its time (torch/__init__.py,
    torch/_meta_registrations.py), and every optimizer of torch.optim TorchDynamo, sympy and triton (torch/_compile.py),
    also where nothing is ever compiled.
    """
    put_stand_in(META_REGISTRATIONS, COMPILER)
    put_stand_in(
        DYNAMO, COMPILER, graph_break=_do_nothing, disable=_same
    )  # by which torch.optim asks not to be compiled


def import_compiler() -> None:
    """Bring in the real modules, for those who do compile or export."""
    for module in COMPILER:
        bring_in(module)


def _do_nothing(*args: object, **kwargs: object) -> None:
    """As graph_break does outside of torch.compile."""


def _same(fn: Callable[..., Any], *args: object, **kwargs: object) -> Callable[..., Any]:
    """As disabling comes to outside of torch.compile."""
    return fn
