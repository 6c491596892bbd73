"""What a training minimises."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from fmnist_tune.tasks.images.config import ImageConfig


def criterion(config: ImageConfig, y_N: Tensor) -> Callable[[Tensor, Tensor], Tensor]:
    """Return the loss of a batch's scores (B, 10) and labels (B,), as a scalar.

    Args:
        config: says which, and whether rare classes weigh more.
        y_N: all training images' labels.
    """
    smoothing = config.training.label_smoothing
    weight = None
    if config.data.mitigation == "class_weights":
        n_classes = config.images.n_classes
        counts = torch.bincount(y_N, minlength=n_classes).clamp(min=1)
        weight = len(y_N) / (n_classes * counts.float())
    if config.training.loss == "mse":
        return lambda logits, y: (squared_error(logits, y, smoothing) * (1 if weight is None else weight[y])).mean()
    return lambda logits, y: F.cross_entropy(logits, y, weight, label_smoothing=smoothing)


def plain_loss(config: ImageConfig, logits_NK: Tensor, y_N: Tensor) -> float:
    """Return the mean loss of scores and labels, without label smoothing or weights."""
    is_entropy = config.training.loss == "cross_entropy"
    return (F.cross_entropy(logits_NK, y_N) if is_entropy else squared_error(logits_NK, y_N).mean()).item()


def squared_error(logits_NK: Tensor, y_N: Tensor, smoothing: float = 0.0) -> Tensor:
    """Return each image's mean squared distance between softmax output and (smoothed) one-hot label, (N,)."""
    n_classes = logits_NK.shape[1]
    target = F.one_hot(y_N, n_classes) * (1 - smoothing) + smoothing / n_classes
    return (logits_NK.softmax(1) - target).square().mean(1)


def accuracy(scores_NK: Tensor, labels_N: Tensor) -> float:
    """Return the share of labels with the highest score, exact: a float32 mean would be 0.9387999773025513."""
    return int((scores_NK.argmax(1) == labels_N).sum()) / len(labels_N)
