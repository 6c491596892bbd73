"""Any image file as Fashion-MNIST would have it: 28 x 28 greys, a light garment that fills a black square.

The steps are those by which the data set was made (Xiao et al. 2017, arXiv 1708.07747, section 2), with antialiasing
in place of its subsampling and sharpening.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from fmnist_tune.config.schema import FASHION_MNIST
from fmnist_tune.retrain.image_file import read_grey

SIZE = (FASHION_MNIST.width, FASHION_MNIST.height)  # as Pillow has them

# Edges are trimmed whose pixels are this close to the background: 5 % of the greatest intensity (Xiao et al. 2017).
_CLOSE = 13
# No training image comes near these three: corners are never brighter than 64, the garment covers 4.8 % at least,
# and the brightest pixel is 254 or 255.
_LIGHT_BACKGROUND = 127
_MIN_COVERED = 0.005
_MIN_CONTRAST = 64


@dataclass(frozen=True)
class Picture:
    """An image as the model takes it.

    Attributes:
        pixels_HW: uint8 (28, 28).
        warnings: in what it looks unlike the training data.
    """

    pixels_HW: NDArray[np.uint8]
    warnings: tuple[str, ...]


def read_picture(path: Path | str, invert: bool) -> Picture:
    """Read a PNG or JPEG file of any size and mode.

    One of 28 x 28 pixels is taken as it is, but for colour. Of any other, edges in the background's grey are trimmed,
    the rest is scaled to 28 pixels along its longer side, centred on a square of the background's grey, and stretched
    to the full range from 0 to 255.

    Args:
        path: the file.
        invert: light becomes dark and dark light; what is transparent becomes black either way.

    Raises:
        UserError: it is not an image, or its pixels are damaged, or too many.
    """
    grey = read_grey(Path(path), invert=invert)
    pixels_HW = np.asarray(grey)
    background = _background(pixels_HW)
    differs_HW = np.abs(pixels_HW.astype(np.int16) - background) > _CLOSE
    covered = float(differs_HW.mean())
    darkest, lightest = int(pixels_HW.min()), int(pixels_HW.max())
    complaints = []
    if background > _LIGHT_BACKGROUND:
        cure = "leave out --invert" if invert else "--invert turns it round"
        complaints.append(
            f"its border is light (brightness {background / 255:.2f} of 1), but the training images show light "
            f"garments on black; {cure}"
        )
    if covered < _MIN_COVERED:
        complaints.append(f"there is nearly nothing in it: {covered:.1%} of it is not background")
    elif lightest - darkest < _MIN_CONTRAST:
        complaints.append(
            f"it has very little contrast: its greys go from {darkest / 255:.2f} to {lightest / 255:.2f} of 1"
        )
    if grey.size != SIZE:
        if covered >= _MIN_COVERED:
            grey = grey.crop(Image.fromarray(differs_HW).getbbox())
        grey = ImageOps.pad(grey, SIZE, method=Image.Resampling.LANCZOS, color=background)
        if covered >= _MIN_COVERED:
            grey = ImageOps.autocontrast(grey)
    return Picture(np.array(grey, dtype=np.uint8), tuple(complaints))


def _background(pixels_HW: NDArray[np.uint8]) -> int:
    """Return the median grey of the four corners, each 5 % of the image along either side."""
    height, width = (max(1, size // 20) for size in pixels_HW.shape)
    corners = [
        pixels_HW[rows, columns].ravel()
        for rows in (slice(height), slice(-height, None))
        for columns in (slice(width), slice(-width, None))
    ]
    return int(np.median(np.concatenate(corners)))
