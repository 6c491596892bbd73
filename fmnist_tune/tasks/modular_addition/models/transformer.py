"""One layer of a transformer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field, model_validator

from fmnist_tune.section import Width
from fmnist_tune.tasks.modular_addition.models.section import PairModel

if TYPE_CHECKING:
    from torch import nn


class Transformer(PairModel):
    """One layer without layer norm over the tokens a, b and =, read at the last (Nanda et al. 2023, arXiv 2301.05217).

    Attributes:
        width: of the residual stream.
        heads: of the attention; they divide the width among them.
        ff: units of the dense layer after the attention.
    """

    name: Literal["transformer"]
    width: Width = 128
    heads: Annotated[int, Field(ge=1, le=64)] = 4
    ff: Width = 512

    @model_validator(mode="after")
    def _divisible(self) -> Transformer:
        if self.width % self.heads:
            raise ValueError(f"heads {self.heads} do not divide width {self.width}")
        return self

    def describe(self) -> str:
        return f"a transformer of one layer of width {self.width} with {self.heads} heads"

    def build(self, modulus: int) -> nn.Module:
        from fmnist_tune.tasks.modular_addition.networks import OneLayer

        return OneLayer(modulus, width=self.width, heads=self.heads, ff=self.ff)
