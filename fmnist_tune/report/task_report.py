"""A task's part of a report."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fmnist_tune.document.blocks import Content, Fact, Finding, Section, Table, capital
from fmnist_tune.study.record import StudyRecord

if TYPE_CHECKING:
    from fmnist_tune.tasks.task import Task


@dataclass(frozen=True)
class TaskReport:
    """A report's part on a retraining.

    Attributes:
        content: the task's half of the report; None for none.
        metrics: of the retrained model; None for none.
        train_md5, test_md5: of the data opened for it.
        about_data: further text about them.
    """

    content: Content | None = None
    metrics: Mapping[str, Any] | None = None
    train_md5: tuple[str, ...] = ()
    test_md5: tuple[str, ...] = ()
    about_data: tuple[str, ...] = ()


def plain_report(task: Task, record: StudyRecord) -> TaskReport:
    """Return the result of a retraining, for a task without details of its own."""
    metrics = record.retraining.result
    if metrics is None:
        return TaskReport()
    figure = metrics[task.result_key]
    what = "The recipe" if metrics["trial"] is None else f"Trial {metrics['trial']}"
    name, text = task.result_name, task.objective.text
    spread = task.spread_text(figure)
    rows = tuple((str(seed), text(value)) for seed, value in zip(metrics["seeds"], figure["values"], strict=True))
    section = Section("Seeds", (f"{name} of each training", Table(("seed", name), rows)))
    content = Content(
        (Fact(capital(name), text(figure["mean"]), "retrained"),),
        (Finding(f"{what} retrained: {name} {spread}."),),
        Section("The retrained model", (section,)),
        {},
    )
    return TaskReport(content, metrics)
