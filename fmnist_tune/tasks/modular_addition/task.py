"""Modular addition as a task."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from fmnist_tune.config.schema import Settings
from fmnist_tune.study.metrics_file import Figure, StoredMetrics
from fmnist_tune.tasks.config import TaskConfig
from fmnist_tune.tasks.modular_addition.config import SPLIT_SEED, ModularConfig, ModularTraining
from fmnist_tune.tasks.modular_addition.outcome import StepsLeft
from fmnist_tune.tasks.objective import Objective
from fmnist_tune.tasks.task import Log, Source, Task

if TYPE_CHECKING:
    from fmnist_tune.config import SearchSpace
    from fmnist_tune.document.blocks import Block
    from fmnist_tune.report.task_report import TaskReport
    from fmnist_tune.study.record import StudyRecord
    from fmnist_tune.study.seed_results import SeedResult
    from fmnist_tune.study.summary import Summary
    from fmnist_tune.tasks.modular_addition.run import ModularRun


class PairMetrics(StoredMetrics):
    """The metrics that `show`, `studies`, the dashboard and the report read from the study."""

    steps_to_solve: Figure
    config: dict[str, Any]
    curves: list[str]


class ModularAddition(Task):
    """Addition modulo a number, trained on a part of all pairs; the others are for validation."""

    title: ClassVar[str] = "modular addition"
    config: ClassVar[type[TaskConfig]] = ModularConfig
    objective: ClassVar[Objective] = StepsLeft()
    epoch: ClassVar[str] = "evaluation"
    result: ClassVar[str] = "steps_to_solve"
    result_label: ClassVar[str] = "99 % validation accuracy"
    stored: ClassVar[type[StoredMetrics]] = PairMetrics
    report_files: ClassVar[tuple[str, ...]] = ("grokking.png",)

    def warnings(self, settings: Settings, tree: Mapping[str, Any]) -> Iterator[str]:
        """Warn that early comparisons mislead, since every run first has to cross a plateau."""
        pruner = settings.search.pruner
        first = pruner.first_milestone
        if math.isinf(first):
            return
        training = tree.get("training")
        given = training if isinstance(training, dict) else {}
        steps, every = (given.get(key, ModularTraining.model_fields[key].default) for key in ("steps", "eval_every"))
        half = steps // every // 2 if isinstance(steps, int) and isinstance(every, int) else None
        if half is not None and first >= half:
            return
        instead = "" if half is None else f", or min_epochs of at least {half} (half of all evaluations)"
        yield (
            f"search.pruner: {pruner.name} compares trials by validation accuracy after {first:g} "
            f"evaluation{'s' if first > 1 else ''}, where those that generalise later look like those that "
            f"never do, and ends them; use {{name: none}}{instead}"
        )

    def open_data(self, space: SearchSpace, data_dir: Path | None, log: Log) -> Source:
        return Source(None, {"kind": "pairs (a, b), computed", "split_seed": SPLIT_SEED})

    def new_run(self, config: Any, data: Any, *, seed: int, device: str, n_epochs: int) -> ModularRun:
        from fmnist_tune.tasks.modular_addition.run import ModularRun

        return ModularRun(config, seed=seed, device=device, n_epochs=n_epochs)

    def figures(self, config: Any, seeds: Sequence[SeedResult], test: Any) -> dict[str, Any]:
        from fmnist_tune.tasks.modular_addition.metrics import pair_metrics

        return pair_metrics(config, [seed.results() for seed in seeds])

    def spread_text(self, figure: Mapping[str, Any]) -> str:
        from fmnist_tune.tasks.modular_addition.metrics import steps_text

        return steps_text(figure)

    def short_result(self, figure: Mapping[str, Any]) -> str:
        return f"solved {self.spread_text(figure)}"

    def result_details(self, metrics: Mapping[str, Any]) -> Sequence[Block]:
        from fmnist_tune.tasks.modular_addition.metrics import details

        return details(metrics)

    def report(self, record: StudyRecord, summary: Summary, data_dir: Path | None, log: Log) -> TaskReport:
        from fmnist_tune.report.task_report import TaskReport
        from fmnist_tune.tasks.modular_addition.report import grokking_content

        return TaskReport(content=grokking_content(record))
