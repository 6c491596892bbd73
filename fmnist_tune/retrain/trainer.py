"""Configurations trained over seeds, on Ray's workers, which start when there is something to train."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any

from fmnist_tune.errors import UserError
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
    """Trains what is yet to be trained of a study's configurations, each with the same seeds."""

    def __init__(
        self,
        record: StudyRecord,
        place: RunOptions,
        data: Any,
        seeds: Sequence[int],
        progress: TrainingProgress,
        held: ExitStack,
    ) -> None:
        """Start nothing yet.

        Args:
            record: the study, whose lock is held.
            place: where Ray is, and how many workers.
            data: what the task's `open_data` found.
            seeds: of every configuration's trainings.
            progress: shown to people.
            held: on leaving it Ray ends, if it was started.
        """
        self._record = record
        self._place = place
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
        """Return every plan's results by label, in the order of the seeds; None if it was stopped.

        Args:
            plans: what to train.
            test_inputs: scored by every finished model; None to leave the test set alone.
            before_scoring: called whenever a training has ended, before its model is scored.

        Raises:
            UserError: a training failed.
        """
        todo = self._store.unfinished(plans, self._seeds)
        if todo:
            from fmnist_tune.search.pool import JobError, Pool

            make_folder(self._record.paths.retrain_log.parent)
            pool = Pool(
                self.workers(),
                self._data,
                test_inputs,
                pace=Pace(is_local=self._place.address is None),
                say=self._progress.warn,
                check=self._record.hold.check,
            )
            try:
                with stopping_on_signals(pool, self._progress.line):
                    if not self._store.train(todo, pool, self._progress, before_scoring):
                        return None
            except JobError as error:
                raise UserError(str(error)) from None
        results: dict[str, list[SeedResult]] = {}
        for plan in plans:
            found = [self._store.finished(plan, seed) for seed in self._seeds]
            results[plan.label] = [result for result in found if result is not None]
        return results

    def workers(self) -> WorkerPlan:
        """Start Ray, once."""
        if self._worker_plan is None:
            self._progress.line("starting Ray")
            self._held.callback(stop_ray)
            logs = start_ray(self._place.address)
            resources = self._record.space.settings.resources
            self._worker_plan = plan_workers(resources, machines(), self._place.n_workers, logs)
            self._progress.line(str(self._worker_plan))
        return self._worker_plan
