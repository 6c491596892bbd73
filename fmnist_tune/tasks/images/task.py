"""Image classification as a task."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from fmnist_tune.config.parameters import flatten
from fmnist_tune.study.metrics_file import ImageMetrics, StoredMetrics
from fmnist_tune.tasks.config import TaskConfig
from fmnist_tune.tasks.images.config import ImageConfig
from fmnist_tune.tasks.images.data_set import DataSet, Images, Log, described, open_part
from fmnist_tune.tasks.task import Source, Task
from fmnist_tune.units import percent

if TYPE_CHECKING:
    from fmnist_tune.config import SearchSpace
    from fmnist_tune.document.blocks import Block
    from fmnist_tune.report.task_report import TaskReport
    from fmnist_tune.retrain.prediction import Predictor
    from fmnist_tune.search.cluster import WorkerPlan
    from fmnist_tune.study.record import StudyRecord
    from fmnist_tune.study.seed_results import SeedResult
    from fmnist_tune.study.summary import Summary
    from fmnist_tune.training.run import TrainingRun
    from fmnist_tune.training.tensors import TrainingData


class ImageTask(Task):
    """Images of any size with any number of classes; the data set is found by its name."""

    config: ClassVar[type[TaskConfig]] = ImageConfig
    has_test: ClassVar[bool] = True
    result: ClassVar[str] = "test_accuracy"
    result_label: ClassVar[str] = "test accuracy"
    compares_validation: ClassVar[bool] = True
    stored: ClassVar[type[StoredMetrics]] = ImageMetrics
    report_files: ClassVar[tuple[str, ...]] = (
        "confusion_matrix.png", "per_class.png", "reliability.png", "wrong.png", "samples.png", "classes.png",
        "robustness.png", "per_class.csv", "confusion_matrix.csv",
    )  # fmt: skip

    def title_of(self, space: SearchSpace) -> str:
        data: DataSet = next(space.end_configs()).data
        return data.display_name

    def problems(self, configs: Sequence[TaskConfig]) -> Iterator[tuple[str, str]]:
        """Yield a problem if configurations use different data, which makes them incomparable."""
        keys = [flatten(config.data.own_keys) for config in configs]
        for key in dict.fromkeys(key for found in keys for key in found):
            if len({str(found.get(key)) for found in keys}) > 1:
                yield f"data.{key}", "cannot be searched: all trials of a study are trained on the same images"

    def open_data(self, space: SearchSpace, data_dir: Path | None, log: Log) -> Source:
        from fmnist_tune.data.split import describe_split

        data = next(space.end_configs()).data
        images = open_part(data, "train", data_dir, log)
        return Source(images, {**described(data, images), "split": describe_split(space, images)})

    def prepare(self, config: TaskConfig, data: Any, device: str, *, with_val: bool) -> TrainingData:
        from fmnist_tune.training.tensors import TrainingData

        return TrainingData.from_images(data.images_NHW, data.labels_N, config.data, device, with_val=with_val)

    def new_run(self, config: Any, data: Any, *, seed: int, device: str, n_epochs: int) -> TrainingRun:
        from fmnist_tune.training.run import TrainingRun

        return TrainingRun(config, data, seed=seed, device=device, n_epochs=n_epochs)

    def open_test(self, config: Any, data_dir: Path | None, log: Log) -> Images:
        return open_part(config.data, "test", data_dir, log)

    def figures(self, config: Any, seeds: Sequence[SeedResult], test: Any) -> dict[str, Any]:
        from fmnist_tune.retrain.metrics import evaluate

        return evaluate([seed.test_scores() for seed in seeds], test.labels_N, config.images.class_names)

    def inspect(
        self, folder: Path, metrics: dict[str, Any], test: Any, workers: Callable[[], WorkerPlan], log: Log
    ) -> dict[str, Any]:
        from fmnist_tune.retrain.inspection import inspect_model  # imports torch, needed only here

        return inspect_model(folder, metrics, test, workers, log)

    def rename(self, folder: Path, metrics: Mapping[str, Any]) -> None:
        from fmnist_tune.study.layout import AUDIT, CARD

        if (folder / CARD).is_file():
            from fmnist_tune.retrain.card import write_card  # imports torch
            from fmnist_tune.retrain.robustness import read_csv

            write_card(folder, metrics, read_csv(folder / AUDIT))

    def spread_text(self, figure: Mapping[str, Any]) -> str:
        from fmnist_tune.study.results import spread_text

        return spread_text(figure)

    def compared_result(self, figure: Mapping[str, Any]) -> str:
        from fmnist_tune.evaluation import MIN_FOR_INTERVAL, SeedStats

        known = SeedStats.from_json(figure)
        if len(known.values) < MIN_FOR_INTERVAL or known.ci95 is None:
            return self.spread_text(figure)
        return f"{percent(known.mean)} ({percent(known.ci95[0])} to {percent(known.ci95[1])})"

    def result_details(self, metrics: Mapping[str, Any]) -> Sequence[Block]:
        from fmnist_tune.evaluation import ClassSpread
        from fmnist_tune.study.results import class_table, over_seeds

        n_seeds = len(metrics["seeds"])
        classes = {name: ClassSpread.from_json(c, n_seeds) for name, c in metrics["per_class"].items()}
        return (
            f"of each seed: {', '.join(percent(value) for value in metrics['test_accuracy']['values'])}",
            f"expected calibration error {percent(metrics['calibration']['ece']['mean'])}",
            f"by class, {over_seeds(n_seeds)}:",
            class_table(classes),
        )

    def report(self, record: StudyRecord, summary: Summary, data_dir: Path | None, log: Log) -> TaskReport:
        from fmnist_tune.report.model_part import images_report

        return images_report(record, summary, data_dir, log)

    def lr_range_run(self, space: SearchSpace, data_dir: Path | None, log: Log, seed: int) -> TrainingRun:
        import torch

        from fmnist_tune.cpus import limit_threads

        config = space.config({})
        images = open_part(config.data, "train", data_dir, log)
        limit_threads()
        device = "cuda" if torch.cuda.is_available() else "cpu"
        data = self.prepare(config, images, device, with_val=True)
        return self.new_run(config, data, seed=seed, device=device, n_epochs=config.training.epochs)

    def predictor(self, folder: Path, space: SearchSpace, retrain: str) -> Predictor:
        from fmnist_tune.retrain.prediction import Predictor

        return Predictor(folder, space, retrain)
