"""The driver's events and totals, for display."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from fmnist_tune.search.messages import TrialReport
from fmnist_tune.training.results import EpochResult


@dataclass(frozen=True)
class Event:
    """An event in a search, for display.

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
    """The work of this run alone.

    Attributes:
        clock: tells the time in seconds.
        first_step_at: by `clock`, when the first training began, derived from its report; None before.
        epochs: number of epochs trained.
        train_s: seconds of training and validation, summed over trials.
    """

    clock: Callable[[], float] = time.monotonic
    first_step_at: float | None = None
    epochs: int = 0
    train_s: float = 0.0

    def add(self, report: TrialReport) -> None:
        """Count what a worker has just trained; epochs trained for an earlier driver, which died, do not count."""
        if not report.spent_s:
            return
        if self.first_step_at is None:
            self.first_step_at = self.clock() - report.spent_s
        self.epochs += len(report.epochs)
        self.train_s += report.spent_s
