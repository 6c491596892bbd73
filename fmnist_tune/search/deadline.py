"""The time left, and whether another epoch fits into it."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from statistics import median

from optuna.trial import FrozenTrial

from fmnist_tune.study.trial_data import history_of, latest_of, metadata_of
from fmnist_tune.tasks.config import TaskConfig

RECENT = 20  # epochs whose median is expected of a trial that has ended none


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
        at: time by which every epoch should have ended; None for no limit.
    """

    def __init__(
        self,
        at: float | None,
        config_of: Callable[[int], TaskConfig],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Set the deadline; `config_of` returns a trial's configuration by its number."""
        self.at = at
        self._clock = clock
        self._config_of = config_of
        self._configs: dict[int, TaskConfig] = {}
        self._recent_s: list[float] = []
        self._latest_s: dict[int, float] = {}
        self._begun: dict[int, float] = {}  # share of the first epoch, by trial

    def recall(self, trial: FrozenTrial) -> None:
        """Note the epoch time of a waiting trial from an earlier run."""
        measured = measured_epoch_s(trial)
        if measured is not None:
            self.note(trial.number, *measured)

    def note(self, number: int, epoch: float, epoch_s: float) -> None:
        """Note how long a trial's epoch took or, judged by its first part, is expected to take."""
        self._latest_s[number] = epoch_s
        if epoch < 1:
            self._begun[number] = epoch
        else:
            self._recent_s = [*self._recent_s, epoch_s][-RECENT:]
            self._begun.pop(number, None)

    def fits(self, number: int | None) -> bool:
        """Return whether the next epoch of a trial (None: a new one) is expected to end before the deadline."""
        share = 0.0 if number is None else self._begun.get(number, 0.0)
        return (1 - share) * self.epoch_s(number) <= self.left_s

    @property
    def left_s(self) -> float:
        """Seconds until the deadline; infinite without one, negative after it."""
        return math.inf if self.at is None else self.at - self._clock()

    def epoch_s(self, number: int | None) -> float:
        """Return the expected seconds of an epoch of a trial (None: a new one)."""
        known = None if number is None else self._latest_s.get(number)
        return self.usual_s if known is None else known

    def quickest_s(self) -> float:
        """Return the seconds of a whole trial as quick as the quickest of the latest ones; 0 before any."""
        return min((s * self.n_epochs(n) for n, s in [*self._latest_s.items()][-RECENT:]), default=0.0)

    def n_epochs(self, number: int) -> int:
        """Return the configured epochs of a trial."""
        n: int = self.config(number).training.epochs
        return n

    def config(self, number: int) -> TaskConfig:
        """Return a trial's configuration."""
        if number not in self._configs:
            self._configs[number] = self._config_of(number)
        return self._configs[number]

    @property
    def usual_s(self) -> float:
        """Expected seconds of an epoch; 0 before any was trained."""
        return median(self._recent_s or self._latest_s.values() or [0.0])
