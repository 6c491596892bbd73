"""Models of pairs of numbers: `PairModel` is what a new one is derived from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field, model_validator

from fmnist_tune.models.mlp import Dense
from fmnist_tune.models.section import Model
from fmnist_tune.registry import SectionRegistry
from fmnist_tune.section import Width

if TYPE_CHECKING:
    from torch import nn


class PairModel(Model):
    """A model of pairs of numbers: derive from it, give it fields, and build it."""

    def build(self, modulus: int) -> nn.Module:
        """Build it with random numbers from PyTorch's global generator; imports torch here, not above.

        Returns:
            Module from int64 pairs (N, 2) to unnormalised scores (N, modulus).
        """
        raise NotImplementedError


class PairMlp(Dense, PairModel):
    """Dense layers over two one-hots, each followed by norm, activation and dropout."""

    name: Literal["mlp"]

    def build(self, modulus: int) -> nn.Module:
        from torch import nn

        from fmnist_tune.tasks.modular_addition.networks import OneHots

        return nn.Sequential(OneHots(modulus), self.layers(2 * modulus, modulus))


class EmbeddingMlp(Dense, PairModel):
    """Dense layers over two embeddings, one of a and one of b.

    Attributes:
        embedding: the dimension of each embedding.
    """

    name: Literal["embedding_mlp"]
    embedding: Width = 128

    def describe(self) -> str:
        return f"{super().describe()} over two embeddings of {self.embedding} dimensions"

    def build(self, modulus: int) -> nn.Module:
        from torch import nn

        from fmnist_tune.tasks.modular_addition.networks import Embeddings

        return nn.Sequential(Embeddings(modulus, self.embedding), self.layers(2 * self.embedding, modulus))


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


PAIR_MODELS: SectionRegistry[PairModel] = SectionRegistry(
    base=PairModel,
    built_in={"embedding_mlp": EmbeddingMlp, "transformer": Transformer, "mlp": PairMlp},
    group="fmnist_tune.pair_models",
    needs=("build",),
)
