"""One configuration trained with several seeds; what is finished stays on disk, so that an interrupted run goes on."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from optuna.trial import FrozenTrial

from fmnist_tune.config import TrialConfig
from fmnist_tune.config.tasks import AnyConfig
from fmnist_tune.data.fashion_mnist import Images
from fmnist_tune.retrain.progress import TrainingProgress
from fmnist_tune.search import progress
from fmnist_tune.search.messages import TEST_SCORES, WEIGHTS, TrialReport
from fmnist_tune.search.pool import Job, Pool
from fmnist_tune.study.layout import RESULT, StudyPaths, read_json, write_atomically
from fmnist_tune.study.record import StudyRecord, best_epoch_of
from fmnist_tune.training.results import EpochResult
from fmnist_tune.valuation import OBJECTIVES, value_of

IDENTITY = "of.json"
CHECKPOINTS = ("checkpoint.pt", "previous.pt", "worker.lock", progress.FILE)


@dataclass(frozen=True)
class Plan:
    """One configuration to be trained with several seeds.

    Attributes:
        label: its folder's name.
        name: for people.
        config: what to train.
        n_epochs: stop after so many, on the schedule of all that are configured.
        with_val: hold out the validation split; otherwise it is trained on, and the test pictures are scored.
        keeps_weights: leave the model, although there was a validation split.
    """

    label: str
    name: str
    config: AnyConfig
    n_epochs: int
    with_val: bool
    keeps_weights: bool = False


def plan_for(record: StudyRecord, trial: FrozenTrial | None, *, with_val: bool) -> Plan:
    """Return what a retraining trains: a trial's configuration, for as long as it was best, or the recipe.

    Args:
        record: the study.
        trial: one that has ended; None for a recipe.
        with_val: hold out the validation split all the same.
    """
    config = record.space.config({}) if trial is None else record.config_of(trial)
    best_epoch = None if trial is None else best_epoch_of(trial)
    n_epochs = config.training.epochs if best_epoch is None else best_epoch
    if isinstance(config, TrialConfig) and config.training.early_stopping is not None:
        # there is nothing to validate on
        config = config.model_copy(update={"training": config.training.model_copy(update={"early_stopping": None})})
    label = "recipe" if trial is None else f"trial-{trial.number}"
    return Plan(label, label.replace("-", " "), config, n_epochs, with_val=with_val, keeps_weights=True)


@dataclass(frozen=True)
class SeedResult:
    """One finished training.

    Attributes:
        seed: of the training.
        folder: with its weights and test scores.
        epochs: trained.
        train_s: seconds spent in training and validation.
        n_params: trainable parameters.
        value: as a search would have valued it; nan if the validation split was trained on.
    """

    seed: int
    folder: Path
    epochs: int
    train_s: float
    n_params: int
    value: float

    def history(self) -> list[EpochResult]:
        """Return every epoch; of a training with a validation split."""
        found = read_json(self.folder / RESULT)
        assert isinstance(found, dict)
        return [EpochResult(**result) for result in found["history"]]

    def test_scores(self) -> NDArray[np.float32]:
        """Return the scores on the test pictures, (N, 10)."""
        scores: NDArray[np.float32] = np.load(self.folder / TEST_SCORES, allow_pickle=False)
        return scores


class SeedStore:
    """Finished seeds of a study, on disk; a result counts only for the configuration and the data that gave it."""

    def __init__(self, paths: StudyPaths, images: Images | None) -> None:
        self._paths = paths
        self._md5 = [] if images is None else list(images.md5)

    def finished(self, plan: Plan, seed: int) -> SeedResult | None:
        """Return a seed's result; None if it is yet to be trained."""
        folder = self._paths.retraining(plan.label, seed)
        found = read_json(folder / RESULT)
        if not isinstance(found, dict) or read_json(folder / IDENTITY) != self._identity(plan):
            return None
        files = found.get("files")
        if not isinstance(files, dict) or not files.items() <= _sizes(folder).items():  # one is gone or cut short
            return None
        val_accuracy = found["val_accuracy"]
        return SeedResult(
            seed,
            folder,
            found["epochs"],
            found["train_s"],
            found["params"],
            float("nan") if val_accuracy is None else val_accuracy,
        )

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

        def on_epoch(job: Job, report: TrialReport) -> None:
            display.on_epoch(job, report)
            if report.stop_reason is not None:
                before_scoring()

        def on_end(job: Job, report: TrialReport) -> None:
            display.on_end(job, self._keep(plans[job.folder], job, report))

        display.expect(len(jobs))
        return pool.run(jobs, on_epoch, on_end, display.on_begin)

    def _job(self, plan: Plan, seed: int) -> Job:
        folder = self._paths.retraining(plan.label, seed)
        identity = self._identity(plan)
        if read_json(folder / IDENTITY) != identity:  # what is there, if anything, belongs to something else
            shutil.rmtree(folder, ignore_errors=True)
            write_atomically(folder / IDENTITY, json.dumps(identity))
        name = f"{plan.name}, seed {seed}"
        return Job(name, plan.config, seed, plan.with_val, plan.n_epochs, folder, self._paths.retrain_log)

    def _keep(self, plan: Plan, job: Job, report: TrialReport) -> str:
        """Write down a finished training; returns what to say of it."""
        history = report.history
        val_accuracy = None
        if plan.with_val:
            val_accuracy = value_of(plan.config, history)
        dropped = (*CHECKPOINTS, *(() if plan.keeps_weights else (WEIGHTS,)))
        result = {
            "files": {name: size for name, size in _sizes(job.folder).items() if name not in dropped},
            "epochs": len(history),
            "train_s": round(sum(r.train_s + r.val_s for r in history), 3),
            "params": report.facts["params"],
            "numerics": report.facts["numerics"],
            "ran_on": report.facts["ran_on"],
            "val_accuracy": val_accuracy,
            "history": [
                {k: v for k, v in dataclasses.asdict(r).items() if plan.with_val or not k.startswith("val_")}
                for r in history
            ],
        }
        write_atomically(job.folder / RESULT, json.dumps(result))
        for name in dropped:
            (job.folder / name).unlink(missing_ok=True)
        said = "" if val_accuracy is None else f", {OBJECTIVES[plan.config.task].sentence(val_accuracy)}"
        return f"{len(history)} epochs in {result['train_s']:.0f} s{said}"

    def _identity(self, plan: Plan) -> dict[str, Any]:
        """Return what a result follows from, besides its seed."""
        described = {
            "config": plan.config.model_dump(),
            "n_epochs": plan.n_epochs,
            "with_val": plan.with_val,
            "train_md5": self._md5,
        }
        identity: dict[str, Any] = json.loads(json.dumps(described))
        return identity


def _sizes(folder: Path) -> dict[str, int]:
    """Return the size in bytes of what a training has left, by name."""
    files = (folder / name for name in (WEIGHTS, TEST_SCORES))
    return {path.name: path.stat().st_size for path in files if path.is_file()}
