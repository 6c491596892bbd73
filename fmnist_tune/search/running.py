"""A trial that a worker trains, as the driver knows it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from fmnist_tune.search.messages import TrialReport
from fmnist_tune.study.trial_writer import Attempt
from fmnist_tune.training.results import EpochResult
from fmnist_tune.valuation import attributes_of

WORKER_START_S = 60.0  # a worker may need this before its first epoch, on a busy machine


@dataclass
class RunningTrial:
    """A trial that a worker trains.

    Attributes:
        attempt: what was asked for.
        report: its latest report; None before the first.
        trouble: what there was to complain of; None if there was nothing.
        given_at: time.monotonic() of its assignment.
        heard_at: of that or its latest report.
    """

    attempt: Attempt
    report: TrialReport | None = None
    trouble: str | None = None
    given_at: float = field(default_factory=time.monotonic)
    heard_at: float = field(default_factory=time.monotonic)

    @property
    def history(self) -> Sequence[EpochResult]:
        """Its epochs, as far as a worker has told of them."""
        return () if self.report is None else self.report.history

    @property
    def knows_all(self) -> bool:
        """Whether its worker knows all epochs that the study knows; not if it failed before them, or begins anew."""
        return len(self.history) >= len(self.attempt.curve)

    @property
    def last(self) -> EpochResult | None:
        """Its latest epoch; None before the first."""
        return self.history[-1] if self.history else None

    @property
    def n_epochs(self) -> int:
        """How many epochs it has ended, as far as its worker, or before it tells the study, knows."""
        return max(self.attempt.curve, default=0) if self.report is None else len(self.history)

    @property
    def accuracy(self) -> float | None:
        """Its latest validation accuracy, after an epoch or at a look within the first one; None before either."""
        if self.last is not None:
            return self.last.val_accuracy
        if self.report is not None and self.report.look is not None:
            return self.report.look.val_accuracy
        known: list[tuple[float, float]] = [*self.attempt.looks.items(), *self.attempt.curve.items()]
        return max(known)[1] if known else None

    def hear(self, report: TrialReport | None = None) -> None:
        """Take note of a report, or without one that it still waits for a worker: its time has not begun."""
        self.heard_at = time.monotonic()
        self.report = report or self.report

    def is_overdue(self, limit_s: float) -> bool:
        """Tell whether its epoch takes longer than so many seconds."""
        start_s = WORKER_START_S if self.last is None else 0.0
        return time.monotonic() - self.heard_at > limit_s + start_s

    def attributes(self, reason: str | None) -> dict[str, Any]:
        """Return what its study records of it where it may be stopped or, with a reason, where it ends."""
        assert self.report is not None
        look = self.report.look
        spent = self.history if self.history or look is None else (look,)
        train_s = sum(part.train_s for part in self.history)
        attributes = {**self.report.facts, "seed": self.attempt.seed}
        if reason is not None:
            attributes["stop_reason"] = reason
        if not self.knows_all:
            return attributes
        attributes["epochs"] = len(self.history)
        if spent:
            attributes["duration_s"] = round(sum(part.train_s + part.val_s for part in spent), 3)
        attributes |= attributes_of(self.attempt.config, self.history)
        if train_s:
            attributes["images_per_s"] = round(sum(result.n_images for result in self.history) / train_s)
        return attributes
