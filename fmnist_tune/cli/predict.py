"""`predict`."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np

from fmnist_tune.cli import EXIT_OK, say
from fmnist_tune.cli.store import load_record
from fmnist_tune.data.fashion_mnist import CLASSES
from fmnist_tune.errors import UserError
from fmnist_tune.escaping import printable
from fmnist_tune.retrain.pictures import Picture, read_picture
from fmnist_tune.study.layout import StudyPaths


def predict(arguments: argparse.Namespace, started: float) -> int:
    """Classify pictures."""
    paths = StudyPaths(arguments.studies_dir, arguments.study, arguments.storage)
    folder = _model_folder(paths, arguments)
    pictures = _read_pictures(arguments.images, arguments.invert)

    from fmnist_tune.evaluation import softmax
    from fmnist_tune.retrain.saved import SavedModel

    scores_NK = SavedModel.load(folder, paths.command("retrain")).scores(
        np.stack([picture.pixels_HW for picture in pictures])
    )
    probabilities_NK = softmax(scores_NK)
    labels_N = scores_NK.argmax(axis=1)
    for path, picture in zip(arguments.images, pictures, strict=True):
        for text in picture.warnings:
            say(f"warning: {path}: {text}")
    if arguments.json:
        predictions = [
            {
                "image": str(path),
                "class": CLASSES[label],
                "label": int(label),
                "probabilities": dict(zip(CLASSES, map(float, probabilities_K), strict=True)),
                "warnings": list(picture.warnings),
            }
            for path, picture, label, probabilities_K in zip(
                arguments.images, pictures, labels_N, probabilities_NK, strict=True
            )
        ]
        print(json.dumps({"study": arguments.study, "model": str(folder), "predictions": predictions}))
        return EXIT_OK
    for path, probabilities_K in zip(arguments.images, probabilities_NK, strict=True):
        print(printable(str(path)))
        for label in np.argsort(-probabilities_K, kind="stable")[: arguments.top]:
            print(f"  {CLASSES[label]:<12} {probabilities_K[label]:>7.2%}")
    return EXIT_OK


def _model_folder(paths: StudyPaths, arguments: argparse.Namespace) -> Path:
    """Return the folder of a study's model.

    Raises:
        UserError: there is no such study, or it has no model.
    """
    if not paths.folder.is_dir():
        load_record(arguments)  # says that there is no such study, or finds the folder of one that was renamed
    folder = paths.model
    if not folder.is_dir():
        raise UserError(f"study {paths.name!r} has no retrained model; `{paths.command('retrain')}` makes it")
    return folder


def _read_pictures(images: list[Path], invert: bool) -> list[Picture]:
    """Read all pictures.

    Raises:
        UserError: at least one cannot be read; names every one that cannot.
    """
    pictures = []
    errors = []
    for path in images:
        try:
            pictures.append(read_picture(path, invert))
        except UserError as error:
            errors.append(str(error))
    if len(errors) == 1:
        raise UserError(errors[0])
    if errors:
        raise UserError(f"{len(errors)} pictures cannot be read" + "".join(f"\n  {text}" for text in errors))
    return pictures
