"""Reading a model folder for `predict`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from fmnist_tune.config import SearchSpace, load_space
from fmnist_tune.errors import UserError
from fmnist_tune.retrain.images import InputImage, load_image
from fmnist_tune.study.layout import CONFIG
from fmnist_tune.tasks.images.config import ImageConfig


def read_recipe(folder: Path, retrain: str) -> SearchSpace:
    """Return the recipe in a model folder; `retrain` is the command that creates it, for messages.

    Raises:
        UserError: it is missing or damaged, or no recipe.
    """
    path, cure = folder / CONFIG, f"`{retrain}` makes it"
    if not path.is_file():
        raise UserError(f"{path}: no such file; {cure}")
    try:
        space = load_space(path)
        if space.parameters:
            raise UserError(f"{path}: a search space, not a recipe")
        space.config({})
    except UserError as error:
        raise UserError(f"{error}; {cure} again") from None
    return space


def image_config(space: SearchSpace) -> ImageConfig:
    """Return a recipe's configuration.

    Raises:
        UserError: its task does not classify images.
    """
    config = space.config({})
    if not isinstance(config, ImageConfig):
        raise UserError(f"{space.source}: task: {space.settings.task} has no images")
    return config


class Predictor:
    """A model that classifies image files."""

    def __init__(self, folder: Path, space: SearchSpace, retrain: str) -> None:
        """Prepare without loading; arguments as for `Task.predictor`."""
        self._folder = folder
        self._retrain = retrain
        self._data = image_config(space).data

    def read(self, path: Path, *, invert: bool) -> InputImage:
        """Read an image file.

        Raises:
            UserError: it cannot be read.
        """
        return load_image(path, invert, self._data)

    def classify(self, images: Sequence[InputImage]) -> Iterator[dict[str, Any]]:
        """Yield each image's class, label and probabilities."""
        if not images:
            return
        import numpy as np

        from fmnist_tune.evaluation import softmax
        from fmnist_tune.retrain.saved import SavedModel

        model, names = SavedModel.load(self._folder, self._retrain), self._data.spec.class_names
        scores_NK = model.scores(np.stack([image.pixels_HW for image in images]))
        for label, probabilities_K in zip(scores_NK.argmax(axis=1), softmax(scores_NK), strict=True):
            probabilities = dict(zip(names, map(float, probabilities_K), strict=True))
            yield {"class": names[label], "label": int(label), "probabilities": probabilities}
