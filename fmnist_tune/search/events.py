"""What the driver tells those who watch a search."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from fmnist_tune.search.messages import TrialReport
from fmnist_tune.training.results import EpochResult


@dataclass(frozen=True)
class Event:
    """Something that people want to see.

    Attributes:
        kind: epoch, complete, paused, pruned, failed, interrupted or warning.
        result: the trial's latest epoch.
        value: of a complete trial.
    """

    kind: str
    number: int
    text: str
    result: EpochResult | None = None
    value: float | None = None


@dataclass
class Totals:
    """Work of this run alone.

    Attributes:
        clock: tells the time in seconds.
        first_step_at: by the clock, when the first training began, as far as its report tells; None before.
        epochs: trained.
        train_s: in training and validation, summed over trials.
    """

    clock: Callable[[], float] = time.monotonic
    first_step_at: float | None = None
    epochs: int = 0
    train_s: float = 0.0

    def add(self, report: TrialReport) -> None:
        """Count what a worker has just trained; not what it trained for a driver that died before it heard of it."""
        if not report.spent_s:
            return
        if self.first_step_at is None:
            self.first_step_at = self.clock() - report.spent_s
        self.epochs += len(report.epochs)
        self.train_s += report.spent_s
