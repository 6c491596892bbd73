"""Dense layers over pairs of numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from fmnist_tune.models.mlp import Dense
from fmnist_tune.section import Width
from fmnist_tune.tasks.modular_addition.models.section import PairModel

if TYPE_CHECKING:
    from torch import nn


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
