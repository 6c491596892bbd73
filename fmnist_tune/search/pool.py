"""Trainings that nobody decides about, such as the seeds of a retraining, on Ray's actors."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import OutOfMemoryError, RayActorError, RayTaskError, WorkerCrashedError

from fmnist_tune.errors import UserError
from fmnist_tune.search.cluster import WorkerPlan
from fmnist_tune.search.faults import BrokenWorkerError, Cause, is_out_of_memory, read_death
from fmnist_tune.search.memory import Room, count_kills
from fmnist_tune.search.messages import MAX_CRASHES, Assignment, TrialReport
from fmnist_tune.search.pace import Fate, Pace
from fmnist_tune.search.setbacks import Setbacks
from fmnist_tune.search.start import start_worker
from fmnist_tune.search.worker_start import WorkerStart, worker_processes
from fmnist_tune.tasks.config import TaskConfig


@dataclass(frozen=True)
class Job:
    """One training.

    Attributes:
        name: for people.
        task: its name.
        config: what to train.
        seed: of the training.
        with_val: hold out the validation split; otherwise it is trained on too.
        n_epochs: stop after so many, on the schedule of all that are configured.
        folder: keeps its checkpoint, weights and test scores.
        log: file to which each epoch's begin and end are appended.
    """

    name: str
    task: str
    config: TaskConfig
    seed: int
    with_val: bool
    n_epochs: int
    folder: Path
    log: Path


class JobError(Exception):
    """A training cannot go on; says which and why."""


class _Trainer:
    """A worker as Ray's actor; it lives through many jobs."""

    def __init__(self, data: Any, test_inputs: Any) -> None:
        self._worker = start_worker(data)
        self._test_inputs = test_inputs

    def is_up(self) -> bool:
        """Answer, once the worker is up."""
        return True

    def begin(self, assignment: Assignment) -> TrialReport:
        """Take a job and train its first epoch, or go on where its checkpoint is."""
        self._worker.assign(assignment)
        return self._worker.step()

    def step(self) -> TrialReport:
        """Train an epoch."""
        return self._worker.step()

    def finish(self, folder: Path) -> None:
        """Leave the weights and, if there is a test set, scores."""
        self._worker.finish(folder, self._test_inputs)


@dataclass(frozen=True)
class _Step:
    actor: Any
    job: Job
    report: TrialReport | None  # of the job's last epoch, once its results are being left


