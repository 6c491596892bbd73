"""A study's model folder: built beside the old one, then swapped."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from pathlib import Path
from typing import Any

from fmnist_tune.study.layout import CONFIG, METRICS, WEIGHTS, read_json, write_atomically
from fmnist_tune.study.recipes import recipe_of
from fmnist_tune.study.record import StudyRecord
from fmnist_tune.study.seed_results import SeedResult

# Changed by renaming the study, moving its folder, or opening the test set again.
_MAY_DIFFER = {"study", "model", "test_uses", "finished_at"}


class ModelFolder:
    """The folder of a retraining's model; the study's lock is held."""

    def __init__(self, record: StudyRecord) -> None:
        self._record = record
        self._path = record.paths.model

    def known(self, metrics: dict[str, Any]) -> dict[str, Any] | None:
        """Return the content of metrics.json if it is from the same trainings; None if the model must be saved."""
        expected = json.loads(json.dumps(metrics))
        stored, saved = self._record.retraining.result, read_json(self._path / METRICS)
        if stored is None or not isinstance(saved, dict) or stored.get("finished_at") != saved.get("finished_at"):
            return None
        if any(found.get(key) != expected[key] for found in (stored, saved) for key in expected.keys() - _MAY_DIFFER):
            return None
        if saved.get("files") != _checksums(self._path):
            return None
        if saved.get("study") != self._record.paths.name:
            self.rename()
        return {**saved, **{key: stored[key] for key in ("study", "model", "test_uses") if key in stored}}

    def rename(self) -> None:
        """Update the study's name in the model's recipe, card and metrics, the metrics last.

        Weights and exports contain no name. A model changed by another program is left to `retrain`.
        """
        saved, known = read_json(self._path / METRICS), self._record.retraining.result
        if known is None or not isinstance(saved, dict) or saved.get("finished_at") != known.get("finished_at"):
            return
        trial = None if known["trial"] is None else self._record.trials[known["trial"]]
        write_atomically(self._path / CONFIG, recipe_of(self._record, trial))
        metrics = {**saved, "study": self._record.paths.name, "model": str(self._path)}
        try:
            self._record.space.task.rename(self._path, metrics)
        except (LookupError, TypeError, ValueError, StopIteration, OSError):  # `retrain` recreates it
            return
        metrics["files"] = _checksums(self._path)
        write_atomically(self._path / METRICS, json.dumps(metrics, indent=1))
        self._record.retraining.set_result(metrics)

    def begin(self, result: SeedResult, recipe: str) -> Path:
        """Create a new folder with a training's weights and its recipe in YAML."""
        for left in self._record.paths.folder.glob(".model-*"):  # left by a killed command
            shutil.rmtree(left, ignore_errors=True)
        new = self._path.with_name(f".model-{os.getpid()}")
        new.mkdir(parents=True)
        shutil.copyfile(result.folder / WEIGHTS, new / WEIGHTS)
        write_atomically(new / CONFIG, recipe)
        return new

    def keep(self, new: Path, metrics: dict[str, Any]) -> dict[str, Any]:
        """Replace the old folder by a new one, and record it in the study; return the metrics."""
        metrics["files"] = _checksums(new)
        write_atomically(new / METRICS, json.dumps(metrics, indent=1))
        old = self._path.with_name(f".model-old-{os.getpid()}")
        if self._path.exists():
            os.replace(self._path, old)
        os.replace(new, self._path)
        if old.is_dir():
            shutil.rmtree(old, ignore_errors=True)
        else:
            old.unlink(missing_ok=True)
        self._record.retraining.set_result(metrics)
        return metrics


def _checksums(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of every file but the metrics, by name, to detect changed files."""
    checksums = {}
    for path in sorted(folder.iterdir()):
        if path.is_file() and path.name != METRICS:
            with path.open("rb") as file:
                checksums[path.name] = hashlib.file_digest(file, "sha256").hexdigest()
    return checksums
