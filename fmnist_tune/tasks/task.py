"""What a task is: what is learned, from which data, how it is trained, tested and reported."""

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
    """What a study is trained on.

    Attributes:
        data: what every worker gets; None for a task whose data are computed.
        description: recorded in the study, which refuses another source from then on; plain data. What is under
            `fingerprint`, a text, decides with the configuration whether a finished retraining still counts.
    """

    data: Any = None
    description: dict[str, object] = field(default_factory=lambda: {"kind": "computed"})


class Scored(Protocol):
    """What a retrained model is tested on; opened for retraining and reports alone."""

    @property
    def inputs(self) -> Any:
        """What `Run.score` scores."""


class Task:
    """A task: derive from it, name its `config`, and give it `new_run`; it keeps no state of its own."""

    # For people, as in "hyperparameter search on ...".
    title: ClassVar[str] = ""
    # The schema of model, training and data.
    config: ClassVar[type[TaskConfig]]
    objective: ClassVar[Objective] = Objective()
    # Whether there is a test set. Retraining then trains on the validation data too, and `open_test` and `figures` are
    # the task's own; otherwise it trains as the search did.
    has_test: ClassVar[bool] = False
    # What an epoch is called.
    epoch: ClassVar[str] = "epoch"
    # The key of metrics.json that says how a retraining did, a figure over seeds; by default the objective's metric.
    result: ClassVar[str] = ""
    # What that figure is called; by default as the objective.
    result_label: ClassVar[str] = ""
    # Whether that figure can be set beside the objective: both are accuracies of the same kind.
    compares_validation: ClassVar[bool] = False
    # What readers of metrics.json rely on.
    stored: ClassVar[type[StoredMetrics]] = StoredMetrics
    # Files that `report` may add to a study's report.
    report_files: ClassVar[tuple[str, ...]] = ()

    # Before training

    def title_of(self, space: SearchSpace) -> str:
        """Return on what a search is, for people."""
        return self.title or space.settings.task

    def warnings(self, settings: Settings, tree: Mapping[str, Any]) -> Iterator[str]:
        """Yield what a search space allows but probably does not mean; `tree` is the file's plain data."""
        return iter(())

    def problems(self, configs: Sequence[TaskConfig]) -> Iterator[tuple[str, str]]:
        """Yield what is wrong with a space as a whole: dotted path and message; `configs` take it to its ends."""
        return iter(())

    def open_data(self, space: SearchSpace, data_dir: Path | None, log: Log) -> Source:
        """Find and verify what a space is trained on; the test set stays closed.

        Args:
            space: its data section decides.
            data_dir: the user's copy of the data.
            log: gets a line for people about what is being done.

        Raises:
            UserError: the data are missing, damaged, or too few.
        """
        return Source()

    # In a worker

    def prepare(self, config: TaskConfig, data: Any, device: str, *, with_val: bool) -> Any:
        """Return the data as trainings of this data section need them, such as tensors on the device.

        They are kept for the trials after it, as long as these have the same data section.

        Args:
            config: its data section alone may be looked at.
            data: what `open_data` found.
            device: "cpu" or "cuda".
            with_val: hold out validation data; otherwise they are trained on too.
        """
        return data

    def new_run(self, config: Any, data: Any, *, seed: int, device: str, n_epochs: int) -> Run:
        """Return a training that has not begun.

        Args:
            config: of the class `config`.
            data: what `prepare` returned.
            seed: all that is random follows from it.
            device: "cpu" or "cuda".
            n_epochs: end after so many, on the schedule of all that are configured.
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
        """Return what metrics.json says of a retraining: the figure named `result`, and whatever else.

        Args:
            config: what was trained.
            seeds: its trainings.
            test: what `open_test` returned; None for a task without a test set.
        """
        from fmnist_tune.evaluation import spread
        from fmnist_tune.retrain.metrics import spread_json

        return {self.result_key: spread_json(spread([seed.value for seed in seeds]))}

    def inspect(
        self, folder: Path, metrics: dict[str, Any], test: Any, workers: Callable[[], WorkerPlan], log: Log
    ) -> dict[str, Any]:
        """Put into the model's folder what belongs there besides weights and recipe; returns the metrics, completed.

        Args:
            folder: of the new model.
            metrics: what metrics.json will have, as far as it is known.
            test: as of `figures`.
            workers: starts Ray's, if what there is to do is to be spread over them.
            log: gets a line for people about what is being done.
        """
        return {**metrics, "finished_at": time.strftime("%Y-%m-%d %H:%M:%S")}

    def rename(self, folder: Path, metrics: Mapping[str, Any]) -> None:
        """Let what `inspect` wrote say the study's new name, which is in the metrics."""

    def spread_text(self, figure: Mapping[str, Any]) -> str:
        """Return the figure named `result` in words, with what is known of its spread over seeds."""
        values, text = figure["values"], self.objective.text
        if len(values) == 1:
            return f"{text(figure['mean'])} (1 seed)"
        return f"{text(figure['mean'])} (mean of {len(values)} seeds, {text(min(values))} to {text(max(values))})"

    def short_result(self, figure: Mapping[str, Any]) -> str:
        """Return how a retraining did, for a cell of a table."""
        return f"{self.result_name} {self.objective.text(figure['mean'])}"

    def compared_result(self, figure: Mapping[str, Any]) -> str:
        """Return the same without saying of what, for a column of a comparison."""
        return self.spread_text(figure)

    def result_details(self, metrics: Mapping[str, Any]) -> Sequence[Block]:
        """Return what else `retrain` shows of metrics.json."""
        return ()

    def report(self, record: StudyRecord, summary: Summary, data_dir: Path | None, log: Log) -> TaskReport:
        """Return what the report says of a retraining, or of the best trial.

        Raises:
            UserError: a file is missing or does not fit.
        """
        from fmnist_tune.report.task_report import plain_report

        return plain_report(self, record)

    def lr_range_run(self, space: SearchSpace, data_dir: Path | None, log: Log, seed: int) -> TrainingRun:
        """Return a training of a recipe for `find-lr`.

        Raises:
            UserError: there is none for this task.
        """
        raise UserError(f"{space.source}: task: {space.settings.task} has no learning-rate range test")

    def predictor(self, folder: Path, space: SearchSpace, retrain: str) -> Predictor:
        """Return what `predict` classifies with.

        Args:
            folder: of a retrained model.
            space: its recipe.
            retrain: the command that makes the folder, for messages.

        Raises:
            UserError: a file is missing or damaged, or the task has nothing to classify.
        """
        raise UserError(f"{space.source}: task: {space.settings.task} has no images")

    @property
    def result_key(self) -> str:
        """Which figure of metrics.json says how a retraining did."""
        return self.result or self.objective.metric

    @property
    def result_name(self) -> str:
        """What that figure is called."""
        return self.result_label or self.objective.label


def open_source(space: SearchSpace, data_dir: Path | None, log: Log) -> Source:
    """Return what a space is trained on, described as the study will keep it; arguments as of `Task.open_data`.

    Raises:
        UserError: it cannot be had, or not be described.
    """
    source = own_result(space.task, "open_data", Source, space, data_dir, log)
    return replace(source, description=plain(space.task, "open_data", source.description))
