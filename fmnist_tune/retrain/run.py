"""A retraining from its first check to the saved model: the winner over seeds, the test set, the audit."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from typing import Any

from optuna.trial import FrozenTrial, TrialState
from rich.console import Console

from fmnist_tune.config import SearchSpace, read_space
from fmnist_tune.errors import UserError
from fmnist_tune.evaluation import paired, spread
from fmnist_tune.models.check import check_models
from fmnist_tune.retrain.folder import ModelFolder
from fmnist_tune.retrain.progress import TrainingProgress
from fmnist_tune.retrain.top_k import Candidate, Confirmation, top_k
from fmnist_tune.retrain.trainer import SeedTrainer
from fmnist_tune.search.cluster import prepare_environment
from fmnist_tune.search.run import RunOptions
from fmnist_tune.study.database import STORAGE_ERRORS, StorageLostError, open_database, storage_problem
from fmnist_tune.study.layout import RESULT, TEST_SCORES, StudyPaths, check_folder, make_folder
from fmnist_tune.study.lock import DriverLock
from fmnist_tune.study.recipes import recipe_of
from fmnist_tune.study.record import StudyRecord
from fmnist_tune.study.results import opened_text
from fmnist_tune.study.retraining import COMPARISON
from fmnist_tune.study.retraining_record import DONE, FAILED, INTERRUPTED, RUNNING
from fmnist_tune.study.seed_results import Plan, SeedResult, plan_for
from fmnist_tune.tasks.task import Scored, open_source

MODEL_SEED = 0  # its weights become the model: a fixed rule, since choosing by the test set would be cheating


@dataclass(frozen=True)
class Retraining:
    """A retraining's result.

    Attributes:
        metrics: as in metrics.json.
        confirmation: the comparison of the best trials, if requested.
    """

    metrics: dict[str, Any]
    confirmation: Confirmation | None


def open_recipe(space: SearchSpace, options: RunOptions, *, name_given: bool) -> StudyRecord:
    """Open or create the study of a recipe's training.

    A recipe from a search has the search's name; its own study is then `<name>-recipe`.

    Raises:
        UserError: a study of that name holds something else.
    """
    paths = StudyPaths(options.studies_dir, space.settings.study, options.storage)
    check_folder(options.studies_dir)
    make_folder(options.studies_dir)
    storage = open_database(options.url, create=True)
    if StudyRecord.is_begun(storage, paths) and not StudyRecord.load(storage, paths).is_recipe:
        if name_given:
            raise UserError(f"--study {paths.name}: a search has that name; give another one")
        paths = replace(paths, name=f"{paths.name}-recipe")
        space = read_space(space.to_yaml(), space.source, {"study": paths.name})
    return StudyRecord.open(storage, space, paths)


def retrain(
    record: StudyRecord,
    options: RunOptions,
    *,
    command: str,
    trial: int | None,
    n_seeds: int,
    top: int | None,
    console: Console,
    started: float,
) -> Retraining | None:
    """Train a study's winner, or its recipe, on train + val over seeds; test each model once; keep the first.

    Args:
        record: the study.
        options: its files, database and cluster.
        command: `retrain` or `train`, for the record of test set uses.
        trial: the winner's number; None for the best trial, or for a recipe.
        n_seeds: seeds 0 to n_seeds - 1.
        top: first compare this many of the best trials over the seeds, on the validation split.
        console: for progress, on stderr.
        started: time.monotonic() of the command.

    Returns:
        The result; None if it was interrupted, to be resumed by the same command.

    Raises:
        UserError: there is nothing to train, or a training failed.
    """
    chosen = [] if record.is_recipe else top_k(record, trial, top)
    prepare_environment()
    with (
        _storage_problem_told(record),
        ExitStack() as held,
        TrainingProgress(console, started, record.objective) as progress,
    ):
        source = open_source(record.space, options.data_dir, progress.line)
        lock = held.enter_context(DriverLock(record.paths))
        record.hold.take(lock.folder_id)
        held.callback(record.hold.end)
        record.bind_folder(lock.folder_id)
        record.bind_data(source.description)
        work = _Work(record, options, source.data, list(range(n_seeds)), top, progress, held)
        try:
            result = work.run(chosen, command)
        except KeyboardInterrupt:
            result = None
        except Exception as error:
            record.hold.find_loss()  # if so, that is the reason
            kind = "" if isinstance(error, UserError) else f"{type(error).__name__}: "
            with suppress(*STORAGE_ERRORS):  # report the error itself, not that it cannot be recorded
                work.note(state=FAILED, reason=f"{kind}{error}")
            raise
        record.hold.check()
        work.note(state=INTERRUPTED if result is None else DONE)
        return result


@contextmanager
def _storage_problem_told(record: StudyRecord) -> Iterator[None]:
    try:
        yield
    except StorageLostError as error:
        kept = "finished seeds are kept: repair it, and the same command goes on"
        raise UserError(
            f"study {record.paths.name} cannot be written any more: {error}\n{error.advice or kept}"
        ) from None
    except Exception as error:
        reason = storage_problem(error)
        if reason is None:
            raise
        raise UserError(
            f"{record.paths.folder}: cannot be written: {reason}; finished seeds are kept: repair it, and the same "
            "command goes on"
        ) from error


class _Work:
    """One command's work on a study whose lock is held."""

    def __init__(
        self,
        record: StudyRecord,
        options: RunOptions,
        data: Any,
        seeds: list[int],
        top: int | None,
        progress: TrainingProgress,
        held: ExitStack,
    ) -> None:
        self._record = record
        self._options = options
        self._task = record.space.task
        self._seeds = seeds
        self._progress = progress
        self._trainer = SeedTrainer(record, options, data, seeds, progress, held)
        self._folder = ModelFolder(record)
        self._status: dict[str, Any] = {
            "state": RUNNING,
            "reason": None,
            "trial": None,
            "label": COMPARISON,
            "top": top,
            "seeds": seeds,
            "epochs": None,
            "began_at": time.strftime("%Y-%m-%d %H:%M:%S"),
        }

    def note(self, **facts: Any) -> None:
        """Record the retraining's status in the study."""
        self._status |= facts
        self._record.retraining.set_status(self._status)

    def run(self, chosen: Sequence[FrozenTrial], command: str) -> Retraining | None:
        """Retrain the best of the chosen trials, or the recipe without any; return None if stopped."""
        confirmation = None
        if len(chosen) > 1:
            confirmation = self._confirm(chosen)
            if confirmation is None:
                return None
            chosen = [t for t in chosen if t.number == confirmation.candidates[0].number]
        metrics = self._retrain(chosen[0] if chosen else None, command)
        return None if metrics is None else Retraining(metrics, confirmation)

    def _confirm(self, trials: Sequence[FrozenTrial]) -> Confirmation | None:
        """Train trials over the seeds on the training split, and compare their values."""
        self.note()
        plans = [
            Plan(f"confirm-trial-{t.number}", f"trial {t.number}", config, config.training.epochs, with_val=True)
            for t in trials
            for config in [self._record.config_of(t)]
        ]
        check_models([plan.config for plan in plans], self._record.space.source)
        results = self._trainer.train(plans, None)
        if results is None:
            return None
        values = {
            t.number: [result.value for result in results[plan.label]] for t, plan in zip(trials, plans, strict=True)
        }
        ranked = sorted(trials, key=lambda t: (-spread(values[t.number]).mean, t.number))
        return Confirmation(
            tuple(Candidate(t.number, t.value or 0.0, spread(values[t.number])) for t in ranked),
            paired(values[ranked[0].number], values[ranked[1].number]),
        )

    def _retrain(self, trial: FrozenTrial | None, command: str) -> dict[str, Any] | None:
        """Train over the seeds, on train + val if there is a test set, and save the model."""
        plan = plan_for(self._record, trial)
        self.note(trial=None if trial is None else trial.number, label=plan.label, epochs=plan.n_epochs)
        test = None
        if self._task.has_test:
            test = self._task.open_test(plan.config, self._options.data_dir, self._progress.line)
        may_be_known = self._trainer.has_finished(plan)
        if not may_be_known:
            check_models([plan.config], self._record.space.source)
        use = (lambda: None) if test is None else lambda: self._record_test_use(trial, command)
        results = self._trainer.train([plan], None if test is None else test.inputs, use)
        if results is None:
            return None
        of_seeds = results[plan.label]
        metrics = self._metrics(trial, plan, of_seeds, test)
        known = self._folder.known(metrics) if may_be_known else None
        if known is not None:
            self._progress.line("nothing was left to train")
            return known
        kept = next(result for result in of_seeds if result.seed == MODEL_SEED)
        new = self._folder.begin(kept, recipe_of(self._record, trial))
        metrics = self._task.inspect(new, metrics, test, self._trainer.workers, self._progress.line)
        return self._folder.keep(new, metrics)

    def _record_test_use(self, trial: FrozenTrial | None, command: str) -> None:
        """Record, once per retraining, that models are about to be scored on the test images."""
        before = len(self._record.retraining.test_uses)
        number = None if trial is None else trial.number
        n_uses = self._record.retraining.add_test_use(command, number, self._seeds)
        if n_uses > max(before, 1):
            uses = self._record.retraining.test_uses
            others = {use["trial"] for use in uses if use["command"] != "report"} - {number}
            self._progress.line(
                opened_text(n_uses)
                + (", for more than one trial: choosing between them by it would not be honest" if others else ""),
                "yellow",
            )

    def _metrics(
        self, trial: FrozenTrial | None, plan: Plan, results: Sequence[SeedResult], test: Scored | None
    ) -> dict[str, Any]:
        """Return the entries of metrics.json that follow from the trainings."""
        paths = self._record.paths

        def files(name: str) -> list[str]:
            return [str((r.folder / name).relative_to(paths.folder)) for r in results]

        metrics: dict[str, Any] = {
            "study": paths.name,
            "trial": None if trial is None else trial.number,
            "config": json.loads(json.dumps(plan.config.model_dump(mode="json"))),  # as it will be read back
            "seeds": [r.seed for r in results],
            "epochs": plan.n_epochs,
            "params": results[0].params,
            "train_s": round(sum(r.train_s for r in results), 3),
            "model": str(paths.model),
        }
        if test is None:
            metrics["curves"] = files(RESULT)
        else:
            metrics["val_accuracy"] = trial.value if trial is not None and trial.state == TrialState.COMPLETE else None
            metrics["test_uses"] = len(self._record.retraining.test_uses)
            metrics["scores"] = files(TEST_SCORES)
        return metrics | self._task.figures(plan.config, results, test)
