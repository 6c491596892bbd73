"""One configuration trained with several seeds; what is finished stays on disk, so that an interrupted run goes on."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from fmnist_tune.retrain.progress import TrainingProgress
from fmnist_tune.search import progress
from fmnist_tune.search.messages import TrialReport
from fmnist_tune.search.pool import Job, Pool
from fmnist_tune.study.layout import IDENTITY, RESULT, WEIGHTS, read_json, write_atomically
from fmnist_tune.study.record import StudyRecord
from fmnist_tune.study.seed_results import Plan, SeedResult, file_sizes, finished_seed
from fmnist_tune.training.results import EpochResult

CHECKPOINTS = ("checkpoint.pt", "previous.pt", "worker.lock", progress.FILE)


class SeedStore:
    """Finished seeds of a study, on disk; a result counts only for the configuration and the data that gave it."""

    def __init__(self, record: StudyRecord) -> None:
        self._paths = record.paths
        self._task = record.space.settings.task
        self._objective = record.objective
        self._md5 = record.train_md5

    def finished(self, plan: Plan, seed: int) -> SeedResult | None:
        """Return a seed's result; None if it is yet to be trained."""
        return finished_seed(self._paths, plan, seed, self._md5)

    def unfinished(self, plans: Sequence[Plan], seeds: Sequence[int]) -> list[tuple[Plan, int]]:
        """Return what is yet to be trained, one configuration's seeds after another's."""
        return [(plan, seed) for plan in plans for seed in seeds if self.finished(plan, seed) is None]

    def train(
        self,
        todo: Sequence[tuple[Plan, int]],
        pool: Pool,
        display: TrainingProgress,
        before_scoring: Callable[[], None],
    ) -> bool:
        """Train plans with seeds; what was begun goes on.

        Args:
            todo: what to train.
            pool: of Ray's actors.
            display: shown to people.
            before_scoring: called whenever a training has ended, before its model is scored.

        Returns:
            Whether all ended; False if it was stopped.

        Raises:
            JobError: a training failed.
        """
        jobs = [self._job(plan, seed) for plan, seed in todo]
        plans = {job.folder: plan for job, (plan, _) in zip(jobs, todo, strict=True)}

        histories: dict[Path, list[EpochResult]] = {job.folder: [] for job in jobs}

        def on_epoch(job: Job, report: TrialReport) -> None:
            display.on_epoch(job, report)
            history = histories[job.folder]  # a worker that takes over from a dead one tells all of them again
            history += [result for result in report.epochs if result.epoch > len(history)]
            if report.stop_reason is not None:
                before_scoring()

        def on_end(job: Job, report: TrialReport) -> None:
            display.on_end(job, self._keep(plans[job.folder], job, report.facts, histories[job.folder]))

        display.expect(len(jobs))
        return pool.run(jobs, on_epoch, on_end, display.on_begin, display.on_wait)

    def _job(self, plan: Plan, seed: int) -> Job:
        folder = self._paths.retraining(plan.label, seed)
        identity = plan.identity(self._md5)
        if read_json(folder / IDENTITY) != identity:  # what is there, if anything, belongs to something else
            shutil.rmtree(folder, ignore_errors=True)
            write_atomically(folder / IDENTITY, json.dumps(identity))
        name = f"{plan.name}, seed {seed}"
        return Job(name, self._task, plan.config, seed, plan.with_val, plan.n_epochs, folder, self._paths.retrain_log)

    def _keep(self, plan: Plan, job: Job, facts: Mapping[str, Any], history: Sequence[EpochResult]) -> str:
        """Write down a finished training; returns what to say of it."""
        val_accuracy = None
        if plan.with_val:
            val_accuracy = self._objective.value_of(plan.config, history)
        dropped = (*CHECKPOINTS, *(() if plan.keeps_weights else (WEIGHTS,)))
        result = {
            "files": {name: size for name, size in file_sizes(job.folder).items() if name not in dropped},
            "epochs": len(history),
            "train_s": round(sum(r.train_s + r.val_s for r in history), 3),
            "params": facts["params"],
            "numerics": facts["numerics"],
            "ran_on": facts["ran_on"],
            "val_accuracy": val_accuracy,
            "history": [
                {k: v for k, v in dataclasses.asdict(r).items() if plan.with_val or not k.startswith("val_")}
                for r in history
            ],
        }
        write_atomically(job.folder / RESULT, json.dumps(result))
        for name in dropped:
            (job.folder / name).unlink(missing_ok=True)
        said = "" if val_accuracy is None else f", {self._objective.sentence(val_accuracy)}"
        return f"{len(history)} epochs in {result['train_s']:.0f} s{said}"
