"""Training configurations over seeds on Ray's workers, started only when needed."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

from fmnist_tune.errors import UserError
from fmnist_tune.retrain.jobs import JobSource
from fmnist_tune.retrain.progress import TrainingProgress
from fmnist_tune.retrain.seeds import SeedStore
from fmnist_tune.search.cluster import WorkerPlan, machines, plan_workers, start_ray, stop_ray
from fmnist_tune.search.pace import Pace
from fmnist_tune.search.run import RunOptions
from fmnist_tune.search.signals import stopping_on_signals
from fmnist_tune.study.layout import make_folder
from fmnist_tune.study.record import StudyRecord
from fmnist_tune.study.seed_results import Plan, SeedResult


class SeedTrainer:
    """Trains the unfinished seeds of a study's configurations, each with the same seeds."""

    def __init__(
        self,
        record: StudyRecord,
        options: RunOptions,
        data: Any,
        seeds: Sequence[int],
        progress: TrainingProgress,
        held: ExitStack,
    ) -> None:
        """Prepare without starting anything.

        Args:
            record: the study, whose lock is held.
            options: the Ray cluster and the number of workers.
            data: as returned by the task's `open_data`.
            seeds: for every configuration.
            progress: the screen.
            held: on exit, Ray is stopped if it was started.
        """
        self._record = record
        self._options = options
        self._data = data
        self._seeds = seeds
        self._progress = progress
        self._held = held
        self._store = SeedStore(record)
        self._worker_plan: WorkerPlan | None = None

    def has_finished(self, plan: Plan) -> bool:
        """Return whether all of a configuration's seeds are trained."""
        return not self._store.unfinished([plan], self._seeds)

    def train(
        self, plans: Sequence[Plan], test_inputs: Any, before_scoring: Callable[[], None] = lambda: None
    ) -> dict[str, list[SeedResult]] | None:
        """Return every plan's results by label, in the order of the seeds; None if stopped.

        Args:
            plans: what to train.
            test_inputs: scored by every finished model; None to score no test set.
            before_scoring: called after each training, before its model is scored.

        Raises:
            UserError: a training failed.
        """
        if self._store.unfinished(plans, self._seeds) and not self._train(plans, test_inputs, before_scoring):
            return None
        results: dict[str, list[SeedResult]] = {}
        for plan in plans:
            found = [self._store.finished(plan, seed) for seed in self._seeds]
            results[plan.label] = [result for result in found if result is not None]
        return results

    def _train(self, plans: Sequence[Plan], test_inputs: Any, before_scoring: Callable[[], None]) -> bool:
        """Train the unfinished seeds; return whether all are finished."""
        make_folder(self._record.paths.retrain_log.parent)
        workers = self.workers()
        from fmnist_tune.search.runner import run  # imports Ray Tune, which takes seconds

        source = JobSource(
            self._store.jobs(plans, self._seeds, workers.cpus),
            self._record.hold,
            pace=Pace(is_local=self._options.address is None),
            epoch_timeout_s=self._record.space.settings.search.epoch_timeout,
            say=self._progress.line,
            keep=lambda job, report: self._progress.done(f"{job.name}: {self._store.keep(job, report.metadata)}"),
            before_scoring=before_scoring,
        )
        self._progress.attach(source)
        with stopping_on_signals(source, self._progress.line):
            run(source, workers, self._data, test_inputs)
        if source.failure is not None:
            raise UserError(source.failure)
        return source.n_ended == source.n_jobs

    def workers(self) -> WorkerPlan:
        """Start Ray, once."""
        if self._worker_plan is None:
            self._progress.line("starting Ray")
            self._held.callback(stop_ray)
            with ThreadPoolExecutor(1) as background:  # its imports take seconds, in parallel with Ray's start
                imports = background.submit(importlib.import_module, "fmnist_tune.search.runner")
                logs = start_ray(self._options.address)
                imports.result()
            resources = self._record.space.settings.resources
            self._worker_plan = plan_workers(resources, machines(), self._options.n_workers, logs)
            self._progress.line(str(self._worker_plan))
        return self._worker_plan
