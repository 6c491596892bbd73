"""Optimizers and learning-rate schedules by name."""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import nn

from fmnist_tune.config.schema import Optimizer

WARM_UP = 0.3  # share of the steps; OneCycleLR's default
ADAM_BETAS = (0.9, 0.999)  # torch.optim's defaults
START_DIV, END_DIV = 25.0, 1e4  # OneCycleLR's defaults: starts at lr / 25, ends at lr / 25 / 1e4


def build_optimizer(parameters: Iterable[nn.Parameter], optimizer: Optimizer) -> torch.optim.Optimizer:
    """Build torch.optim's optimizer, fused if possible (the same update in one pass over memory)."""
    lr, weight_decay, momentum = optimizer.lr, optimizer.weight_decay, optimizer.momentum
    betas = ADAM_BETAS if optimizer.betas is None else (optimizer.betas[0], optimizer.betas[1])
    match optimizer.name:
        case "sgd":
            return torch.optim.SGD(
                parameters,
                lr=lr,
                momentum=momentum,
                nesterov=optimizer.nesterov,
                weight_decay=weight_decay,
                fused=True,
            )
        case "adam":
            return torch.optim.Adam(parameters, lr=lr, betas=betas, weight_decay=weight_decay, fused=True)
        case "adamw":
            return torch.optim.AdamW(parameters, lr=lr, betas=betas, weight_decay=weight_decay, fused=True)
        case "rmsprop":
            return torch.optim.RMSprop(parameters, lr=lr, momentum=momentum, weight_decay=weight_decay)


def lr_factor(schedule: str, progress: float) -> float:
    """Return the factor of the learning rate.

    Args:
        schedule: constant, cosine, one_cycle or step.
        progress: steps done as a fraction of all steps, in [0, 1).
    """
    match schedule:
        case "cosine":  # SGDR without restarts, Loshchilov and Hutter 2017
            return 0.5 * (1 + math.cos(math.pi * progress))
        case "one_cycle":  # Smith and Topin 2018, as torch.optim.lr_scheduler.OneCycleLR anneals it
            if progress < WARM_UP:
                return _cosine_between(1 / START_DIV, 1.0, progress / WARM_UP)
            return _cosine_between(1.0, 1 / START_DIV / END_DIV, (progress - WARM_UP) / (1 - WARM_UP))
        case "step":
            return 1.0 if progress < 0.5 else 0.1 if progress < 0.75 else 0.01
        case _:
            return 1.0


def _cosine_between(start: float, end: float, progress: float) -> float:
    return end + (start - end) * 0.5 * (1 + math.cos(math.pi * progress))
