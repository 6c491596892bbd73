"""What a retraining gave, as metrics.json and the study keep it: whether all that its readers rely on is there."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pydantic
from pydantic import BaseModel, NonNegativeInt

_N_SHOWN = 3


class Figure(BaseModel):
    """A figure over seeds; None where no seed has one."""

    values: Sequence[float | None]
    mean: float | None
    std: float | None
    ci95: tuple[float, float] | None


class _Accuracy(Figure):
    values: Sequence[float] = pydantic.Field(min_length=1)
    mean: float


class _Class(BaseModel):
    recall: float | None
    support: NonNegativeInt


class StoredMetrics(BaseModel):
    """What is read of every task's, in the study."""

    trial: NonNegativeInt | None
    seeds: list[NonNegativeInt] = pydantic.Field(min_length=1)


class ImageMetrics(StoredMetrics):
    """Of a task that classifies images: what `show`, `studies` and the dashboard read in the study."""

    test_accuracy: _Accuracy
    per_class: dict[str, _Class]
    val_accuracy: float | None


class _Reported(StoredMetrics):
    """What the report reads in metrics.json."""

    config: dict[str, Any]
    epochs: NonNegativeInt
    params: NonNegativeInt
    val_accuracy: float | None
    scores: list[str] = pydantic.Field(min_length=1)


def stored_problem(found: object, schema: type[StoredMetrics], result: str) -> str | None:
    """Return what is missing or wrong in the metrics that a study keeps; None if nothing is.

    Args:
        found: the metrics.
        schema: what is read of them, by the task.
        result: the key of the figure that says how the retraining did.
    """
    problem = _problem(found, schema)
    if problem is None and isinstance(found, dict):
        problem = _problem(found.get(result), Figure)
        return None if problem is None else f"{result}: {problem}"
    return problem


def report_problem(found: object) -> str | None:
    """Return what a report misses in the content of metrics.json; None if nothing."""
    return _problem(found, _Reported)


def _problem(found: object, schema: type[BaseModel]) -> str | None:
    if not isinstance(found, dict):
        return "not a JSON object"
    try:
        schema.model_validate(found)
    except pydantic.ValidationError as error:
        complaints = [f"{'.'.join(map(str, e['loc']))}: {e['msg'].lower()}" for e in error.errors()]
        more = len(complaints) - _N_SHOWN
        return "; ".join(complaints[:_N_SHOWN]) + (f"; and {more} more" if more > 0 else "")
    return None
