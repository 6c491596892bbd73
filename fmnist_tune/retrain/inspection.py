"""The steps before a model is kept: the robustness audit, the checked exports, and its card."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from fmnist_tune.models import MODELS
from fmnist_tune.registry import told
from fmnist_tune.retrain.card import write_card
from fmnist_tune.retrain.export import ONNX, TORCH_EXPORT, export_model
from fmnist_tune.retrain.robustness import CLEAN, CORRUPTIONS, RobustnessRow, audit, audit_saved, write_csv
from fmnist_tune.retrain.saved import SavedModel
from fmnist_tune.search.cluster import WorkerPlan
from fmnist_tune.search.parallel_map import parallel_map
from fmnist_tune.study.layout import AUDIT
from fmnist_tune.tasks.images.data_set import Images

SHORT_S = 5.0  # workers take over what is not done by then: they need as long to start


def inspect_model(
    folder: Path, metrics: dict[str, Any], test: Images, workers: Callable[[], WorkerPlan], log: Callable[[str], None]
) -> dict[str, Any]:
    """Add robustness.csv, model.onnx, model.pt2 and model_card.md to a model's folder.

    Args:
        folder: with weights.safetensors and config.yaml.
        metrics: the entries of metrics.json so far.
        test: the test images.
        workers: starts Ray's workers, which share a long audit.
        log: receives progress messages.

    Returns:
        The metrics, with `export` (None if the model cannot be exported) and `finished_at`.
    """
    log(f"robustness audit: {len(CORRUPTIONS)} kinds of change, 5 strengths each")
    saved = SavedModel.load(folder)
    rows = _audit(saved, folder, test, workers)
    write_csv(rows, folder / AUDIT)
    log("exporting the model (torch.export, ONNX), and checking what was exported")
    export: dict[str, float] | None = None
    try:
        export = asdict(export_model(saved, folder, test.images_NHW))
    except Exception as error:
        if saved.config.model.name in MODELS.built_in:
            raise
        log(f"not exported: the model does what torch.export cannot follow: {told(error)}")
        for name in (ONNX, TORCH_EXPORT):
            (folder / name).unlink(missing_ok=True)
    metrics = {**metrics, "export": export, "finished_at": time.strftime("%Y-%m-%d %H:%M:%S")}
    write_card(folder, metrics, rows)
    return metrics


def _audit(saved: SavedModel, folder: Path, test: Images, workers: Callable[[], WorkerPlan]) -> list[RobustnessRow]:
    rows: list[RobustnessRow] = []
    todo = [CLEAN, *CORRUPTIONS]
    end = time.monotonic() + SHORT_S
    while todo and time.monotonic() < end:
        rows += audit(saved, test.images_NHW, test.labels_N, [todo.pop(0)])
    if not todo:
        return rows
    common = [str(folder.absolute()), test.images_NHW, test.labels_N]
    found = parallel_map(audit_saved, common, todo, workers())
    return rows + [row for of_corruption in found for row in of_corruption]
