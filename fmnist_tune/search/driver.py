"""The driver's decisions: which trial comes next, and what becomes of each report; knows neither Ray nor the screen."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from typing import Any

from optuna.trial import FrozenTrial, TrialState

from fmnist_tune.search.deadline import Deadline
from fmnist_tune.search.events import Event, Totals
from fmnist_tune.search.faults import Cause
from fmnist_tune.search.memory import Room
from fmnist_tune.search.messages import MAX_CRASHES, Assignment, TrialReport
from fmnist_tune.search.pace import Fate, Pace
from fmnist_tune.search.queue import Queue
from fmnist_tune.search.running import WORKER_START_S, RunningTrial
from fmnist_tune.search.setbacks import Setbacks
from fmnist_tune.study.record import StudyRecord
from fmnist_tune.study.summary import common_failure
from fmnist_tune.study.tensorboard import TensorBoard
from fmnist_tune.study.trial_data import MAX_EPOCHS, curve_of, history_of, looks_of
from fmnist_tune.study.trial_writer import (
    HELD_KEY,
    TrialSpec,
    TrialWriter,
    UnbuildableError,
    is_promoted_from,
    trial_spec,
)


class Driver:
    """Between a study and the workers: hands out trials, takes in reports, writes every outcome into the study."""

    def __init__(
        self,
        record: StudyRecord,
        *,
        deadline: float | None,
        n_threads: int,
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
            on_event: told what happens.
            pace: holds trials back while memory is short; None for one that watches this machine's.
            clock: tells the time in seconds; another one than the real one in a simulation.
            executor: writes the curves for TensorBoard, one after the other; None to write them at once.
        """
        self.record = record
        self.writer = TrialWriter(record)
        self.deadline = Deadline(deadline, lambda number: self.writer.attempt(number).config, clock)
        self.running: dict[int, RunningTrial] = {}
        self.totals = Totals(clock)
        self.stop_requested = False
        self._pace = pace or Pace(clock=clock)
        self._clock = clock
        self._setbacks = Setbacks(self._pace)
        self._held: set[int] = set()  # trials that had to wait behind all others, and have trained nothing since
        self._given_up: str | None = None
        self.was_held_back = False  # whether lack of memory is why the latest worker that asked got no trial
        self._n_threads = n_threads
        self._on_event = on_event
        self._executor = executor
        self._tensorboard = TensorBoard(
            record.paths.tensorboard,
            record.space.parameters,
            on_trouble=lambda number, text: on_event(Event("trouble", number, text)),
        )
        record.recover()
        for number in self.writer.recover():
            on_event(Event("interrupted", number, "earlier, goes on"))
        self._restore_runs(record.trials)
        pruner = record.space.settings.search.pruner
        curves = {t.number: curve_of(t) for t in record.trials}
        self._queue = Queue(pruner, curves)
        for trial in record.trials:
            if trial.state == TrialState.WAITING:
                self.deadline.recall(trial)
                rung = self._queue.asha.at_rung(trial.number)
                wait = self._queue.requeue if rung is None or is_promoted_from(trial, rung) else self._queue.pause
                if trial.system_attrs.get(HELD_KEY) is not None:
                    self._held.add(trial.number)
                    wait = self._queue.hold
                wait(trial.number)

    def _restore_runs(self, trials: Sequence[FrozenTrial]) -> None:
        """Write the TensorBoard runs of trials that have trained and have none: of another study, or deleted since."""
        for trial in trials:
            history = history_of(trial)
            if (history or looks_of(trial)) and not self._tensorboard.has_run(trial.number):
                attempt = trial_spec(self.record, trial)
                self._write_curves(self._tensorboard.add, attempt, history, attempt.looks)
                self._write_curves(self._tensorboard.end, trial.number)

    @property
    def n_paused(self) -> int:
        """How many trials wait at their rungs."""
        return len(self._queue.ranked())

    def is_over(self, number: int | None) -> bool:
        """Return whether a trial, or a new one, must not begin an epoch: the search is to stop, or it would not end."""
        return self.stop_requested or self._given_up is not None or not self.deadline.fits(number)

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
        attempt = self._begin()
        if attempt is None:
            return None
        self.running[attempt.number] = RunningTrial(attempt, self._clock, looks=dict(attempt.looks))
        checkpoint = self.record.paths.trial_folder(attempt.number).absolute() / "checkpoint.pt"
        return Assignment(
            attempt.number,
            attempt.config.model_dump(),
            attempt.seed,
            len(attempt.history),
            str(checkpoint),
            str(self.record.paths.training_log.absolute()),
            self._n_threads,
            task=self.record.space.settings.task,
            looks=self._queue.asha.looks_left(attempt.number),
            has_looked=bool(attempt.looks),
        )

    def _begin(self) -> TrialSpec | None:
        """Begin the trial that comes next; those that cannot be built fail on the way to it."""
        self.was_held_back = False
        while not self.is_over(number := self._next()):
            if not self._pace.allows_another(len(self.running)):
                self.was_held_back = True
                return None
            if number is not None:
                self._promote(number)
            elif self.record.is_full and not self.running and self._queue.next(is_full=True) is None:
                self._give_up(self._queue.ranked())
            try:
                return self.writer.begin(number)
            except UnbuildableError as error:
                self._tell_end(Event("failed", error.number, str(error)))
        return None

    def _promote(self, number: int) -> None:
        """Take a trial out of the queue; what it trains from here must not be lost if the driver dies."""
        rung = self._queue.asha.at_rung(number)
        if rung is not None:
            self.writer.note_promotion(number, rung)
        self._queue.take(number)

    def _next(self) -> int | None:
        """Return the waiting trial that a free worker takes; None for a new one."""
        is_full = self.record.is_full
        number = self.deadline.next(self._queue, is_full=is_full)
        if number is None and is_full and not self.running:
            return next(iter(self._queue.held), None)
        return number

    def _give_up(self, numbers: Sequence[int]) -> None:
        for number in numbers:
            reason = self._queue.asha.verdict(number, rounds_up=self.record.is_full)
            self._write_curves(self._tensorboard.end, number)
            self._queue.take(number)
            self.writer.prune(number, reason)
            self._tell_end(Event("pruned", number, self._queue.asha.rank_text(number)))

    def on_report(self, report: TrialReport) -> bool:
        """Record a report and decide about the trial.

        Returns:
            Whether the worker should train its next epoch.
        """
        trial = self.running.get(report.number)
        if trial is None:  # it was given up as hanging just now
            return False
        new = trial.hear(report)
        if report.epochs or report.look is not None:
            self._on_progress(report.number)
        trouble = report.facts.get("trouble")
        if trouble is not None and trouble != trial.trouble:
            trial.trouble = trouble
            self._on_event(Event("trouble", report.number, trouble))
        is_at_rung = self._is_at_rung(report)
        if is_at_rung or report.stop_reason is not None or len(trial.new_epochs) >= MAX_EPOCHS:
            self._note(trial, report.stop_reason)  # before its epochs: after a crash there they are all there is
        self.totals.add(report)
        for result in new:
            if result.epoch not in trial.attempt.curve:
                self.writer.report(report.number, result.epoch, result.val_accuracy)
                self._queue.asha.report(report.number, result.epoch, result.val_accuracy)
        for result in report.epochs:
            self.deadline.note_epoch(report.number, result.train_s + result.val_s)
            self._on_event(Event("epoch", report.number, "", result))
        looks = {} if report.look is None else {report.look.share: report.look.val_accuracy}
        self._write_curves(self._tensorboard.add, trial.attempt, new, looks, known=trial.attempt.history)
        if report.failure is not None:
            self._on_setback(report.number, report.failure, report.cause, report.room)
        elif report.stop_reason is not None:
            self._complete(report.number)
        elif is_at_rung:
            if report.look is not None:
                self.deadline.note_look(report.number, report.look.share, report.look.epoch_s)
                self._queue.asha.report(report.number, report.look.share, report.look.val_accuracy)
            return self._goes_on(report)
        elif self.is_over(report.number):
            self.release(report.number)
        else:
            return True
        return False

    def _is_at_rung(self, report: TrialReport) -> bool:
        """Return whether a trial has come to a rung, not by an epoch that it trains again after a lost checkpoint."""
        asha, n_epochs = self._queue.asha, report.n_epochs
        is_new = bool(report.epochs) and n_epochs > asha.last_epoch(report.number)
        return report.look is not None or (is_new and asha.is_rung(n_epochs))

    def _goes_on(self, report: TrialReport) -> bool:
        """Return whether a trial at its rung goes on at once; otherwise let it pause there."""
        number = report.number
        self._queue.pause(number)
        if not self.is_over(number) and (self.deadline.is_finishing(self._queue, number) or self._next() == number):
            self._promote(number)
            return True
        del self.running[number]
        self._write_curves(self._tensorboard.close, number)
        self.writer.release(number)
        self._on_event(Event("paused", number, self._queue.asha.rank_text(number)))
        self._give_up(self._queue.to_prune())
        return False

    def on_wait(self, number: int) -> None:
        """Take note that a trial still waits for a worker: its time has not begun."""
        trial = self.running.get(number)
        if trial is None:
            return
        trial.wait()
        if trial.trouble is None and self._clock() - trial.given_at > WORKER_START_S:
            trial.trouble = "its worker has not begun yet: it is still starting, or the Ray cluster has no place for it"
            self._on_event(Event("trouble", number, trial.trouble))

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
            self._queue.hold(number)
            self._put_away(number, decision.text)
        self._given_up = self._given_up or decision.end

    def release(self, number: int, text: str = "can go on later") -> None:
        """Put a running trial back into the study's queue."""
        self._queue.requeue(number)
        self._put_away(number, text)

    def _put_away(self, number: int, text: str) -> None:
        trial = self.running.pop(number)
        if trial.new_epochs:
            self._note(trial, None)
        self._write_curves(self._tensorboard.close, number)
        self.writer.release(number)
        self._on_event(Event("interrupted", number, text))

    def _write_curves(self, write: Callable[..., None], *arguments: Any, **known: Any) -> None:
        """Write curves for TensorBoard: milliseconds, and at first seconds, that no worker should wait for."""
        if self._executor is None:
            write(*arguments, **known)
        else:
            self._executor.submit(write, *arguments, **known)

    def release_all(self, text: str = "can go on later") -> None:
        """Put all running trials back, at the end of a run."""
        for number in list(self.running):
            self.release(number, text)

    @property
    def failure(self) -> str | None:
        """Why nothing could be trained; None if something was, or there was nothing to train."""
        if self._given_up is not None:
            return self._given_up
        if self._pace.trouble is not None and not self.totals.epochs:
            return self._pace.trouble
        return common_failure(self.record)

    def _complete(self, number: int) -> None:
        trial = self._end(number)
        value = self.record.objective.value_of(trial.attempt.config, trial.history)
        self.writer.complete(number, value)
        self._tell_end(Event("complete", number, self.record.objective.text(value), trial.last, value))

    def _fail(self, number: int, reason: str) -> None:
        trial = self.running[number]
        if trial.report is not None:
            self._note(trial, reason)
        self._end(number)
        self.writer.fail(number, reason)
        self._tell_end(Event("failed", number, reason, trial.last))

    def _end(self, number: int) -> RunningTrial:
        """Take a trial off the workers' list and end its curves.

        To be called before the study knows of the end: if the driver dies in between, the trial goes on and ends again.
        """
        trial = self.running.pop(number)
        self._write_curves(self._tensorboard.end, number)
        return trial

    def _tell_end(self, event: Event) -> None:
        shutil.rmtree(self.record.paths.trial_folder(event.number), ignore_errors=True)
        self._on_event(event)

    def _note(self, trial: RunningTrial, reason: str | None) -> None:
        """Record what is known of a trial where it may be stopped or, with a reason, where it ends."""
        self.writer.note_progress(trial.attempt.number, trial.new_epochs, trial.facts(reason, self.record.objective))
        trial.n_noted = len(trial.history)
