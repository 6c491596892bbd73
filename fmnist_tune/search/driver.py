"""The driver's decisions: which trial comes next, and what becomes of each report; knows neither Ray nor the screen."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from statistics import median

from optuna.trial import TrialState

from fmnist_tune.search.asha import Asha
from fmnist_tune.search.messages import Assignment, TrialReport
from fmnist_tune.study.record import Attempt, StudyRecord
from fmnist_tune.study.tensorboard import Outcome, TensorBoard
from fmnist_tune.training.results import EpochResult
from fmnist_tune.valuation import attributes_of, value_of

MAX_CRASHES = 3
WORKER_START_S = 60.0  # a worker may need this before its first epoch, on a busy machine


@dataclass
class RunningTrial:
    """A trial that a worker trains.

    Attributes:
        attempt: what was asked for.
        last: its latest epoch; None before the first.
        trouble: what its worker complained of; None if it did not.
        heard_at: time.monotonic() of its assignment or latest report.
    """

    attempt: Attempt
    last: EpochResult | None = None
    trouble: str | None = None
    heard_at: float = field(default_factory=time.monotonic)


@dataclass(frozen=True)
class Event:
    """Something that people want to see.

    Attributes:
        kind: epoch, complete, pruned, failed, interrupted or trouble.
        result: the trial's latest epoch.
        value: of a complete trial.
    """

    kind: str
    number: int
    text: str
    result: EpochResult | None = None
    value: float | None = None


@dataclass
class Totals:
    """Work of this run alone.

    Attributes:
        epochs: trained.
        train_s: in training and validation, summed over trials.
        epoch_s: of each epoch, in order.
        first_step_at: time.monotonic() when the first epoch began, as far as its report tells; None before.
    """

    first_step_at: float | None = None
    epochs: int = 0
    train_s: float = 0.0
    epoch_s: list[float] = field(default_factory=list)


class Driver:
    """Between a study and the workers: hands out trials, takes in reports, writes every outcome into the study."""

    def __init__(
        self,
        record: StudyRecord,
        *,
        deadline: float | None,
        n_threads: int,
        on_event: Callable[[Event], None],
    ) -> None:
        """Take over a study whose lock is held.

        Args:
            record: the study.
            deadline: time.monotonic() after which no epoch should be under way; None for no limit.
            n_threads: of each trial.
            on_event: told what happens.
        """
        self.record = record
        self.deadline = deadline
        self.running: dict[int, RunningTrial] = {}
        self.totals = Totals()
        self.stop_requested = False
        self._n_threads = n_threads
        self._on_event = on_event
        self._asha = Asha(record.space.settings.search.pruner, {t.number: t.intermediate_values for t in record.trials})
        self._tensorboard = TensorBoard(
            record.paths.tensorboard,
            record.space.parameters,
            on_trouble=lambda number, text: on_event(Event("trouble", number, text)),
        )
        for number in record.recover():
            on_event(Event("interrupted", number, "earlier, goes on"))
        self._drop_stale_checkpoints()

    @property
    def is_winding_down(self) -> bool:
        """Whether no new epoch may begin: it was asked to stop, or the next epoch would not end before the deadline."""
        if self.stop_requested or self.deadline is None:
            return self.stop_requested
        expected = median(self.totals.epoch_s[-20:]) if self.totals.epoch_s else 0.0
        return time.monotonic() + expected > self.deadline

    def next_assignment(self) -> Assignment | None:
        """Return the next trial for a worker; None if there is none, now or (with nothing running) for good."""
        while not self.is_winding_down:
            attempt = self.record.begin()
            if attempt is None:
                return None
            self.running[attempt.number] = RunningTrial(attempt)
            if attempt.curve:
                last = max(attempt.curve)
                reason = self._asha.report(attempt.number, last, attempt.curve[last])
                if reason is not None and last < attempt.config.training.epochs:
                    self.record.note(attempt.number, {"seed": attempt.seed, "epochs": last, "stop_reason": reason})
                    self._prune(attempt.number, reason)
                    continue
            checkpoint = self.record.paths.trial_folder(attempt.number).absolute() / "checkpoint.pt"
            return Assignment(
                attempt.number,
                attempt.config.model_dump(),
                attempt.seed,
                len(attempt.curve),
                str(checkpoint),
                str(self.record.paths.training_log.absolute()),
                self._n_threads,
                task=attempt.config.task,
            )
        return None

    def on_report(self, report: TrialReport) -> bool:
        """Record a report and decide about the trial.

        Returns:
            Whether the worker should train its next epoch.
        """
        trial = self.running[report.number]
        trial.heard_at = time.monotonic()
        reason = None
        trouble = report.facts.get("trouble")
        if trouble is not None and trouble != trial.trouble:
            trial.trouble = trouble
            self._on_event(Event("trouble", report.number, trouble))
        for result in report.epochs:
            if result.epoch not in trial.attempt.curve:
                self.record.report(report.number, result.epoch, result.val_accuracy)
            if self.totals.first_step_at is None:
                self.totals.first_step_at = time.monotonic() - result.train_s - result.val_s
            self.totals.epochs += 1
            self.totals.train_s += result.train_s + result.val_s
            self.totals.epoch_s.append(result.train_s + result.val_s)
            trial.last = result
            reason = reason or self._asha.report(report.number, result.epoch, result.val_accuracy)
            self._on_event(Event("epoch", report.number, "", result))
        self._tensorboard.add(trial.attempt, report.history)
        if report.failure is not None:
            self._note(report, report.failure)
            self._fail(report.number, report.failure)
        elif report.stop_reason is not None:
            self._note(report, report.stop_reason)
            self._complete(report)
        elif reason is not None:
            self._note(report, reason)
            self._prune(report.number, reason)
        elif self.is_winding_down:
            self.release(report.number)
        else:
            return True
        return False

    def on_wait(self, number: int) -> None:
        """Take note that a trial still waits for a worker: its time has not begun."""
        if number in self.running:
            self.running[number].heard_at = time.monotonic()

    def overdue(self) -> list[int]:
        """Return the trials whose epoch takes longer than the search allows."""
        limit = self.record.space.settings.search.epoch_timeout
        now = time.monotonic()
        return [
            number
            for number, trial in self.running.items()
            if now - trial.heard_at > limit + (WORKER_START_S if trial.last is None else 0)
        ]

    def on_hang(self, number: int) -> None:
        """Fail a trial that is overdue; its worker is to be killed."""
        limit = self.record.space.settings.search.epoch_timeout
        self._fail(number, f"no epoch within {limit:g} s (search.epoch_timeout)")

    def on_crash(self, number: int, reason: str) -> None:
        """Take note that a trial's worker died; the trial is tried again, but not for ever in the same epoch."""
        if number not in self.running:
            return
        trial = self.running[number]
        epoch = 1 + (len(trial.attempt.curve) if trial.last is None else trial.last.epoch)
        known = self.record.attributes(number)
        n_crashes = 1 + (known["crashes"] if known.get("crashed_in_epoch") == epoch else 0)
        self.record.note(number, {"crashes": n_crashes, "crashed_in_epoch": epoch})
        if n_crashes >= MAX_CRASHES:
            self._fail(number, f"its worker died {n_crashes} times in epoch {epoch}: {reason}")
        else:
            self.release(number, f"its worker died ({reason}), it goes on")

    def release(self, number: int, text: str = "can go on later") -> None:
        """Put a running trial back into the study's queue."""
        del self.running[number]
        self.record.release(number)
        self._on_event(Event("interrupted", number, text))

    def release_all(self) -> None:
        """Put all running trials back, at the end of a run."""
        for number in list(self.running):
            self.release(number)

    def _complete(self, report: TrialReport) -> None:
        config = self._end(report.number, "complete").attempt.config
        value = value_of(config, report.history)
        self.record.complete(report.number, value)
        self._tell_end(Event("complete", report.number, self.record.objective.text(value), report.history[-1], value))

    def _prune(self, number: int, reason: str) -> None:
        last = self._end(number, "pruned").last
        self.record.prune(number)
        self._tell_end(Event("pruned", number, reason, last))

    def _fail(self, number: int, reason: str) -> None:
        last = self._end(number, "failed").last
        self.record.fail(number, reason)
        self._tell_end(Event("failed", number, reason, last))

    def _end(self, number: int, outcome: Outcome) -> RunningTrial:
        """Take a trial off the workers' list and end its curves.

        To be called before the study knows of the end: if the driver dies in between, the trial goes on and ends again.
        """
        trial = self.running.pop(number)
        self._tensorboard.end(trial.attempt, outcome)
        return trial

    def _tell_end(self, event: Event) -> None:
        shutil.rmtree(self.record.paths.trial_folder(event.number), ignore_errors=True)
        self._on_event(event)

    def _note(self, report: TrialReport, reason: str) -> None:
        """Record what is known at a trial's end, before it becomes immutable."""
        history = report.history
        train_s = sum(result.train_s for result in history)
        seconds = train_s + sum(result.val_s for result in history)
        attributes = {
            **report.facts,
            "seed": self.running[report.number].attempt.seed,
            "epochs": len(history),
            "duration_s": round(seconds, 3),
            "stop_reason": reason,
        }
        attributes |= attributes_of(self.running[report.number].attempt.config, history)
        if train_s:
            attributes["images_per_s"] = round(sum(result.n_images for result in history) / train_s)
        self.record.note(report.number, attributes)
        self.record.note_history(report.number, history)

    def _drop_stale_checkpoints(self) -> None:
        """Delete checkpoints of trials that can no longer go on; a crash may have left them."""
        alive = {str(t.number) for t in self.record.trials if t.state in (TrialState.WAITING, TrialState.RUNNING)}
        folder = self.record.paths.trial_folder(0).parent
        for trial in folder.iterdir() if folder.is_dir() else ():
            if trial.name not in alive:
                shutil.rmtree(trial, ignore_errors=True)
