"""A retraining's metrics, in metrics.json and the study: whether they have all that readers rely on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pydantic
from pydantic import BaseModel, NonNegativeInt

_N_SHOWN = 3


class Figure(BaseModel):
    """A figure over seeds; None if no seed has one."""

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
    """The metrics read from the study, for every task."""

    trial: NonNegativeInt | None
    seeds: list[NonNegativeInt] = pydantic.Field(min_length=1)


class ImageMetrics(StoredMetrics):
    """The metrics of image classification that `show`, `studies` and the dashboard read from the study."""

    test_accuracy: _Accuracy
    per_class: dict[str, _Class]
    val_accuracy: float | None


class _Reported(StoredMetrics):
    """The metrics that the report reads from metrics.json."""

    config: dict[str, Any]
    epochs: NonNegativeInt
    params: NonNegativeInt
    val_accuracy: float | None
    scores: list[str] = pydantic.Field(min_length=1)


def stored_problem(found: object, schema: type[StoredMetrics], result: str) -> str | None:
    """Return what is missing or wrong in a study's stored metrics; None if nothing is.

    Args:
        found: the metrics.
        schema: the task's schema of them.
        result: the key of the retraining's main figure.
    """
    problem = _problem(found, schema)
    if problem is None and isinstance(found, dict):
        problem = _problem(found.get(result), Figure)
        return None if problem is None else f"{result}: {problem}"
    return problem


def report_problem(found: object) -> str | None:
    """Return what a report lacks in the content of metrics.json; None if nothing."""
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
