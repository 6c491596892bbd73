"""A running trial, as the driver knows it."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from fmnist_tune.search.messages import TrialReport
from fmnist_tune.study.trial_data import PARTIAL_KEY
from fmnist_tune.study.trial_writer import TrialSpec
from fmnist_tune.tasks.objective import Objective, attributes_of
from fmnist_tune.training.results import EpochResult, Evaluation

WORKER_START_S = 60.0  # a worker may need this before its first epoch, on a busy machine


@dataclass
class RunningTrial:
    """A trial that a worker trains.

    Attributes:
        spec: what is trained.
        clock: tells the time in seconds.
        history: its epochs, as the study knows them and its workers have told since.
        n_noted: how many of them the study knows.
        partial: milestones within the first epoch that its worker knows of.
        report: its latest report; None before the first.
        warning: the latest warning; None without one.
        curve: validation accuracy by epoch, before and since its assignment.
        given_at: by `clock`, when it was assigned.
        heard_at: when it was assigned or last reported.
    """

    spec: TrialSpec
    clock: Callable[[], float] = time.monotonic
    history: list[EpochResult] = field(init=False)
    n_noted: int = field(init=False)
    partial: tuple[float, ...] = ()
    report: TrialReport | None = None
    warning: str | None = None
    curve: dict[float, float] = field(init=False)
    given_at: float = field(init=False)
    heard_at: float = field(init=False)

    def __post_init__(self) -> None:
        self.history = list(self.spec.history)
        self.curve = dict(self.spec.curve)
        self.n_noted = len(self.history)
        self.given_at = self.heard_at = self.clock()

    @property
    def last(self) -> EpochResult | None:
        """Its latest epoch; None before the first."""
        return self.history[-1] if self.history else None

    @property
    def n_epochs(self) -> int:
        """Epochs ended, by its worker's latest report or, before one, by the study."""
        return int(max(self.spec.curve, default=0)) if self.report is None else self.report.n_epochs

    @property
    def accuracy(self) -> float | None:
        """Its latest validation accuracy; None before the first."""
        known = [*self.curve.items()]  # an atomic copy: the screen's thread reads this
        return max(known)[1] if known else None

    @property
    def epoch(self) -> int:
        """The epoch under way."""
        return 1 + (self.n_epochs or int(max(self.spec.curve, default=0)))

    @property
    def new_epochs(self) -> Sequence[EpochResult]:
        """Its epochs that are not recorded yet."""
        return self.history[self.n_noted :]

    def hear(self, report: TrialReport) -> list[Evaluation]:
        """Add a report; return its new evaluations.

        Epochs trained again after a lost checkpoint keep their first results. If the study has only their accuracies,
        those are kept, since another training may not reproduce them to the last digit.
        """
        self.heard_at = self.clock()
        self.report = report
        known, epochs = self.spec.curve, (r for r in report.epochs if r.epoch > len(self.history))
        new = [replace(r, val_accuracy=known.get(r.epoch, r.val_accuracy)) for r in epochs]
        self.history += new
        found = [*new, *(partial for partial in report.evaluations if partial.epoch < 1)]
        self.curve |= {evaluation.epoch: evaluation.val_accuracy for evaluation in found}
        return found

    def wait(self) -> None:
        """Note that it still waits for a worker: its time has not started."""
        self.heard_at = self.clock()

    def is_overdue(self, limit_s: float) -> bool:
        """Return whether its epoch takes longer than `limit_s` seconds."""
        start_s = WORKER_START_S if self.report is None else 0.0
        return self.clock() - self.heard_at > limit_s + start_s

    def metadata(self, reason: str | None, objective: Objective) -> dict[str, Any]:
        """Return the metadata of its training, including `reason` if it has ended."""
        assert self.report is not None
        spent: Sequence[Evaluation] = self.history or self.report.evaluations[-1:]
        train_s = sum(part.train_s for part in self.history)
        metadata = {**self.report.metadata, "seed": self.spec.seed, "epochs": len(self.history)}
        partial = [[epoch, accuracy] for epoch, accuracy in self.curve.items() if epoch < 1]
        if partial:
            metadata[PARTIAL_KEY] = partial
        if reason is not None:
            metadata["stop_reason"] = reason
        if spent:
            metadata["duration_s"] = round(sum(part.train_s + part.val_s for part in spent), 3)
        metadata |= attributes_of(objective, self.spec.config, self.history)
        if train_s:
            metadata["images_per_s"] = round(sum(result.n_images for result in self.history) / train_s)
        return metadata
