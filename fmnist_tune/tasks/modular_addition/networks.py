"""Modules over pairs of numbers."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

TOKENS = 3  # a, b, =


class Embeddings(nn.Module):
    """Two embeddings, side by side."""

    def __init__(self, modulus: int, width: int) -> None:
        super().__init__()
        self.a = nn.Embedding(modulus, width)
        self.b = nn.Embedding(modulus, width)

    def forward(self, pairs_N2: Tensor) -> Tensor:
        return torch.cat([self.a(pairs_N2[:, 0]), self.b(pairs_N2[:, 1])], dim=1)


class OneHots(nn.Module):
    """Two one-hots, side by side."""

    def __init__(self, modulus: int) -> None:
        super().__init__()
        self.modulus = modulus

    def forward(self, pairs_N2: Tensor) -> Tensor:
        return F.one_hot(pairs_N2, self.modulus).flatten(1).float()


class OneLayer(nn.Module):
    """Attention from the token = to all three, then a dense layer, each added to the residual stream at =.

    No other part of the layer reaches the scores, so it is not computed. Weights are initialised as by Nanda et al.
    """

    offsets: Tensor

    def __init__(self, modulus: int, *, width: int, heads: int, ff: int) -> None:
        super().__init__()
        self.heads = heads
        self.token = nn.Embedding(modulus + 1, width)
        self.position = nn.Parameter(torch.randn(TOKENS, width) / width**0.5)
        self.query = nn.Linear(width, width, bias=False)
        self.key_value = nn.Linear(width, 2 * width, bias=False)
        self.output = nn.Linear(width, width, bias=False)
        self.dense = nn.Sequential(nn.Linear(width, ff), nn.ReLU(), nn.Linear(ff, width))
        self.scores = nn.Linear(width, modulus, bias=False)
        self.register_buffer("offsets", torch.arange(TOKENS) * (modulus + 1), persistent=False)
        for module in self.modules():
            if isinstance(module, nn.Linear | nn.Embedding):
                nn.init.normal_(module.weight, std=module.weight.shape[1] ** -0.5)

    def forward(self, pairs_N2: Tensor) -> Tensor:
        equals_N1 = pairs_N2.new_full((len(pairs_N2), 1), self.token.num_embeddings - 1)
        ids_NT = torch.cat([pairs_N2, equals_N1], dim=1) + self.offsets
        # Keys and values depend only on token and position: computed once for each of these, not for each pair.
        x_EW = (self.token.weight + self.position[:, None]).flatten(0, 1)
        key_NTW, value_NTW = F.embedding(ids_NT, self.key_value(x_EW)).chunk(2, dim=-1)
        last_1W = x_EW[-1:]
        query_N1W = self.query(last_1W).expand(len(pairs_N2), 1, -1)
        heads = [part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in (query_N1W, key_NTW, value_NTW)]
        attended_NH1D = F.scaled_dot_product_attention(*heads)
        x_NW = last_1W + self.output(attended_NH1D.flatten(1))
        scores_NP: Tensor = self.scores(x_NW + self.dense(x_NW))
        return scores_NP
