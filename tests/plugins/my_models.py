"""A model from outside: what one who has nothing but the installed package writes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from fmnist_tune.models import ImageSpec, ModelSection

if TYPE_CHECKING:
    from torch import nn


class Wide(ModelSection):
    """One hidden layer with a gate.

    Attributes:
        width: units of the hidden layer.
        gate: what follows it.
        rank: of its matrix; None for full.
    """

    width: Annotated[int, Field(ge=1, le=4096)] = 16
    gate: Literal["relu", "tanh"] = "relu"
    rank: Annotated[int, Field(ge=1)] | None = None

    def check(self, spec: ImageSpec, batch_size: int) -> None:
        if self.width > spec.n_values:
            raise ValueError(f"width {self.width} is more than the {spec.n_values} values of an image")

    def if_none(self) -> dict[str, Any]:
        return {"rank": "full"}

    def describe(self) -> str:
        return f"one hidden layer of {self.width} {self.gate} units"

    def build(self, spec: ImageSpec) -> nn.Module:
        from torch import nn

        gate = nn.ReLU() if self.gate == "relu" else nn.Tanh()
        if self.rank is None:
            layers = [nn.Linear(spec.n_values, self.width)]
        else:
            layers = [nn.Linear(spec.n_values, self.rank, bias=False), nn.Linear(self.rank, self.width)]
        return nn.Sequential(nn.Flatten(), *layers, gate, nn.Linear(self.width, spec.n_classes))
