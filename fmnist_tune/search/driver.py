"""The driver's decisions: which trial comes next, and what follows a report; knows neither Ray nor the screen."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from concurrent.futures import Executor
from contextlib import AbstractContextManager

from optuna.trial import TrialState

from fmnist_tune.search.deadline import Deadline
from fmnist_tune.search.events import Event, Totals
from fmnist_tune.search.ledger import Ledger
from fmnist_tune.search.messages import Assignment, TrialReport
from fmnist_tune.search.pace import Pace
from fmnist_tune.search.planner import Planner
from fmnist_tune.search.running import RunningTrial
from fmnist_tune.search.source import LATER, Source
from fmnist_tune.study.record import StudyRecord
from fmnist_tune.study.summary import common_failure
from fmnist_tune.study.trial_data import MAX_EPOCHS
from fmnist_tune.study.trial_writer import HELD_KEY, UnbuildableError


class Driver(Source):
    """Connects a study and the workers: hands out trials, receives reports, records every outcome in the study."""

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
        """Drive a study whose lock is held.

        Args:
            record: the study.
            deadline: by `clock`, when every epoch should have ended; None for no limit.
            n_threads: of each trial.
            n_workers: how many trials are trained at a time.
            on_event: receives each event.
            pace: holds trials back while memory is short; None to watch this machine's memory.
            clock: tells the time in seconds; simulated in a simulation.
            executor: writes TensorBoard curves in order; None to write them in the calling thread.
        """
        limit_s = record.space.settings.search.epoch_timeout
        super().__init__(record.hold, pace=pace or Pace(clock=clock), clock=clock, epoch_timeout_s=limit_s)
        self.record = record
        self._ledger = Ledger(record, self.running, on_event, clock, executor)
        self.writer = self._ledger.writer
        self.deadline = Deadline(deadline, lambda number: self.writer.spec(number).config, clock)
        self._planner = Planner(record, self.deadline, self.writer.versions, n_workers=n_workers)
        self.totals = Totals(clock)
        self._n_threads = n_threads
        # Trials that were moved behind all others and have trained nothing since.
        self._held = {t.number for t in record.trials if t.system_attrs.get(HELD_KEY) is not None}

    @property
    def n_paused(self) -> int:
        """How many trials wait at their milestones."""
        return self._planner.n_paused

    def is_over(self, number: int | None) -> bool:
        """Return whether a trial (None: a new one) must not begin an epoch: a stop was requested, or time is short."""
        return super().is_over(number) or self._planner.problem is not None or not self.deadline.fits(number)

    @property
    def _end_reason(self) -> str | None:
        return self._given_up or self._planner.problem

    @property
    def fits_anything(self) -> bool:
        """Whether an epoch of any trial that could come next is expected to end before the deadline."""
        waiting: list[int] = [t.number for t in self.record.trials if t.state == TrialState.WAITING]
        return any(map(self.deadline.fits, waiting)) if self.record.is_full else self.deadline.fits(None)

    def next_assignment(self) -> Assignment | None:
        """Return a worker's next trial; None if there is none for now or, with nothing running, ever."""
        trial = self._begin()
        if trial is None:
            return None
        spec = trial.spec
        trial.partial = self._planner.partial_milestones(spec.number)
        checkpoint = self.record.paths.trial_folder(spec.number).absolute() / "checkpoint.pt"
        return Assignment(
            spec.number,
            spec.config.model_dump(),
            spec.seed,
            spec.n_epochs_known,
            str(checkpoint),
            str(self.record.paths.training_log.absolute()),
            self._n_threads,
            task=self.record.space.settings.task,
            partial=trial.partial,
        )

    def _begin(self) -> RunningTrial | None:
        """Begin the next trial; fail those before it that cannot be built."""
        while True:
            pick = self._planner.next()
            self.was_held_back = False
            if self.is_over(None if pick is None else pick.number):
                return None
            if not self._pace.allows_another(len(self.running)):
                self.was_held_back = True
                return None
            if pick is None:
                if not self.running and self._planner.is_stuck:
                    if not self.record.is_full:
                        self._planner.blame("next picked nothing, although nothing is trained and there is room")
                    else:
                        self._prune(self._planner.to_prune(everything=True))
                return None
            try:
                trial = self._ledger.begin(pick)
            except UnbuildableError as error:
                self._planner.end(error.number)
                continue
            if trial is not None:
                assert pick.milestone is not None
                self._planner.start(trial.spec.number, pick.milestone)
            return trial

    def _prune(self, verdicts: Mapping[int, str]) -> None:
        for number, reason in verdicts.items():
            text = self._planner.rank_text(number)
            self._planner.end(number)
            self._ledger.prune(number, reason, text)

    def on_report(self, report: TrialReport) -> bool:
        """Record a report and decide how its trial continues.

        Returns:
            Whether the worker should train its next epoch.
        """
        number, trial = report.number, self.running.get(report.number)
        if trial is None:  # it has just failed as hanging
            return False
        new = trial.hear(report)
        if report.evaluations:
            self._on_progress(number)
        self._tell_warning(trial, report.metadata.get("trouble"))
        latest = report.evaluations[-1].epoch if report.evaluations else 0.0
        is_at_milestone = self._planner.is_at_milestone(number, latest)
        if is_at_milestone or report.stop_reason is not None or len(trial.new_epochs) >= MAX_EPOCHS:
            self._ledger.note(number, report.stop_reason)  # first: if recording the end crashes, the epochs are kept
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
        """Return whether a trial at its milestone continues at once; otherwise pause it."""
        self._planner.pause(number)
        pick = None if self.is_over(number) else self._planner.goes_on(number)
        if pick is not None:
            assert pick.milestone is not None
            self.writer.note_promotion(number, pick.milestone, pick.note)
            self._planner.start(number, pick.milestone)
            if pick.milestone >= 1 or pick.milestone in self.running[number].partial:
                return True
            self.release(number)  # its worker does not know of this milestone: it is assigned anew
            return False
        self._ledger.pause(number, self._planner.rank_text(number))
        if not self.is_over(None):  # a run that stops here would else give up what the next one picks
            self._prune(self._planner.to_prune())
        return False

    def _on_progress(self, number: int) -> None:
        self._setbacks.on_progress()
        if number in self._held:
            self._held.discard(number)
            self.writer.note_held(number, None)

    def _postpone(self, number: int, reason: str, text: str) -> None:
        self._held.add(number)
        self.writer.note_held(number, reason)
        self._planner.hold(number)
        self._ledger.interrupt(number, text)

    def release(self, number: int, text: str = LATER) -> None:
        """Requeue a running trial."""
        self._planner.requeue(number)
        self._ledger.interrupt(number, text)

    def _fail(self, number: int, reason: str) -> None:
        self._planner.end(number)
        self._ledger.fail(number, reason)

    def writing(self) -> AbstractContextManager[None]:
        """Return a context that turns errors of the study's database or disk into StorageLostError."""
        return self.record.hold.writing()

    def _count_crash(self, number: int, epoch: int) -> int:
        return self.writer.count_crash(number, epoch)

    def _warn(self, number: int, text: str) -> None:
        self._ledger.tell(Event("warning", number, text))

    @property
    def failure(self) -> str | None:
        """Why nothing could be trained; None if anything was, or nothing had to be."""
        problem = None if self.totals.epochs else self._pace.problem
        return self._end_reason or problem or common_failure(self.record)
