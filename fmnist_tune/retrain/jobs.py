"""The seeds of a retraining as a source for the runner; a failing job ends all."""

from __future__ import annotations

import errno
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from fmnist_tune.search.faults import Cause
from fmnist_tune.search.memory import Room
from fmnist_tune.search.messages import Assignment, TrialReport
from fmnist_tune.search.pace import Pace
from fmnist_tune.search.running import RunningTrial
from fmnist_tune.search.source import LATER, Source
from fmnist_tune.study.hold import Hold
from fmnist_tune.study.seed_results import Plan
from fmnist_tune.study.trial_writer import TrialSpec
from fmnist_tune.training.results import EpochResult


@dataclass
class Job:
    """A plan to train with one seed.

    Attributes:
        name: shown to people.
        plan: what is trained.
        assignment: for a worker that starts it.
        history: its epochs reported so far.
    """

    name: str
    plan: Plan
    assignment: Assignment
    history: Sequence[EpochResult] = field(default_factory=tuple)

    @property
    def folder(self) -> Path:
        """The folder of its checkpoint, weights and test scores."""
        return Path(self.assignment.checkpoint).parent


class JobSource(Source):
    """Jobs in the given order; requeued ones come first.

    Attributes:
        n_ended: number of jobs trained and saved.
        n_jobs: number of all jobs.
    """

    def __init__(
        self,
        jobs: Sequence[Job],
        hold: Hold,
        *,
        pace: Pace,
        epoch_timeout_s: float,
        say: Callable[[str, str], None],
        keep: Callable[[Job, TrialReport], None],
        before_scoring: Callable[[], None] = lambda: None,
    ) -> None:
        """Start without running jobs.

        Args:
            jobs: with distinct numbers.
            hold: of the study that the jobs belong to.
            pace: holds jobs back while memory is short.
            epoch_timeout_s: time after which an epoch counts as hanging, as in a search.
            say: prints a line in a style.
            keep: called with each saved job and its last report.
            before_scoring: called after each training, before its model is scored.
        """
        super().__init__(hold, pace=pace, epoch_timeout_s=epoch_timeout_s)
        self.n_jobs, self.n_ended = len(jobs), 0
        self._jobs = {job.assignment.number: job for job in jobs}
        self._waiting = deque(self._jobs)
        self._crashes: Counter[tuple[int, int]] = Counter()
        self._say = say
        self._keep = keep
        self._before_scoring = before_scoring

    @property
    def failure(self) -> str | None:
        """Why a job failed, or none can be trained; None without a failure."""
        return self._given_up

    def under_way(self) -> list[tuple[Job, RunningTrial]]:
        """Return the running jobs."""
        return [(self._jobs[number], trial) for number, trial in list(self.running.items())]  # for another thread

    def next_assignment(self) -> Assignment | None:
        """Return a worker's next job; None if there is none for now or, with nothing running, ever."""
        self.was_held_back = False
        if not self._waiting or self.is_over(None):
            return None
        if not self._pace.allows_another(len(self.running)):
            self.was_held_back = True
            return None
        number = self._waiting.popleft()
        job = self._jobs[number]
        curve = {float(result.epoch): result.val_accuracy for result in job.history}
        spec = TrialSpec(number, job.plan.config, job.assignment.seed, {}, job.history, curve)
        self.running[number] = RunningTrial(spec, self._clock)
        return replace(job.assignment, n_epochs_known=len(job.history))

    def on_report(self, report: TrialReport) -> bool:
        """Handle a report; return whether its worker should take the next step: an epoch, or saving the model.

        Raises:
            OSError: a model could not be saved.
        """
        number = report.number
        if number not in self.running:  # it has just failed as hanging
            return False
        trial, job = self.running[number], self._jobs[number]
        trial.hear(report)
        job.history = trial.history
        if report.epochs and report.spent_s:  # not epochs from a dead worker's checkpoint
            self._setbacks.on_progress()
        self._tell_warning(trial, report.metadata.get("trouble"))
        if report.stop_reason is not None and not report.is_saved:
            self._before_scoring()  # also of one that failed just then: its next worker scores it at once
        if report.failure is not None:
            self._on_setback(number, report.failure, report.cause, report.room)
        elif report.is_saved:
            del self.running[number]
            self.n_ended += 1
            self._keep(job, report)
        elif report.stop_reason is None and self.is_over(number):
            self.release(number)
        else:
            return True
        return False

    def release(self, number: int, text: str = LATER) -> None:
        """Requeue a running job before all others."""
        del self.running[number]
        self._waiting.appendleft(number)
        self._warn(number, text)

    def _postpone(self, number: int, reason: str, text: str) -> None:
        self.release(number, text)
        self._waiting.rotate(-1)

    def _on_setback(self, number: int, reason: str, cause: Cause, room: Room | None = None) -> None:
        if cause == Cause.DISK:
            raise OSError(errno.EIO, reason)
        if cause in (Cause.MEMORY, Cause.START):
            super()._on_setback(number, reason, cause, room)
        else:
            self._fail(number, reason)

    def _fail(self, number: int, reason: str) -> None:
        del self.running[number]
        self._given_up = f"{self._jobs[number].name}: {reason}"
        if self.running:
            self._warn(number, f"{reason}; the others stop after their running epochs")

    def _count_crash(self, number: int, epoch: int) -> int:
        self._crashes[number, epoch] += 1
        return self._crashes[number, epoch]

    def _warn(self, number: int, text: str) -> None:
        self._say(f"{self._jobs[number].name}: {text}", "yellow")
