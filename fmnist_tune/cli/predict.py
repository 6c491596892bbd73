"""`predict`."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from fmnist_tune.cli import EXIT_OK, EXIT_USER, say
from fmnist_tune.cli.store import load_record
from fmnist_tune.errors import UserError
from fmnist_tune.escaping import printable
from fmnist_tune.retrain.images import InputImage
from fmnist_tune.retrain.prediction import Predictor, read_recipe
from fmnist_tune.study.layout import METRICS, StudyPaths, read_json
from fmnist_tune.units import percent


def predict(arguments: argparse.Namespace, started: float) -> int:
    """Classify images; an unreadable one is named and changes the exit code, and the others are still classified."""
    paths = StudyPaths(arguments.studies_dir, arguments.study, arguments.storage)
    folder = _model_folder(paths, arguments)
    retrain = paths.command("retrain")
    space = read_recipe(folder, retrain)
    predictor = space.task.predictor(folder, space, retrain)
    read = [_read(predictor, path, arguments.invert) for path in arguments.images]
    predictions = predictor.classify([found for found in read if isinstance(found, InputImage)])
    untested = _untested(folder)
    results: list[dict[str, Any]] = []
    for path, found in zip(arguments.images, read, strict=True):
        if isinstance(found, str):
            say(found)
            results.append({"image": str(path), "error": found})
            continue
        prediction = next(predictions)
        warnings = [*found.warnings, *([untested[prediction["class"]]] if prediction["class"] in untested else [])]
        for text in warnings:
            say(f"warning: {path}: {text}")
        results.append({"image": str(path), **prediction, "warnings": warnings})
    if arguments.json:
        print(json.dumps({"study": arguments.study, "model": str(folder), "predictions": results}))
    else:
        for result in results:
            if "error" not in result:
                _print(result, arguments.top)
    return EXIT_USER if any("error" in result for result in results) else EXIT_OK


def _read(predictor: Predictor, path: Path, invert: bool) -> InputImage | str:
    """Read an image; return the reason if it cannot be read."""
    try:
        return predictor.read(path, invert=invert)
    except UserError as error:
        return str(error)


def _print(result: dict[str, Any], top: int) -> None:
    print(printable(result["image"]))
    for name, probability in sorted(result["probabilities"].items(), key=lambda item: -item[1])[:top]:
        print(f"  {printable(name):<12} {percent(probability):>8}")


def _model_folder(paths: StudyPaths, arguments: argparse.Namespace) -> Path:
    """Return the folder of a study's model.

    Raises:
        UserError: there is no such study, or it has no model.
    """
    if not paths.folder.is_dir():
        load_record(arguments)  # reports a missing study, or finds the folder of a renamed one
    folder = paths.model
    if not folder.is_dir():
        raise UserError(f"study {paths.name!r} has no retrained model; `{paths.command('retrain')}` makes it")
    return folder


def _untested(folder: Path) -> dict[str, str]:
    """Return a remark for each class that the model was never tested on; empty if its figures are unknown."""
    from fmnist_tune.study.results import recalls_of, untested_text

    metrics = read_json(folder / METRICS)
    per_class = metrics.get("per_class") if isinstance(metrics, dict) else None
    recalls = recalls_of(per_class) if isinstance(per_class, dict) else {}
    return {name: untested_text([name]) for name, recall in recalls.items() if recall is None}
