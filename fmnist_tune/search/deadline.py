"""The time that is left: whether another epoch fits in, and which trials can still be trained to their ends."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from statistics import median

from optuna.trial import FrozenTrial

from fmnist_tune.search.queue import Queue
from fmnist_tune.study.trial_data import facts_of, history_of, looks_of
from fmnist_tune.tasks.config import TaskConfig

MARGIN = 1.1  # of the time that trials are expected to need
RECENT = 20  # a trial that has ended no epoch is expected to take the median of so many latest ones
# Trials that each worker has time to train to their ends before the deadline: where the rate falls towards the end,
# what a trial has before says little about its end, so that it pays to see several. At a constant rate it is one, and a
# third of its time more, since that may be expected too short: by its first look an epoch was to take 28 s, not 37.
FINISHED_ANNEALED, FINISHED_CONSTANT = 2, 4 / 3


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
        self._finishing: set[int] = set()

    def recall(self, trial: FrozenTrial) -> None:
        """Take note of how long a trial that waits took in an earlier run."""
        history, looks = history_of(trial), looks_of(trial)
        if history:
            self.note_epoch(trial.number, history[-1].train_s + history[-1].val_s)
        elif looks and "duration_s" in (facts := facts_of(trial)):
            share = max(looks)
            self.note_look(trial.number, share, facts["duration_s"] / share)

    def note_epoch(self, number: int, seconds: float) -> None:
        """Take note of how long an epoch of a trial took."""
        self._recent_s = [*self._recent_s, seconds][-RECENT:]
        self._latest_s[number] = seconds
        self._begun.pop(number, None)

    def note_look(self, number: int, share: float, epoch_s: float) -> None:
        """Take note of how long, after a look within its first epoch, a trial is expected to take for the whole one."""
        self._latest_s[number] = epoch_s
        self._begun[number] = share

    def fits(self, number: int | None) -> bool:
        """Return whether a trial's epoch, or that of a new one, is expected to end before it."""
        share = 0.0 if number is None else self._begun.get(number, 0.0)
        return (1 - share) * self._epoch_s(number) <= self.left_s

    def is_finishing(self, queue: Queue, number: int) -> bool:
        """Return whether a trial does not pause any more, since it is to reach its end, and still can in time."""
        return number in self._finishing and self._needed_s(queue, number) <= self.left_s

    def next(self, queue: Queue, *, is_full: bool) -> int | None:
        """Return the waiting trial that a free worker takes; None for a new one.

        It is the usual one, or one to be finished: the first of those worth it which can still be trained to its end,
        as late as possible.

        Args:
            queue: the trials that wait.
            is_full: whether every trial of the study has begun.
        """
        if self.at is None:
            return queue.next(is_full=is_full)
        usual = self._usual(queue, is_full=is_full)
        for number in filter(queue.asha.is_promising, queue.ranked()):
            if self._reaches_end(queue, number):
                is_constant = self._config(number).schedule == "constant"
                n_finished = FINISHED_CONSTANT if is_constant else FINISHED_ANNEALED
                until_free_s = self._epochs_to_rung(queue, usual) * self._epoch_s(usual)
                if self.left_s > MARGIN * (n_finished * self._needed_s(queue, number) + until_free_s):
                    break
                self._finishing.add(number)
                return number
        return usual

    def _usual(self, queue: Queue, *, is_full: bool) -> int | None:
        """Return the trial that goes on now, or None for a new one, as if there was time for more.

        One that pauses and could not be trained to its end in time lets others go first, a new one too as long as that
        might: what is trained half is of no use to whoever searches no longer than this.
        """
        usual = queue.next(is_full=is_full, fits=self.fits)
        if usual is None or not queue.is_paused(usual) or self._reaches_end(queue, usual):
            return usual
        other = queue.next(is_full=is_full, fits=lambda number: self.fits(number) and self._reaches_end(queue, number))
        if other is None and (is_full or not self._new_reaches_end()):
            return usual
        return other

    @property
    def left_s(self) -> float:
        """How many seconds are left; infinite without a limit, negative afterwards."""
        return math.inf if self.at is None else self.at - self._clock()

    def _needed_s(self, queue: Queue, number: int) -> float:
        """Return how long a waiting trial is expected to need to its end."""
        return self._epochs_left(queue, number) * self._epoch_s(number)

    def _reaches_end(self, queue: Queue, number: int) -> bool:
        return MARGIN * self._needed_s(queue, number) <= self.left_s

    def _new_reaches_end(self) -> bool:
        """Return whether a new trial may reach its end: as the quickest of the latest ones would, begun now."""
        needed_s = [s * self._config(n).training.epochs for n, s in [*self._latest_s.items()][-RECENT:]]
        return self.fits(None) and MARGIN * min(needed_s, default=0.0) <= self.left_s

    def _epochs_left(self, queue: Queue, number: int) -> float:
        n_epochs: int = self._config(number).training.epochs
        return n_epochs - queue.asha.last_epoch(number)

    def _epochs_to_rung(self, queue: Queue, number: int | None) -> float:
        """Return for how many epochs a worker that takes a trial, or a new one, is expected to keep it."""
        to_rung = queue.asha.epochs_to_rung(number)
        if number is None or not queue.asha.last_epoch(number):  # it may have been killed before its values were drawn
            return to_rung
        return min(to_rung, self._epochs_left(queue, number))

    def _config(self, number: int) -> TaskConfig:
        if number not in self._configs:
            self._configs[number] = self._config_of(number)
        return self._configs[number]

    @property
    def usual_s(self) -> float:
        """How long an epoch is expected to take; 0 where none has been trained."""
        return median(self._recent_s or self._latest_s.values() or [0.0])

    def _epoch_s(self, number: int | None) -> float:
        """Return how long an epoch of a trial, or of a new one, is expected to take."""
        return self.usual_s if number is None else self._latest_s.get(number, self.usual_s)
