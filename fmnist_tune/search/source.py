"""The runner's interface to its work: the same for a search's trials and a retraining's seeds."""

from __future__ import annotations

import math
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

from fmnist_tune.search.faults import Cause
from fmnist_tune.search.memory import Room
from fmnist_tune.search.messages import MAX_CRASHES, Assignment, TrialReport
from fmnist_tune.search.pace import Fate, Pace
from fmnist_tune.search.running import WORKER_START_S, RunningTrial
from fmnist_tune.search.setbacks import Setbacks
from fmnist_tune.study.hold import Hold

LATER = "can go on later"


class Source(ABC):
    """Trainings for the runner: which one comes next, and what happens to it.

    Attributes:
        running: running trainings, by the assignment's number.
        stop_requested: whether no further epoch may start.
        was_held_back: whether the latest request for an assignment was refused for lack of memory.
    """

    def __init__(
        self, hold: Hold, *, pace: Pace, clock: Callable[[], float] = time.monotonic, epoch_timeout_s: float = math.inf
    ) -> None:
        """Start without running trainings.

        Args:
            hold: of the study that the trainings belong to.
            pace: holds trainings back while memory is short.
            clock: tells the time in seconds.
            epoch_timeout_s: time after which an epoch counts as hanging.
        """
        self.running: dict[int, RunningTrial] = {}
        self.stop_requested = False
        self.was_held_back = False
        self._hold = hold
        self._pace = pace
        self._clock = clock
        self._epoch_timeout_s = epoch_timeout_s
        self._setbacks = Setbacks(pace)
        self._given_up: str | None = None  # why the run stops

    @abstractmethod
    def next_assignment(self) -> Assignment | None:
        """Return what a free worker trains next; None if there is nothing for now or, with nothing running, ever."""

    @abstractmethod
    def on_report(self, report: TrialReport) -> bool:
        """Handle a report; return whether its worker should take the next step."""

    @abstractmethod
    def release(self, number: int, text: str = LATER) -> None:
        """Requeue a running training before all others."""

    @abstractmethod
    def _postpone(self, number: int, reason: str, text: str) -> None:
        """Requeue a running training behind all others."""

    @abstractmethod
    def _fail(self, number: int, reason: str) -> None:
        """Fail a running training for good."""

    @abstractmethod
    def _count_crash(self, number: int, epoch: int) -> int:
        """Count a worker's death; return how many there were in this epoch of this training."""

    @abstractmethod
    def _warn(self, number: int, text: str) -> None:
        """Show a warning about a training that continues."""

    def writing(self) -> AbstractContextManager[None]:
        """Return the context in which all other methods are to be called."""
        return nullcontext()

    def check(self) -> None:
        """Check that the study exists and this process still holds it; called about once a second."""
        self._hold.check()

    def is_over(self, number: int | None) -> bool:
        """Return whether a training (None: a new one) must not start an epoch."""
        return self.stop_requested or self._given_up is not None

    @property
    def is_waiting(self) -> bool:
        """Whether nothing is trained now for lack of memory, but may be later."""
        return not self.running and not self.is_over(None) and not self._pace.allows_another(0)

    def overdue(self) -> list[int]:
        """Return the trainings whose epoch has timed out."""
        return [number for number, trial in self.running.items() if trial.is_overdue(self._epoch_timeout_s)]

    def on_wait(self, number: int) -> None:
        """Note that a training still waits for a worker: its time has not started."""
        trial = self.running.get(number)
        if trial is None:
            return
        trial.wait()
        if trial.warning is None and self._clock() - trial.given_at > WORKER_START_S:
            place = "the Ray cluster has no place for it"
            self._tell_warning(trial, f"its worker has not begun yet: it is still starting, or {place}")

    def on_hang(self, number: int) -> None:
        """Fail an overdue training; the caller kills its worker."""
        self._fail(number, f"no epoch within {self._epoch_timeout_s:g} s (search.epoch_timeout)")

    def on_crash(self, number: int, reason: str, cause: Cause = Cause.TRIAL) -> None:
        """Handle a worker's death: its training is retried, but not indefinitely in the same epoch."""
        if number not in self.running:
            return
        if cause not in (Cause.START, Cause.MEMORY):
            epoch = self.running[number].epoch
            n_crashes = self._count_crash(number, epoch)
            if n_crashes < MAX_CRASHES:
                self.release(number, f"its worker died ({reason}), it goes on")
                return
            reason = f"its worker died {n_crashes} times in epoch {epoch}: {reason}"
        self._on_setback(number, reason, cause)

    def on_lost_workers(self, reason: str) -> None:
        """Handle the loss of all workers, after an unknown one of them was killed for lack of memory."""
        if len(self.running) == 1:
            self._on_setback(next(iter(self.running)), reason, Cause.MEMORY)
        elif self.running:
            how = self._pace.slow_down(len(self.running))
            self.release_all(f"{reason}: a worker was killed, and all are started anew, {how}")

    def release_all(self, text: str = LATER) -> None:
        """Requeue all running trainings, at the end of a run."""
        for number in list(self.running):
            self.release(number, text)

    def _on_setback(self, number: int, reason: str, cause: Cause, room: Room | None = None) -> None:
        """Fail or requeue a training that cannot continue."""
        others = [trial for other, trial in self.running.items() if other != number]
        decision = self._setbacks.decide(
            number,
            reason,
            cause,
            epoch=self.running[number].epoch,
            n_others=len(others),
            n_training=sum(trial.report is not None for trial in others),
            room=room,
        )
        if decision.fate == Fate.FAILS:
            self._fail(number, decision.text)
        elif decision.fate == Fate.AGAIN:
            self.release(number, decision.text)
        else:
            self._postpone(number, reason, decision.text)
        self._given_up = self._given_up or decision.end

    def _tell_warning(self, trial: RunningTrial, warning: str | None) -> None:
        if warning is not None and warning != trial.warning:
            trial.warning = warning
            self._warn(trial.spec.number, warning)
