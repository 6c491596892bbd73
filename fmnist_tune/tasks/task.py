"""The interface of a task: its data, and how it is trained, tested and reported."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from fmnist_tune.errors import UserError
from fmnist_tune.registry import own_result, plain
from fmnist_tune.study.metrics_file import StoredMetrics
from fmnist_tune.tasks.config import TaskConfig
from fmnist_tune.tasks.objective import Objective

if TYPE_CHECKING:
    from fmnist_tune.config import SearchSpace
    from fmnist_tune.config.schema import Settings
    from fmnist_tune.document.blocks import Block
    from fmnist_tune.report.task_report import TaskReport
    from fmnist_tune.retrain.prediction import Predictor
    from fmnist_tune.search.cluster import WorkerPlan
    from fmnist_tune.study.record import StudyRecord
    from fmnist_tune.study.seed_results import SeedResult
    from fmnist_tune.study.summary import Summary
    from fmnist_tune.tasks.run import Run
    from fmnist_tune.training.run import TrainingRun

Log = Callable[[str], None]


@dataclass(frozen=True)
class Source:
    """A study's data.

    Attributes:
        data: sent to every worker; None for a task that computes its data.
        description: recorded in the study, which then refuses any other source; plain data. Its `fingerprint`, a
            string, and the configuration decide whether a finished retraining is still valid.
    """

    data: Any = None
    description: dict[str, object] = field(default_factory=lambda: {"kind": "computed"})


class Scored(Protocol):
    """The test set of a retrained model; opened only for retraining and reports."""

    @property
    def inputs(self) -> Any:
        """The inputs for `Run.score`."""


class Task:
    """A task: subclass it, set `config`, and implement `new_run`; it must be stateless."""

    # Shown to people, as in "hyperparameter search on ...".
    title: ClassVar[str] = ""
    # The schema of model, training and data.
    config: ClassVar[type[TaskConfig]]
    objective: ClassVar[Objective] = Objective()
    # Whether there is a test set. If so, retraining also trains on the validation data, and the task must implement
    # `open_test` and `figures`; otherwise retraining trains as the search did.
    has_test: ClassVar[bool] = False
    # The word for an epoch.
    epoch: ClassVar[str] = "epoch"
    # The key of a retraining's main figure over seeds in metrics.json; by default the objective's metric.
    result: ClassVar[str] = ""
    # That figure's label; by default the objective's.
    result_label: ClassVar[str] = ""
    # Whether that figure can be set beside the objective: both are accuracies of the same kind.
    compares_validation: ClassVar[bool] = False
    # The schema that readers of metrics.json rely on.
    stored: ClassVar[type[StoredMetrics]] = StoredMetrics
    # Files that `report` may add to a study's report.
    report_files: ClassVar[tuple[str, ...]] = ()

    # Before training

    def title_of(self, space: SearchSpace) -> str:
        """Return a search's title, shown to people."""
        return self.title or space.settings.task

    def warnings(self, settings: Settings, tree: Mapping[str, Any]) -> Iterator[str]:
        """Yield warnings about probable mistakes in a search space; `tree` is the file's plain data."""
        return iter(())

    def problems(self, configs: Sequence[TaskConfig]) -> Iterator[tuple[str, str]]:
        """Yield problems of a space as a whole: dotted path and message; `configs` are the ends of its ranges."""
        return iter(())

    def open_data(self, space: SearchSpace, data_dir: Path | None, log: Log) -> Source:
        """Find and verify a space's training data; the test set stays closed.

        Args:
            space: its data section selects them.
            data_dir: the user's copy of the data.
            log: receives progress messages.

        Raises:
            UserError: the data are missing, damaged, or too few.
        """
        return Source()

    # In a worker

    def prepare(self, config: TaskConfig, data: Any, device: str, *, with_val: bool) -> Any:
        """Return the data prepared for training, such as tensors on the device.

        They are reused for later trials with the same data section.

        Args:
            config: only its data section may be used.
            data: as returned by `open_data`.
            device: "cpu" or "cuda".
            with_val: hold out validation data; otherwise train on them too.
        """
        return data

    def new_run(self, config: Any, data: Any, *, seed: int, device: str, n_epochs: int) -> Run:
        """Return a training that has not started.

        Args:
            config: of the class `config`.
            data: as returned by `prepare`.
            seed: determines all randomness.
            device: "cpu" or "cuda".
            n_epochs: end after this many, on the schedule of all configured ones.
        """
        raise NotImplementedError

    # After training

    def open_test(self, config: Any, data_dir: Path | None, log: Log) -> Scored:
        """Open the test set of a task that has one; for a retraining.

        Raises:
            UserError: it is missing or damaged.
        """
        raise NotImplementedError

    def figures(self, config: Any, seeds: Sequence[SeedResult], test: Any) -> dict[str, Any]:
        """Return a retraining's entries in metrics.json: the figure named `result`, and any others.

        Args:
            config: what was trained.
            seeds: its trainings.
            test: as returned by `open_test`; None for a task without a test set.
        """
        from fmnist_tune.evaluation import spread
        from fmnist_tune.retrain.metrics import spread_json

        return {self.result_key: spread_json(spread([seed.value for seed in seeds]))}

    def inspect(
        self, folder: Path, metrics: dict[str, Any], test: Any, workers: Callable[[], WorkerPlan], log: Log
    ) -> dict[str, Any]:
        """Add the task's files to the model's folder, besides weights and recipe; return the completed metrics.

        Args:
            folder: of the new model.
            metrics: the entries of metrics.json so far.
            test: as for `figures`.
            workers: starts Ray's workers, for parallel work.
            log: receives progress messages.
        """
        return {**metrics, "finished_at": time.strftime("%Y-%m-%d %H:%M:%S")}

    def rename(self, folder: Path, metrics: Mapping[str, Any]) -> None:
        """Update the study's name, given in the metrics, in the files that `inspect` wrote."""

    def spread_text(self, figure: Mapping[str, Any]) -> str:
        """Return the figure named `result` as text, with its known spread over seeds."""
        values, text = figure["values"], self.objective.text
        if len(values) == 1:
            return f"{text(figure['mean'])} (1 seed)"
        return f"{text(figure['mean'])} (mean of {len(values)} seeds, {text(min(values))} to {text(max(values))})"

    def short_result(self, figure: Mapping[str, Any]) -> str:
        """Return a retraining's result for a table cell."""
        return f"{self.result_name} {self.objective.text(figure['mean'])}"

    def compared_result(self, figure: Mapping[str, Any]) -> str:
        """Return the same without its label, for a column of a comparison."""
        return self.spread_text(figure)

    def result_details(self, metrics: Mapping[str, Any]) -> Sequence[Block]:
        """Return further details of metrics.json that `retrain` shows."""
        return ()

    def report(self, record: StudyRecord, summary: Summary, data_dir: Path | None, log: Log) -> TaskReport:
        """Return the report's part on a retraining, or on the best trial.

        Raises:
            UserError: a file is missing or inconsistent.
        """
        from fmnist_tune.report.task_report import plain_report

        return plain_report(self, record)

    def lr_range_run(self, space: SearchSpace, data_dir: Path | None, log: Log, seed: int) -> TrainingRun:
        """Return a training of a recipe for `find-lr`.

        Raises:
            UserError: the task does not support it.
        """
        raise UserError(f"{space.source}: task: {space.settings.task} has no learning-rate range test")

    def predictor(self, folder: Path, space: SearchSpace, retrain: str) -> Predictor:
        """Return the predictor for `predict`.

        Args:
            folder: of a retrained model.
            space: its recipe.
            retrain: the command that makes the folder, for messages.

        Raises:
            UserError: a file is missing or damaged, or the task does not classify.
        """
        raise UserError(f"{space.source}: task: {space.settings.task} has no images")

    @property
    def result_key(self) -> str:
        """The key of a retraining's main figure in metrics.json."""
        return self.result or self.objective.metric

    @property
    def result_name(self) -> str:
        """That figure's label."""
        return self.result_label or self.objective.label


def title_of(space: SearchSpace) -> str:
    """Return the title of a search, by a task that may be somebody's own.

    Raises:
        UserError: it is no text, or the task raised something.
    """
    return own_result(space.task, "title_of", str, space)


def open_source(space: SearchSpace, data_dir: Path | None, log: Log) -> Source:
    """Return what a space is trained on, described as the study will keep it; arguments as of `Task.open_data`.

    Raises:
        UserError: it cannot be had, or not be described.
    """
    source = own_result(space.task, "open_data", Source, space, data_dir, log)
    return replace(source, description=plain(space.task, "open_data", source.description))
