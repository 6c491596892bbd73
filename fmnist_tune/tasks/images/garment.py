"""Any image file in the style of Fashion-MNIST: 28 x 28 greys, a light garment filling a black square.

The steps are those that created the data set (Xiao et al. 2017, arXiv 1708.07747, section 2), with antialiasing
instead of its subsampling and sharpening.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from fmnist_tune.tasks.images.fashion_mnist import FASHION_MNIST

SIZE = (FASHION_MNIST.width, FASHION_MNIST.height)  # in Pillow's order

# Edges this close to the background are trimmed: 5 % of the greatest intensity (Xiao et al. 2017).
_CLOSE = 13
# No training image comes near these three: corners are never brighter than 64, the garment covers at least 4.8 %,
# and the brightest pixel is 254 or 255.
_LIGHT_BACKGROUND = 127
_MIN_COVERED = 0.005
_MIN_CONTRAST = 64


def prepare_garment(image: Image.Image, *, invert: bool) -> tuple[NDArray[np.uint8], tuple[str, ...]]:
    """Return an image as uint8 (28, 28), and how it differs from the training data.

    An image of 28 x 28 pixels is used as it is, but for colour. For any other, edges in the background's grey are
    trimmed, the rest is scaled to 28 pixels along its longer side, centred on a square of the background's grey, and
    stretched to the full range from 0 to 255.

    Args:
        image: in grey.
        invert: whether it was inverted.
    """
    pixels_HW = np.asarray(image)
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
    if image.size != SIZE:
        if covered >= _MIN_COVERED:
            image = image.crop(Image.fromarray(differs_HW).getbbox())
        image = ImageOps.pad(image, SIZE, method=Image.Resampling.LANCZOS, color=background)
        if covered >= _MIN_COVERED:
            image = ImageOps.autocontrast(image)
    return np.array(image, dtype=np.uint8), tuple(complaints)


def _background(pixels_HW: NDArray[np.uint8]) -> int:
    """Return the median grey of the four corners, each 5 % of the image's height and width."""
    height, width = (max(1, size // 20) for size in pixels_HW.shape)
    corners = [
        pixels_HW[rows, columns].ravel()
        for rows in (slice(height), slice(-height, None))
        for columns in (slice(width), slice(-width, None))
    ]
    return int(np.median(np.concatenate(corners)))
