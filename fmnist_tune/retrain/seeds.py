"""A configuration trained with several seeds; finished seeds stay on disk, so an interrupted run can resume."""

from __future__ import annotations

import dataclasses
import itertools
import json
import shutil
from collections.abc import Mapping, Sequence
from typing import Any

from fmnist_tune.retrain.jobs import Job
from fmnist_tune.search import progress
from fmnist_tune.search.messages import Assignment
from fmnist_tune.study.layout import IDENTITY, RESULT, WEIGHTS, read_json, write_atomically
from fmnist_tune.study.record import StudyRecord
from fmnist_tune.study.seed_results import Plan, SeedResult, file_sizes, finished_seed
from fmnist_tune.tasks.objective import value_of

CHECKPOINTS = ("checkpoint.pt", "previous.pt", "worker.lock", progress.FILE)


class SeedStore:
    """A study's finished seeds on disk; a result counts only for the configuration and the data that it came from."""

    def __init__(self, record: StudyRecord) -> None:
        self._paths = record.paths
        self._task = record.space.settings.task
        self._objective = record.objective
        self._md5 = record.train_md5

    def finished(self, plan: Plan, seed: int) -> SeedResult | None:
        """Return a seed's result; None if it is not finished."""
        return finished_seed(self._paths, plan, seed, self._md5)

    def unfinished(self, plans: Sequence[Plan], seeds: Sequence[int]) -> list[tuple[Plan, int]]:
        """Return the unfinished plans and seeds, plan by plan."""
        return [(plan, seed) for plan in plans for seed in seeds if self.finished(plan, seed) is None]

    def jobs(self, plans: Sequence[Plan], seeds: Sequence[int], n_threads: int) -> list[Job]:
        """Return the unfinished seeds as jobs, which resume from earlier checkpoints."""
        return [
            self._job(plan, seed, number, n_threads)
            for number, (plan, seed) in enumerate(itertools.product(plans, seeds))  # of a single plan: its seeds
            if self.finished(plan, seed) is None
        ]

    def _job(self, plan: Plan, seed: int, number: int, n_threads: int) -> Job:
        folder = self._paths.retraining(plan.label, seed)
        identity = plan.identity(self._md5)
        if read_json(folder / IDENTITY) != identity:  # existing files belong to another training
            shutil.rmtree(folder, ignore_errors=True)
            write_atomically(folder / IDENTITY, json.dumps(identity))
        assignment = Assignment(
            number=number,
            config=plan.config.model_dump(),
            seed=seed,
            n_epochs_known=0,
            checkpoint=str(folder.absolute() / "checkpoint.pt"),
            log=str(self._paths.retrain_log.absolute()),
            n_threads=n_threads,
            with_val=plan.with_val,
            n_epochs=plan.n_epochs,
            task=self._task,
            saves_model=True,
        )
        return Job(f"{plan.name}, seed {seed}", plan, assignment)

    def keep(self, job: Job, metadata: Mapping[str, Any]) -> str:
        """Record a finished training; return a message about it."""
        plan, history, val_accuracy = job.plan, job.history, None
        if plan.with_val:
            val_accuracy = value_of(self._objective, plan.config, history)
        dropped = (*CHECKPOINTS, *(() if plan.keeps_weights else (WEIGHTS,)))
        result = {
            "files": {name: size for name, size in file_sizes(job.folder).items() if name not in dropped},
            "epochs": len(history),
            "train_s": round(sum(r.train_s + r.val_s for r in history), 3),
            "params": metadata["params"],
            "numerics": metadata["numerics"],
            "ran_on": metadata["ran_on"],
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