class Pool:
    """Runs jobs, several at a time, each by one actor; a worker that dies is replaced, and its job goes on."""

    def __init__(
        self,
        plan: WorkerPlan,
        data: Any,
        test_inputs: Any,
        *,
        pace: Pace,
        say: Callable[[str], None],
        check: Callable[[], None] = lambda: None,
    ) -> None:
        """Put the data into Ray's object store, once; Ray must be up.

        Args:
            plan: how many at a time, and what each gets.
            data: what the task's `open_data` found.
            test_inputs: scored by every finished model; None to leave the test set alone.
            pace: holds jobs back while memory is short.
            say: tells people of workers that died.
            check: called about once a second while jobs run; what it raises ends them.
        """
        self._check = check
        self.stop_requested = False
        self._plan = plan
        self._pace = pace
        self._setbacks = Setbacks(pace)
        self._say = say
        self._n_kills = count_kills()
        self._data = [ray.put(data), ray.put(test_inputs)]
        self._actor_class = ray.remote(num_cpus=plan.cpus, num_gpus=plan.gpus)(_Trainer)
        self._starting: list[Any] = []  # an answer for each worker that is not up yet
        self._waiting: deque[Job] = deque()
        self._running: dict[Any, _Step] = {}
        self._idle: list[Any] = []
        self._crashes: Counter[tuple[Path, int]] = Counter()
        self._n_epochs: Counter[Path] = Counter()  # that each job has reported
        self._on_wait: Callable[[Job], None] = lambda job: None

    def run(
        self,
        jobs: Sequence[Job],
        on_epoch: Callable[[Job, TrialReport], None],
        on_end: Callable[[Job, TrialReport], None],
        on_begin: Callable[[Job], None] = lambda job: None,
        on_wait: Callable[[Job], None] = lambda job: None,
    ) -> bool:
        """Run jobs to their ends.

        Args:
            jobs: in the order in which they begin.
            on_epoch: told of every report; of the one with a stop_reason before weights and scores are left.
            on_end: told of a job's last report once its weights and scores are on disk.
            on_begin: told of a job that a worker takes, or takes again after another one's death.
            on_wait: told of a job that has to wait for another worker, or for another run.

        Returns:
            Whether all ended; False if a stop was requested before.

        Raises:
            JobError: a training failed, or its worker died too often, or none can start; those that ended before keep
                their results.
            UserError: no worker comes up.
        """
        self._waiting.extend(jobs)
        self._on_wait = on_wait
        start = WorkerStart(self._plan.logs)
        n_ended = 0
        while self._waiting or self._running:
            self._begin(on_begin)
            if not self._running:
                if self.stop_requested:
                    break
                start.complaint(is_up=True)  # there is nothing for a worker to do
                time.sleep(1.0)  # for memory
                self._check()
                continue
            done, _ = ray.wait(list(self._running), timeout=1.0)  # comes back now and then, so that a signal is seen
            self._check()
            if self._starting:
                _, self._starting = ray.wait(self._starting, num_returns=len(self._starting), timeout=0)
            if complaint := start.complaint(is_up=len(self._starting) < len(self._running)):
                raise UserError(complaint)
            for reference in done:
                step = self._running.pop(reference)
                try:
                    report = ray.get(reference)
                except (RayActorError, OutOfMemoryError, BrokenWorkerError) as error:
                    self._on_crash(step.job, error)
                    continue
                except RayTaskError as error:
                    if step.report is None or not is_out_of_memory(str(error)):
                        raise
                    self._on_setback(step.job, "out of memory while its model was scored", Cause.MEMORY, None)
                    continue  # without its actor, which ends, and frees what it has
                if step.report is not None:  # its results are on disk now
                    on_end(step.job, step.report)
                    n_ended += 1
                    self._idle.append(step.actor)
                    continue
                self._n_epochs[step.job.folder] = report.n_epochs
                if report.epochs and report.spent_s:  # not what a dead worker has left in the checkpoint
                    self._setbacks.on_progress()
                on_epoch(step.job, report)
                self._next(step, report)
        return n_ended == len(jobs)

    def _new_actor(self) -> Any:
        actor = self._actor_class.remote(*self._data)
        self._starting.append(actor.is_up.remote())
        return actor

    def _begin(self, on_begin: Callable[[Job], None]) -> None:
        """Begin as many jobs as there are workers, and memory, for."""
        while self._waiting and len(self._running) < self._plan.n_workers and not self.stop_requested:
            if not self._pace.allows_another(len(self._running)):
                self._idle.clear()  # an actor that nobody knows ends, and frees its memory
                return
            job = self._waiting.popleft()
            actor = self._idle.pop() if self._idle else self._new_actor()
            on_begin(job)
            self._running[actor.begin.remote(self._assignment(job))] = _Step(actor, job, None)

    def _next(self, step: _Step, report: TrialReport) -> None:
        """Let a worker do what comes after a report."""
        actor, job = step.actor, step.job
        if report.failure is not None:
            self._idle.append(actor)
            if report.cause == Cause.MEMORY:
                self._on_setback(job, report.failure, report.cause, report.room)
            else:
                raise JobError(f"{job.name}: {report.failure}")
        elif report.stop_reason is not None:
            self._running[actor.finish.remote(job.folder.absolute())] = _Step(actor, job, report)
        elif self.stop_requested:
            self._idle.append(actor)
            self._on_wait(job)
        else:
            self._running[actor.step.remote()] = step

    def _on_crash(self, job: Job, error: Exception) -> None:
        """Let a job whose worker died wait for another one."""
        before, self._n_kills = self._n_kills, count_kills()
        is_here = self._plan.logs is not None  # not on another machine of a cluster
        cause, reason = read_death(str(error), kernel_killed=is_here and self._n_kills > before)
        epoch = self._n_epochs[job.folder] + 1
        if cause == Cause.WORKER:
            self._crashes[job.folder, epoch] += 1
            if self._crashes[job.folder, epoch] >= MAX_CRASHES:
                raise JobError(f"{job.name}: its worker died {MAX_CRASHES} times in epoch {epoch}: {reason}")
            self._wait(job, f"its worker died ({reason}), it goes on")
        else:
            self._on_setback(job, reason, cause, None)

    def _on_setback(self, job: Job, reason: str, cause: Cause, room: Room | None) -> None:
        """Let a job wait that could not go on for want of memory or of a worker, unless there is no use in it."""
        decision = self._setbacks.decide(
            job.folder,
            reason,
            cause,
            epoch=self._n_epochs[job.folder] + 1,
            n_others=len(self._running),
            n_training=sum(self._n_epochs[step.job.folder] > 0 for step in self._running.values()),
            room=room,
        )
        if decision.end is not None:
            raise JobError(decision.end)
        if decision.fate == Fate.FAILS:
            raise JobError(f"{job.name}: {decision.text}")
        self._wait(job, decision.text, is_last=decision.fate == Fate.LAST)

    def _wait(self, job: Job, text: str, *, is_last: bool = False) -> None:
        self._say(f"{job.name}: {text}")
        self._on_wait(job)
        if is_last:
            self._waiting.append(job)
        else:
            self._waiting.appendleft(job)

    def _assignment(self, job: Job) -> Assignment:
        return Assignment(
            job.seed,
            job.config.model_dump(),
            job.seed,
            0,
            str(job.folder.absolute() / "checkpoint.pt"),
            str(job.log.absolute()),
            self._plan.cpus,
            job.with_val,
            job.n_epochs,
            job.task,
        )


def parallel_map(
    function: Callable[..., Any], shared: Sequence[Any], items: Sequence[Any], plan: WorkerPlan
) -> list[Any]:
    """Return `function(*shared, item)` of every item, in order, computed on the cluster's workers.

    Where memory is short, Ray tries again for as long as it takes.

    Args:
        function: of this package; may be computed again if a worker dies.
        shared: arguments for all, put into Ray's object store once.
        items: the last argument of each call.
        plan: what each call gets.

    Raises:
        UserError: no worker comes up, or those that do cannot compute it.
    """
    remote = ray.remote(num_cpus=plan.cpus, num_gpus=0, max_retries=MAX_CRASHES)(function)
    references = [ray.put(argument) for argument in shared]
    results = [remote.remote(*references, item) for item in items]
    start, todo = WorkerStart(plan.logs), results
    while todo:
        _, todo = ray.wait(todo, timeout=1.0)
        if complaint := start.complaint(is_up=bool(worker_processes())):
            raise UserError(complaint)
    try:
        return list(ray.get(results))
    except (WorkerCrashedError, OutOfMemoryError, ImportError, MemoryError) as error:
        raise UserError(f"a worker died: {read_death(str(error))[1]}") from error
