"""A study's retrained model, with its predictions on the test set."""

from __future__ import annotations

import csv
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fmnist_tune.errors import UserError
from fmnist_tune.report.model_info import RobustnessInfo, Scores, accuracy_over_seeds, robustness
from fmnist_tune.study.layout import AUDIT, METRICS, StudyPaths, read_json
from fmnist_tune.study.metrics_file import report_problem
from fmnist_tune.study.record import StudyRecord
from fmnist_tune.study.seed_results import UNREADABLE
from fmnist_tune.tasks.images.config import data_from_json
from fmnist_tune.tasks.images.data_set import Images, described, open_part


@dataclass(frozen=True)
class Retrained:
    """A retraining's results.

    Attributes:
        metrics: metrics.json.
        data_set: its name for people.
        class_names: in the order of the labels.
        scores: (N, K) on the test set, for each seed; the first is the model's.
        train, test: the data set's images.
        robustness: None without an audit.
    """

    metrics: dict[str, Any]
    data_set: str
    class_names: tuple[str, ...]
    scores: tuple[Scores, ...]
    train: Images
    test: Images
    robustness: RobustnessInfo | None

    @property
    def keep(self) -> dict[int, float]:
        """The configuration's `data.keep`."""
        keep = (self.metrics["config"].get("data") or {}).get("keep") or {}
        return {int(label): float(share) for label, share in keep.items()}


def load_retrained(record: StudyRecord, data_dir: Path | None, log: Callable[[str], None]) -> Retrained | None:
    """Read the retrained model's results and open the test set, which is recorded; None without a model.

    Raises:
        UserError: a file is missing or inconsistent, or the data are not the study's.
    """
    path = record.paths.model / METRICS
    metrics = read_json(path)
    if not path.exists():
        return None
    problem = report_problem(metrics)
    if problem is not None or not isinstance(metrics, dict):
        raise UserError(f"{path}: damaged ({problem}); `{record.paths.command('retrain')}` makes it again")
    paths = [record.paths.folder / name for name in metrics["scores"]]
    scores = tuple(_read_scores(path, record.paths) for path in paths)
    try:
        data_set = data_from_json(metrics["config"])
    except (ValueError, TypeError, AttributeError) as error:
        raise UserError(f"{path}: config.data: {str(error).splitlines()[0]}") from None
    train = open_part(data_set, "train", data_dir, log)
    place = data_set.place(data_dir, log)
    data = record.optuna.user_attrs.get("data") or {}
    if data and any(data.get(key) != value for key, value in described(data_set, train).items()):
        raise UserError(f"{place}: not the data that study {record.paths.name!r} was trained on")
    data_set.check_test(data_dir, log)
    record.retraining.add_test_use("report", metrics["trial"], metrics["seeds"])
    test = open_part(data_set, "test", data_dir, log)
    names = data_set.spec.class_names
    for path, scores_NK in zip(paths, scores, strict=True):
        if scores_NK.shape != (len(test.labels_N), len(names)):
            raise UserError(
                f"{path}: scores of shape {scores_NK.shape}, but {place} has {len(test.labels_N)} test images"
            )
    clean = accuracy_over_seeds(scores, test.labels_N).values[0]
    audit = _read_robustness(record.paths.model / AUDIT, len(names), clean)
    return Retrained(metrics, data_set.display_name, names, scores, train, test, audit)


def _read_scores(path: Path, paths: StudyPaths) -> Scores:
    try:
        with path.open("rb") as file:
            scores: Scores = np.load(file, allow_pickle=False)
    except UNREADABLE as error:
        reason = getattr(error, "strerror", None) or error
        cure = f"`{paths.command('retrain')}` makes it again"
        raise UserError(f"{path}: cannot be read: {reason}; {cure}") from None
    return scores


def _read_robustness(path: Path, n_classes: int, clean: float) -> RobustnessInfo | None:
    try:
        with path.open(encoding="utf-8", newline="") as file:
            info = robustness(list(csv.DictReader(file, restval="")), n_classes, clean)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from None
    except KeyError as error:
        raise UserError(f"{path}: not a robustness table (no column {error})") from None
    except (ValueError, csv.Error) as error:
        raise UserError(f"{path}: not a robustness table ({error})") from None
    return info if info.accuracies and all(info.accuracies.values()) else None
