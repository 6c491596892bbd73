"""The driver's decisions: which trial comes next, and what becomes of each report; knows neither Ray nor the screen."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from concurrent.futures import Executor

from optuna.trial import TrialState

from fmnist_tune.search.deadline import Deadline
from fmnist_tune.search.events import Event, Totals
from fmnist_tune.search.faults import Cause
from fmnist_tune.search.ledger import Ledger
from fmnist_tune.search.memory import Room
from fmnist_tune.search.messages import MAX_CRASHES, Assignment, TrialReport
from fmnist_tune.search.pace import Fate, Pace
from fmnist_tune.search.planner import Planner
from fmnist_tune.search.running import WORKER_START_S, RunningTrial
from fmnist_tune.search.setbacks import Setbacks
from fmnist_tune.study.record import StudyRecord
from fmnist_tune.study.summary import common_failure
from fmnist_tune.study.trial_data import MAX_EPOCHS
from fmnist_tune.study.trial_writer import HELD_KEY, TrialWriter, UnbuildableError


class Driver:
    """Between a study and the workers: hands out trials, takes in reports, writes every outcome into the study."""

    def __init__(
        self,
        record: StudyRecord,
        *,
        deadline: float | None,
        n_threads: int,
        n_workers: int = 1,
        on_event: Callable[[Event], None],
        pace: Pace | None = None,
        clock: Callable[[], float] = time.monotonic,
        executor: Executor | None = None,
    ) -> None:
        """Take over a study whose lock is held.

        Args:
            record: the study.
            deadline: by the clock, after which no epoch should be under way; None for no limit.
            n_threads: of each trial.
            n_workers: how many trials are trained at a time.
            on_event: told what happens.
            pace: holds trials back while memory is short; None for one that watches this machine's.
            clock: tells the time in seconds; another one than the real one in a simulation.
            executor: writes the curves for TensorBoard, one after the other; None to write them at once.
        """
        self.record = record
        self.totals = Totals(clock)
        self.stop_requested = False
        self.was_held_back = False  # whether lack of memory is why the latest worker that asked got no trial
        self._n_threads = n_threads
        self._on_event = on_event
        self._pace = pace or Pace(clock=clock)
        self._clock = clock
        self._setbacks = Setbacks(self._pace)
        self._given_up: str | None = None
        self._ledger = Ledger(record, on_event, clock, executor)
        self.deadline = Deadline(deadline, lambda number: self.writer.attempt(number).config.training, clock)
        self._planner = Planner(record, self.deadline, n_workers=n_workers)
        # Trials that had to wait behind all others, and have trained nothing since.
        self._held = {t.number for t in record.trials if t.system_attrs.get(HELD_KEY) is not None}

    @property
    def writer(self) -> TrialWriter:
        """Writes the study's trials."""
        return self._ledger.writer

    @property
    def running(self) -> dict[int, RunningTrial]:
        """The trials that workers train, by number."""
        return self._ledger.running

    @property
    def n_paused(self) -> int:
        """How many trials wait at their milestones."""
        return self._planner.n_paused

    def is_over(self, number: int | None) -> bool:
        """Return whether a trial, or a new one, must not begin an epoch: the search is to stop, or it would not end."""
        return self.stop_requested or self._end_reason is not None or not self.deadline.fits(number)

    @property
    def _end_reason(self) -> str | None:
        return self._given_up or self._planner.trouble

    @property
    def fits_anything(self) -> bool:
        """Whether an epoch of anything that could be trained next is expected to end before the deadline."""
        waiting: list[int] = [t.number for t in self.record.trials if t.state == TrialState.WAITING]
        return any(map(self.deadline.fits, waiting)) if self.record.is_full else self.deadline.fits(None)

    @property
    def is_waiting(self) -> bool:
        """Whether nothing is trained for want of memory, but may be later."""
        return not self.running and not self.is_over(None) and not self._pace.allows_another(0)

    def next_assignment(self) -> Assignment | None:
        """Return the next trial for a worker; None if there is none, now or (with nothing running) for good."""
        trial = self._begin()
        if trial is None:
            return None
        attempt = trial.attempt
        checkpoint = self.record.paths.trial_folder(attempt.number).absolute() / "checkpoint.pt"
        return Assignment(
            attempt.number,
            attempt.config.model_dump(),
            attempt.seed,
            attempt.n_epochs_known,
            str(checkpoint),
            str(self.record.paths.training_log.absolute()),
            self._n_threads,
            task=attempt.config.task,
            partial=self._planner.partial_milestones(attempt.number),
        )

    def _begin(self) -> RunningTrial | None:
        """Begin the trial that comes next; those that cannot be built fail on the way to it."""
        while True:
            pick = self._planner.next()
            self.was_held_back = False
            if self.is_over(None if pick is None else pick.number):
                return None
            if not self._pace.allows_another(len(self.running)):
                self.was_held_back = True
                return None
            if pick is None:
                if self.record.is_full and not self.running and self._planner.is_stuck:
                    self._prune(self._planner.to_prune(everything=True))
                return None
            try:
                trial = self._ledger.begin(pick)
            except UnbuildableError as error:
                self._planner.end(error.number)
                continue
            if trial is not None:
                assert pick.milestone is not None
                self._planner.start(trial.attempt.number, pick.milestone)
            return trial

    def _prune(self, verdicts: Mapping[int, str]) -> None:
        for number, reason in verdicts.items():
            text = self._planner.rank_text(number)
            self._planner.end(number)
            self._ledger.prune(number, reason, text)

    def on_report(self, report: TrialReport) -> bool:
        """Record a report and decide about the trial.

        Returns:
            Whether the worker should train its next epoch.
        """
        number, trial = report.number, self.running.get(report.number)
        if trial is None:  # it was given up as hanging just now
            return False
        new = trial.hear(report)
        if report.evaluations:
            self._on_progress(number)
        self._complain(trial, report.facts.get("trouble"))
        latest = report.evaluations[-1].epoch if report.evaluations else 0.0
        is_at_milestone = self._planner.is_at_milestone(number, latest)
        if is_at_milestone or report.stop_reason is not None or len(trial.new_epochs) >= MAX_EPOCHS:
            self._ledger.note(number, report.stop_reason)  # first: after a crash there the epochs are all there is
        self.totals.add(report)
        self._ledger.add(trial, report, new)
        for evaluation in new:
            self._planner.report(number, evaluation.epoch, evaluation.val_accuracy)
        for evaluation in report.evaluations:
            self.deadline.note(number, evaluation.epoch, evaluation.epoch_s)
        if report.failure is not None:
            self._on_setback(number, report.failure, report.cause, report.room)
        elif report.stop_reason is not None:
            self._planner.end(number)
            self._ledger.complete(number)
        elif is_at_milestone:
            return self._goes_on(number)
        elif self.is_over(number):
            self.release(number)
        else:
            return True
        return False

    def _goes_on(self, number: int) -> bool:
        """Return whether a trial at its milestone goes on at once; otherwise let it pause there."""
        self._planner.pause(number)
        pick = None if self.is_over(number) else self._planner.goes_on(number)
        if pick is not None:
            assert pick.milestone is not None
            self.writer.note_promotion(number, pick.milestone)
            self._planner.start(number, pick.milestone)
            return True
        self._ledger.pause(number, self._planner.rank_text(number))
        self._prune(self._planner.to_prune())
        return False

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
            self._on_event(Event("trouble", trial.attempt.number, text))

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

    @property
    def failure(self) -> str | None:
        """Why nothing could be trained; None if something was, or there was nothing to train."""
        if self._end_reason is not None:
            return self._end_reason
        if self._pace.trouble is not None and not self.totals.epochs:
            return self._pace.trouble
        return common_failure(self.record)
