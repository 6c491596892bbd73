"""What a model of pairs is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fmnist_tune.models.section import Model

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
