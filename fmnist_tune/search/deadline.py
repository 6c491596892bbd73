"""The time that is left, and whether another epoch fits in."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from statistics import median

from optuna.trial import FrozenTrial

from fmnist_tune.study.trial_data import history_of, latest_of, metadata_of
from fmnist_tune.tasks.config import TaskConfig

RECENT = 20  # a trial that has ended no epoch is expected to take the median of so many latest ones


def measured_epoch_s(trial: FrozenTrial) -> tuple[float, float] | None:
    """Return the latest epoch of which a study knows the seconds, or that within the first one, and the seconds."""
    history, latest = history_of(trial), latest_of(trial)
    if history:
        return history[-1].epoch, history[-1].epoch_s
    if latest is not None and latest.epoch < 1 and "duration_s" in (metadata := metadata_of(trial)):
        return latest.epoch, metadata["duration_s"] / latest.epoch
    return None


class Deadline:
    """When a run ends, and how long epochs take.

    Attributes:
        at: by the clock, after which no epoch should be under way; None for no limit.
    """

    def __init__(
        self,
        at: float | None,
        config_of: Callable[[int], TaskConfig],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Take note of the time, and of how to learn a trial's configuration."""
        self.at = at
        self._clock = clock
        self._config_of = config_of
        self._configs: dict[int, TaskConfig] = {}
        self._recent_s: list[float] = []
        self._latest_s: dict[int, float] = {}
        self._begun: dict[int, float] = {}  # the share of the first epoch that trials have trained

    def recall(self, trial: FrozenTrial) -> None:
        """Take note of how long a trial that waits took in an earlier run."""
        measured = measured_epoch_s(trial)
        if measured is not None:
            self.note(trial.number, *measured)

    def note(self, number: int, epoch: float, epoch_s: float) -> None:
        """Take note of how long an epoch of a trial took or, from its first part, is expected to take."""
        self._latest_s[number] = epoch_s
        if epoch < 1:
            self._begun[number] = epoch
        else:
            self._recent_s = [*self._recent_s, epoch_s][-RECENT:]
            self._begun.pop(number, None)

    def fits(self, number: int | None) -> bool:
        """Return whether a trial's epoch, or that of a new one, is expected to end before it."""
        share = 0.0 if number is None else self._begun.get(number, 0.0)
        return (1 - share) * self.epoch_s(number) <= self.left_s

    @property
    def left_s(self) -> float:
        """How many seconds are left; infinite without a limit, negative afterwards."""
        return math.inf if self.at is None else self.at - self._clock()

    def epoch_s(self, number: int | None) -> float:
        """Return how long an epoch of a trial, or of a new one, is expected to take."""
        return self.usual_s if number is None else self._latest_s.get(number, self.usual_s)

    def quickest_s(self) -> float:
        """Return how long a new trial takes that is as quick as the quickest of the latest ones; 0 before any."""
        return min((s * self.n_epochs(n) for n, s in [*self._latest_s.items()][-RECENT:]), default=0.0)

    def n_epochs(self, number: int) -> int:
        """Return how many epochs a trial's training has."""
        n: int = self.config(number).training.epochs
        return n

    def config(self, number: int) -> TaskConfig:
        """Return a trial's configuration."""
        if number not in self._configs:
            self._configs[number] = self._config_of(number)
        return self._configs[number]

    @property
    def usual_s(self) -> float:
        """How long an epoch is expected to take; 0 where none has been trained."""
        return median(self._recent_s or self._latest_s.values() or [0.0])
