"""Records what happens to running trials: in the study, in TensorBoard's files and as events."""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from typing import Any

from optuna.trial import FrozenTrial

from fmnist_tune.search.events import Event
from fmnist_tune.search.messages import TrialReport
from fmnist_tune.search.running import RunningTrial
from fmnist_tune.search.scheduler import Pick
from fmnist_tune.study.folder import recover
from fmnist_tune.study.record import StudyRecord
from fmnist_tune.study.tensorboard import TensorBoard
from fmnist_tune.study.trial_data import latest_of
from fmnist_tune.study.trial_writer import TrialWriter, UnbuildableError, trial_spec
from fmnist_tune.tasks.objective import value_of
from fmnist_tune.training.results import EpochResult, Evaluation


class Ledger:
    """The running trials and their records.

    Attributes:
        writer: of the study's trials.
        running: the trials that workers train, by number.
        tell: receives each event.
    """

    def __init__(
        self,
        record: StudyRecord,
        running: dict[int, RunningTrial],
        on_event: Callable[[Event], None],
        clock: Callable[[], float],
        executor: Executor | None,
    ) -> None:
        """Record into a study whose lock is held; no trial is running.

        Args:
            record: the study.
            running: the trials that workers train, by number; kept up to date.
            on_event: receives each event.
            clock: tells the time in seconds.
            executor: writes TensorBoard curves in order; None to write them in the calling thread.
        """
        self.writer = TrialWriter(record)
        self.running = running
        self.tell = on_event
        self._record = record
        self._clock = clock
        self._executor = executor
        self._tensorboard = TensorBoard(
            record.paths.tensorboard,
            record.space.parameters,
            on_warning=lambda number, text: on_event(Event("warning", number, text)),
        )
        recover(record)
        for number in self.writer.recover():
            self.tell(Event("interrupted", number, "earlier, goes on"))
        self._restore_runs(record.trials)

    def _restore_runs(self, trials: Sequence[FrozenTrial]) -> None:
        """Write the missing TensorBoard runs of trained trials: imported ones, and those whose run was deleted."""
        for trial in trials:
            if latest_of(trial) is not None and not self._tensorboard.has_run(trial.number):
                spec = trial_spec(self._record, trial)
                self._write_curves(self._tensorboard.add, spec, [], known=spec.history)
                self._write_curves(self._tensorboard.end, trial.number)

    def begin(self, pick: Pick) -> RunningTrial | None:
        """Begin what was picked; return None if that is a new trial and the study is full.

        Raises:
            UnbuildableError: it cannot be built; it is recorded as failed.
        """
        milestone = pick.milestone
        assert milestone is not None
        if pick.number is not None:  # before it trains: a dead driver must not lose those epochs
            self.writer.note_promotion(pick.number, milestone, pick.note)
        try:
            spec = self.writer.begin(pick.number, milestone=milestone, proposed=pick.values, note=pick.note)
        except UnbuildableError as error:
            self._tell_end(Event("failed", error.number, str(error)))
            raise
        if spec is None:
            return None
        self.running[spec.number] = RunningTrial(spec, self._clock)
        return self.running[spec.number]

    def add(self, trial: RunningTrial, report: TrialReport, new: Sequence[Evaluation]) -> None:
        """Record a report's evaluations; the trial already holds the new ones."""
        number = report.number
        for result in new:
            if isinstance(result, EpochResult) and result.epoch not in trial.spec.curve:
                self.writer.report(number, result.epoch, result.val_accuracy)
        for result in report.epochs:
            self.tell(Event("epoch", number, "", result))
        self._write_curves(self._tensorboard.add, trial.spec, new, known=trial.spec.history)

    def note(self, number: int, reason: str | None) -> None:
        """Record a trial's progress where it may stop or, with a reason, where it ends."""
        trial = self.running[number]
        self.writer.note_progress(number, trial.new_epochs, trial.metadata(reason, self._record.objective))
        trial.n_noted = len(trial.history)

    def pause(self, number: int, text: str) -> None:
        """Record that a trial pauses at its milestone; its progress is already noted."""
        del self.running[number]
        self._write_curves(self._tensorboard.close, number)
        self.writer.release(number)
        self.tell(Event("paused", number, text))

    def interrupt(self, number: int, text: str) -> None:
        """Record that a trial was interrupted between milestones."""
        if self.running[number].new_epochs:
            self.note(number, None)
        del self.running[number]
        self._write_curves(self._tensorboard.close, number)
        self.writer.release(number)
        self.tell(Event("interrupted", number, text))

    def prune(self, number: int, reason: str, text: str) -> None:
        """Prune a paused trial; `reason` is recorded, `text` is shown."""
        self._write_curves(self._tensorboard.end, number)
        self.writer.prune(number, reason)
        self._tell_end(Event("pruned", number, text))

    def complete(self, number: int) -> None:
        """Complete a trial whose training has ended; it fails if its value is not finite."""
        ended = self.running[number]
        value = value_of(self._record.objective, ended.spec.config, ended.history)
        if not math.isfinite(value):  # which the database could not keep
            self.fail(number, f"its {self._record.objective.label} is {value}")
            return
        trial = self._end(number)
        self.writer.complete(number, value)
        self._tell_end(Event("complete", number, self._record.objective.text(value), trial.last, value))

    def fail(self, number: int, reason: str) -> None:
        """Fail a trial that cannot continue."""
        if self.running[number].report is not None:
            self.note(number, reason)
        trial = self._end(number)
        self.writer.fail(number, reason)
        self._tell_end(Event("failed", number, reason, trial.last))

    def _end(self, number: int) -> RunningTrial:
        """Remove a trial from the running ones and end its curves.

        Call it before the study records the end: if the driver dies in between, the trial resumes and ends again.
        """
        trial = self.running.pop(number)
        self._write_curves(self._tensorboard.end, number)
        return trial

    def _tell_end(self, event: Event) -> None:
        shutil.rmtree(self._record.paths.trial_folder(event.number), ignore_errors=True)
        self.tell(event)

    def _write_curves(self, write: Callable[..., None], *arguments: Any, **known: Any) -> None:
        """Write TensorBoard curves outside the workers' way: it takes milliseconds, the first time seconds."""
        if self._executor is None:
            write(*arguments, **known)
        else:
            self._executor.submit(write, *arguments, **known)
