"""What becomes of trials that hang, crash, fail or are put back: told to the study, and decided with others in mind."""

from __future__ import annotations

from collections.abc import Callable

from fmnist_tune.search.events import Event
from fmnist_tune.search.faults import Cause
from fmnist_tune.search.ledger import Ledger
from fmnist_tune.search.memory import Room
from fmnist_tune.search.messages import MAX_CRASHES
from fmnist_tune.search.pace import Fate, Pace
from fmnist_tune.search.planner import Planner
from fmnist_tune.search.running import WORKER_START_S, RunningTrial
from fmnist_tune.search.setbacks import Setbacks
from fmnist_tune.study.record import StudyRecord
from fmnist_tune.study.trial_writer import HELD_KEY, TrialWriter


class Supervisor:
    """Looks after the trials that run.

    Attributes:
        record: the study.
        writer: of its trials.
        running: the trials that workers train, by number.
    """

    def __init__(
        self, record: StudyRecord, ledger: Ledger, planner: Planner, pace: Pace, clock: Callable[[], float]
    ) -> None:
        self.record = record
        self.writer: TrialWriter = ledger.writer
        self.running: dict[int, RunningTrial] = ledger.running
        self._ledger = ledger
        self._planner = planner
        self._pace = pace
        self._clock = clock
        self._setbacks = Setbacks(pace)
        self._given_up: str | None = None
        # Trials that had to wait behind all others, and have trained nothing since.
        self._held = {t.number for t in record.trials if t.system_attrs.get(HELD_KEY) is not None}

    def on_wait(self, number: int) -> None:
        """Take note that a trial still waits for a worker: its time has not begun."""
        trial = self.running.get(number)
        if trial is None:
            return
        trial.wait()
        if trial.trouble is None and self._clock() - trial.given_at > WORKER_START_S:
            self._complain(
                trial, "its worker has not begun yet: it is still starting, or the Ray cluster has no place for it"
            )

    def _complain(self, trial: RunningTrial, text: str | None) -> None:
        if text is not None and text != trial.trouble:
            trial.trouble = text
            self._ledger.tell(Event("trouble", trial.attempt.number, text))

    def overdue(self) -> list[int]:
        """Return the trials whose epoch takes longer than the search allows."""
        limit_s = self.record.space.settings.search.epoch_timeout
        return [number for number, trial in self.running.items() if trial.is_overdue(limit_s)]

    def on_hang(self, number: int) -> None:
        """Fail a trial that is overdue; its worker is to be killed."""
        limit = self.record.space.settings.search.epoch_timeout
        self._fail(number, f"no epoch within {limit:g} s (search.epoch_timeout)")

    def on_crash(self, number: int, reason: str, cause: Cause = Cause.TRIAL) -> None:
        """Take note that a trial's worker died; the trial is tried again, but not for ever in the same epoch."""
        if number not in self.running:
            return
        if cause not in (Cause.START, Cause.MEMORY):
            epoch = self.running[number].epoch
            n_crashes = self.writer.count_crash(number, epoch)
            if n_crashes < MAX_CRASHES:
                self.release(number, f"its worker died ({reason}), it goes on")
                return
            reason = f"its worker died {n_crashes} times in epoch {epoch}: {reason}"
        self._on_setback(number, reason, cause)

    def on_lost_workers(self, reason: str) -> None:
        """Take note that all workers are lost since one of them, nobody knows which, was killed for want of memory."""
        if len(self.running) == 1:
            self._on_setback(next(iter(self.running)), reason, Cause.MEMORY)
        elif self.running:
            how = self._pace.slow_down(len(self.running))
            self.release_all(f"{reason}: a worker was killed, and all are started anew, {how}")

    def _on_progress(self, number: int) -> None:
        self._setbacks.on_progress()
        if number in self._held:
            self._held.discard(number)
            self.writer.note_held(number, None)

    def _on_setback(self, number: int, reason: str, cause: Cause, room: Room | None = None) -> None:
        """Let a trial that cannot go on fail, or wait."""
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
            self._held.add(number)
            self.writer.note_held(number, reason)
            self._planner.hold(number)
            self._ledger.interrupt(number, decision.text)
        self._given_up = self._given_up or decision.end

    def release(self, number: int, text: str = "can go on later") -> None:
        """Put a running trial back into the study's queue."""
        self._planner.requeue(number)
        self._ledger.interrupt(number, text)

    def _fail(self, number: int, reason: str) -> None:
        self._planner.end(number)
        self._ledger.fail(number, reason)

    def release_all(self, text: str = "can go on later") -> None:
        """Put all running trials back, at the end of a run."""
        for number in list(self.running):
            self.release(number, text)
