"""Any image file as model input."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fmnist_tune.errors import UserError
from fmnist_tune.registry import own_code, place_of
from fmnist_tune.retrain.image_file import read_image
from fmnist_tune.tasks.images.data_set import NOUN, DataSet
from fmnist_tune.tasks.images.fashion_mnist import FashionMnist


@dataclass(frozen=True)
class InputImage:
    """An image as model input.

    Attributes:
        pixels_HW: uint8 (H, W), or (H, W, C) in colour.
        warnings: how it differs from the training data.
    """

    pixels_HW: NDArray[np.uint8]
    warnings: tuple[str, ...]


def load_image(path: Path | str, invert: bool, data: DataSet | None = None) -> InputImage:
    """Read a PNG or JPEG file of any size and mode, and prepare it as the data set requires.

    Args:
        path: the file.
        invert: swap light and dark; transparent pixels become black either way.
        data: the model's data set; None for Fashion-MNIST.

    Raises:
        UserError: it is not an image, or its pixels are damaged or too many.
    """
    data = FashionMnist() if data is None else data
    image = read_image(Path(path), invert=invert, mode="L" if data.spec.channels == 1 else "RGB")
    with own_code(data, "prepare_image", NOUN):
        pixels_HW, warnings = data.prepare_image(image, invert=invert)
    spec = data.spec
    size = (spec.height, spec.width) if spec.channels == 1 else (spec.height, spec.width, spec.channels)
    where = f"{NOUN}{place_of(type(data))}: prepare_image returned"
    if not isinstance(pixels_HW, np.ndarray) or pixels_HW.dtype != np.uint8 or pixels_HW.shape != size:
        given = getattr(pixels_HW, "dtype", type(pixels_HW).__name__), getattr(pixels_HW, "shape", "")
        raise UserError(f"{where} pixels of {' '.join(map(str, given)).strip()}; its spec says uint8 {size}")
    if not isinstance(warnings, tuple) or not all(isinstance(text, str) for text in warnings):
        raise UserError(f"{where} warnings {warnings!r}; they must be a tuple of texts")
    return InputImage(pixels_HW, warnings)
