"""The retrained model's figures as CSV, for pandas."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from typing import Any

from fmnist_tune.evaluation import SeedStats
from fmnist_tune.report.model_info import ClassFigures, ConfusionInfo


def per_class_csv(figures: Sequence[ClassFigures]) -> str:
    """Return precision, recall and F1 of each class: mean, standard deviation, 95% interval over seeds."""
    columns = [
        f"{name}{part}" for name in ("precision", "recall", "f1") for part in ("", "_std", "_ci_low", "_ci_high")
    ]
    return _csv(
        ["class", *columns, "support"],
        ([c.name, *_cells(c.precision), *_cells(c.recall), *_cells(c.f1), c.support] for c in figures),
    )


def confusion_csv(info: ConfusionInfo) -> str:
    """Return the mean counts; rows are true classes, columns predicted ones."""
    return _csv(
        ["true", *info.names], ([name, *map(float, row)] for name, row in zip(info.names, info.counts_KK, strict=True))
    )


def _cells(figure: SeedStats | None) -> list[float | None]:
    if figure is None:
        return [None] * 4
    low, high = figure.ci95 or (None, None)
    return [figure.mean, figure.std, low, high]


def _csv(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    return buffer.getvalue()
