"""The learning-rate range test: the loss over a rising rate (Smith 2017, arXiv 1506.01186)."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
import torch

from fmnist_tune.seeds import derive_seed
from fmnist_tune.training.run import TrainingRun

DIVERGED = 4.0  # times the best loss so far
MIN_STEPS = 10
SMOOTHING = 0.02  # standard deviation of the smoothing, as a share of the logarithmic range


@dataclass(frozen=True)
class Sweep:
    """The rates to try, and for how long.

    Attributes:
        low, high: the first and the last rate.
        steps: number of rates.
        batches_per_step: batches trained on at each rate.
        mode: a constant factor, or a constant difference, between rates.
    """

    low: float = 1e-5
    high: float = 1.0
    steps: int = 100
    batches_per_step: int = 1
    mode: Literal["exponential", "linear"] = "exponential"

    def __post_init__(self) -> None:
        if not 0 < self.low < self.high < math.inf:
            raise ValueError(f"0 < low < high must hold, but low is {self.low:g} and high is {self.high:g}")
        if self.steps < MIN_STEPS or self.batches_per_step < 1:
            raise ValueError(
                f"at least {MIN_STEPS} steps of at least 1 batch are needed, but there are {self.steps} of "
                f"{self.batches_per_step}"
            )

    @cached_property
    def rates(self) -> list[float]:
        """The rates, ascending."""
        spread = np.geomspace if self.mode == "exponential" else np.linspace
        return [float(rate) for rate in spread(self.low, self.high, self.steps)]


@dataclass(frozen=True)
class LrRange:
    """A sweep's result.

    Attributes:
        rates: those trained with before the loss diverged.
        losses: the mean over each rate's batches.
        smoothed: the losses' Gaussian mean over neighbouring rates, on a logarithmic scale.
        steepest: index of the rate at which the smoothed loss falls most steeply over the logarithm of the rate; None
            if it never falls.
        lowest: index of the rate with the lowest smoothed loss.
        diverged: whether the sweep ended before its last rate.
    """

    rates: tuple[float, ...]
    losses: tuple[float, ...]
    smoothed: tuple[float, ...]
    steepest: int | None
    lowest: int
    diverged: bool


def sweep_losses(run: TrainingRun, sweep: Sweep) -> Iterator[float]:
    """Train with rising rates; yield the loss of each rate, and end early once it has diverged.

    Model and optimizer are restored after the last loss, or when the generator is closed.
    """
    model, optimizer = copy.deepcopy(run.model.state_dict()), copy.deepcopy(run.optimizer.state_dict())
    torch.manual_seed(derive_seed(run.seed, "lr_range"))
    batches = _endless(run)
    losses: list[float] = []
    best = math.inf
    try:
        for rate in sweep.rates:
            run.model.train()
            steps = [run.train_batch(next(batches), rate)[0] for _ in range(sweep.batches_per_step)]
            loss = torch.stack(steps).mean().item()
            if not math.isfinite(loss):
                return
            losses.append(loss)
            latest = _smoothed(losses, sweep, len(losses) - 1)
            best = min(best, latest)
            yield loss
            if latest > DIVERGED * best:
                return
    finally:
        run.model.load_state_dict(model)
        run.optimizer.load_state_dict(optimizer)


def read_lr_range(sweep: Sweep, losses: Sequence[float]) -> LrRange:
    """Evaluate a sweep's losses.

    Args:
        sweep: the sweep.
        losses: of its first rates, at least 2; fewer than its steps if they diverged.
    """
    rates = sweep.rates[: len(losses)]
    smoothed = np.array([_smoothed(losses, sweep, i) for i in range(len(losses))])
    lowest = int(smoothed.argmin())
    slopes = np.gradient(smoothed, np.log(rates))[: lowest + 1]
    steepest = int(slopes.argmin())
    return LrRange(
        tuple(rates),
        tuple(losses),
        tuple(float(loss) for loss in smoothed),
        steepest if slopes[steepest] < 0 else None,
        lowest,
        len(losses) < sweep.steps,
    )


def _endless(run: TrainingRun) -> Iterator[torch.Tensor]:
    while True:
        yield from run.draw_batches()


def _smoothed(losses: Sequence[float], sweep: Sweep, i: int) -> float:
    """Return the mean of losses, weighted by the closeness of their rates to the i-th one."""
    sigma = math.log(sweep.high / sweep.low) * max(SMOOTHING, 1 / (sweep.steps - 1))
    logs = np.log(sweep.rates[: len(losses)])
    weights = np.exp(-0.5 * ((logs - logs[i]) / sigma) ** 2)
    return float(weights @ np.asarray(losses) / weights.sum())
