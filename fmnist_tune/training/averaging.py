"""A running average of a model's weights: nearly what a falling learning rate would give, at any moment."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import PARAM_LIST, AveragedModel

EVERY = 8  # steps from one update to the next; they are small, and an update reads all weights
ETA = 12  # the latest 1 in 13 of the steps weigh most


class WeightAverage(AveragedModel):
    """Polynomial-decay averaging (Shamir and Zhang 2013, arXiv 1212.1824), of batch norm's statistics too.

    What it remembers is a fixed share of what has been trained, so that it suits any number of epochs.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__(model, multi_avg_fn=_update, use_buffers=True)

    def scored(self, model: nn.Module) -> nn.Module:
        """Return the averaged model, or the trained one before the first update."""
        return self.module if self.n_averaged > 0 else model


@torch.no_grad()
def _update(averaged: PARAM_LIST, latest: PARAM_LIST, n_averaged: Tensor | int) -> None:
    n = int(n_averaged)
    for old, new in zip(averaged, latest, strict=True):
        if old.is_floating_point():
            old.lerp_(new, (ETA + 1) / (n + 1 + ETA))
        else:  # batch norm's count of batches
            old.copy_(new)
