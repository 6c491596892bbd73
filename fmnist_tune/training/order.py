"""Which training images an epoch sees, and in which order."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from fmnist_tune.tasks.images.config import ImageConfig


def epoch_sampler(config: ImageConfig, y_N: Tensor) -> Callable[[], Tensor]:
    """Return a function that draws an epoch's indices of training images, in the order of training.

    Args:
        config: says what is done about the imbalance of classes.
        y_N: the training images' labels, on the device of the indices.
    """
    mitigation = config.data.mitigation
    if mitigation == "weighted_sampler":
        weights_N = (1 / torch.bincount(y_N, minlength=config.images.n_classes).float())[y_N]
        return lambda: torch.multinomial(weights_N, len(y_N), replacement=True)
    if mitigation == "oversample":
        return lambda: _oversampled(y_N)
    return lambda: torch.randperm(len(y_N), device=y_N.device)


def batches_of(order: Tensor, batch_size: int) -> list[Tensor]:
    """Return an epoch's indices batch by batch; without a last batch of one image, for batch norm needs 2."""
    batches = order.split(batch_size)
    return [batch for batch in batches if len(batch) > 1 or batch_size == 1 or len(order) == 1]


def _oversampled(y_N: Tensor) -> Tensor:
    """Return a shuffled order in which every class is as frequent as the most frequent, by drawing again from it."""
    largest = int(torch.bincount(y_N).max())
    parts = []
    for label in torch.unique(y_N):
        own = torch.nonzero(y_N == label)[:, 0]
        again = own[torch.randint(len(own), (largest - len(own),), device=y_N.device)]
        parts.append(torch.cat([own, again]))
    order = torch.cat(parts)
    return order[torch.randperm(len(order), device=y_N.device)]
