"""A trial that a worker trains, as the driver knows it."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from fmnist_tune.search.messages import TrialReport
from fmnist_tune.study.trial_data import LOOKS_KEY
from fmnist_tune.study.trial_writer import TrialSpec
from fmnist_tune.tasks.objective import Objective
from fmnist_tune.training.results import EpochResult

WORKER_START_S = 60.0  # a worker may need this before its first epoch, on a busy machine


@dataclass
class RunningTrial:
    """A trial that a worker trains.

    Attributes:
        attempt: what was asked for.
        clock: tells the time in seconds.
        history: its epochs, as the study knows them and its workers have told since.
        n_noted: how many of them the study knows.
        report: its latest report; None before the first.
        trouble: what there was to complain of; None if there was nothing.
        looks: validation accuracy by the share of the first epoch, since it was given to the worker and before.
        given_at: by the clock, of its assignment.
        heard_at: of that or its latest report.
    """

    attempt: TrialSpec
    clock: Callable[[], float] = time.monotonic
    history: list[EpochResult] = field(init=False)
    n_noted: int = field(init=False)
    report: TrialReport | None = None
    trouble: str | None = None
    looks: dict[float, float] = field(default_factory=dict)
    given_at: float = field(init=False)
    heard_at: float = field(init=False)

    def __post_init__(self) -> None:
        self.history = list(self.attempt.history)
        self.n_noted = len(self.history)
        self.given_at = self.heard_at = self.clock()

    @property
    def last(self) -> EpochResult | None:
        """Its latest epoch; None before the first."""
        return self.history[-1] if self.history else None

    @property
    def n_epochs(self) -> int:
        """How many epochs it has ended, as far as its worker, or before it tells the study, knows."""
        return max(self.attempt.curve, default=0) if self.report is None else self.report.n_epochs

    @property
    def accuracy(self) -> float | None:
        """Its latest validation accuracy, after an epoch or at a look within the first one; None before either."""
        latest = {result.epoch: result.val_accuracy for result in self.history[-1:]}
        known: list[tuple[float, float]] = [*self.looks.items(), *self.attempt.curve.items(), *latest.items()]
        return max(known)[1] if known else None

    @property
    def epoch(self) -> int:
        """The epoch that it is in."""
        return 1 + (self.n_epochs or len(self.attempt.curve))

    @property
    def new_epochs(self) -> Sequence[EpochResult]:
        """Its epochs that the study does not know yet."""
        return self.history[self.n_noted :]

    def hear(self, report: TrialReport) -> list[EpochResult]:
        """Take in a report; returns its new epochs.

        Those that are trained again, since their checkpoint was lost, stay as they were; those of which the study has
        no more than the accuracy keep that, which another training may not reproduce to the last digit.
        """
        self.heard_at = self.clock()
        self.report = report
        known, epochs = self.attempt.curve, (r for r in report.epochs if r.epoch > len(self.history))
        new = [replace(r, val_accuracy=known.get(r.epoch, r.val_accuracy)) for r in epochs]
        self.history += new
        if report.look is not None:
            self.looks[report.look.share] = report.look.val_accuracy
        return new

    def wait(self) -> None:
        """Take note that it still waits for a worker: its time has not begun."""
        self.heard_at = self.clock()

    def is_overdue(self, limit_s: float) -> bool:
        """Return whether its epoch takes longer than so many seconds."""
        start_s = WORKER_START_S if self.report is None else 0.0
        return self.clock() - self.heard_at > limit_s + start_s

    def facts(self, reason: str | None, objective: Objective) -> dict[str, Any]:
        """Return the facts of its training; with why it ended where it does."""
        assert self.report is not None
        look = self.report.look
        spent = self.history if self.history or look is None else (look,)
        train_s = sum(part.train_s for part in self.history)
        facts = {**self.report.facts, "seed": self.attempt.seed, "epochs": len(self.history)}
        if self.looks:
            facts[LOOKS_KEY] = [list(look) for look in self.looks.items()]
        if reason is not None:
            facts["stop_reason"] = reason
        if spent:
            facts["duration_s"] = round(sum(part.train_s + part.val_s for part in spent), 3)
        facts |= objective.attributes_of(self.attempt.config, self.history)
        if train_s:
            facts["images_per_s"] = round(sum(result.n_images for result in self.history) / train_s)
        return facts
