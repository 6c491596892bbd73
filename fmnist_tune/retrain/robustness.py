"""The robustness audit: a model's accuracy on corrupted test images.

The method is that of Hendrycks and Dietterich 2019 (arXiv 1903.12261): corruptions at five strengths each, never used
in training. Theirs are for colour photographs; these are for garments on black, and include changes of position.
Randomness is seeded with the corruption's name: every model sees the same images, and an image is rotated, shifted and
so on in the same direction at all strengths.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Generator, Tensor
from torch.nn import functional as F

from fmnist_tune.retrain.saved import SavedModel, to_pixels
from fmnist_tune.seeds import derive_seed
from fmnist_tune.study.layout import write_atomically
from fmnist_tune.tasks.images.data_set import ALL_CLASSES

CLEAN = "none"
SIDE = 28  # pixels of the images for which the strengths were chosen
COLUMNS = ("corruption", "strength", "parameter", "class", "accuracy")
_BACKGROUND = 0.05  # darker pixels count as background
_CLUTTER_PATCH = 4  # pixels between the knots of the texture, on an image of SIDE

Change = Callable[[Tensor, float, Generator], Tensor]


@dataclass(frozen=True)
class Corruption:
    """A corruption.

    Attributes:
        change: maps pixels (N, C, H, W) in [0, 1], a parameter and a CPU generator to changed pixels in [0, 1].
        parameters: one for each strength, 1 to 5.
        meaning: of the parameter, with its unit.
        in_pixels: whether the unit is a pixel of an image of SIDE; scaled to the shorter side of other images, where
            shifts and occlusions are rounded to whole pixels, at least one.
    """

    change: Change
    parameters: tuple[float, float, float, float, float]
    meaning: str
    in_pixels: bool = False


@dataclass(frozen=True)
class RobustnessRow:
    """One figure of the audit.

    Attributes:
        corruption: its name in CORRUPTIONS, or "none".
        strength: 1 to 5; 0 for unchanged images.
        parameter: at this strength.
        class_name: a class, or "all".
        accuracy: share of its images classified correctly.
    """

    corruption: str
    strength: int
    parameter: float
    class_name: str
    accuracy: float


def corrupt(pixels_NCHW: Tensor, name: str, strength: int) -> Tensor:
    """Return changed pixels, the same at every call.

    Args:
        pixels_NCHW: float32 in [0, 1].
        name: of CORRUPTIONS.
        strength: 1 to 5.
    """
    corruption = CORRUPTIONS[name]
    generator = Generator().manual_seed(derive_seed(0, "robustness", name))
    parameter = corruption.parameters[strength - 1]
    if corruption.in_pixels:
        parameter *= min(pixels_NCHW.shape[2:]) / SIDE
    return corruption.change(pixels_NCHW, parameter, generator)


def audit(
    saved: SavedModel,
    images_NHW: NDArray[np.uint8],
    labels_N: NDArray[np.int64],
    names: Iterable[str] | None = None,
) -> list[RobustnessRow]:
    """Measure accuracy on changed images, overall and for each class with images.

    Args:
        saved: the model.
        images_NHW: uint8, of the size of the data set's.
        labels_N: in [0, K).
        names: from CORRUPTIONS, or "none" for unchanged images; by default "none" and all.
    """
    pixels = to_pixels(images_NHW)
    rows: list[RobustnessRow] = []
    for name in (CLEAN, *CORRUPTIONS) if names is None else names:
        parameters = (0.0,) if name == CLEAN else CORRUPTIONS[name].parameters
        for strength, parameter in enumerate(parameters, start=0 if name == CLEAN else 1):
            changed = pixels if name == CLEAN else corrupt(pixels, name, strength)
            right_N = saved.pixel_scores(changed).argmax(axis=1) == labels_N
            rows.append(RobustnessRow(name, strength, parameter, ALL_CLASSES, float(right_N.mean())))
            for label, class_name in enumerate(saved.config.data.spec.class_names):
                of_class = right_N[labels_N == label]
                if of_class.size:
                    rows.append(RobustnessRow(name, strength, parameter, class_name, float(of_class.mean())))
    return rows


def audit_saved(
    folder: str, images_NHW: NDArray[np.uint8], labels_N: NDArray[np.int64], name: str
) -> list[RobustnessRow]:
    """Audit the model in a folder on one corruption, in a worker."""
    return audit(SavedModel.load(Path(folder)), images_NHW, labels_N, [name])


def write_csv(rows: Sequence[RobustnessRow], path: Path) -> None:
    """Write the audit as a table with the columns `corruption,strength,parameter,class,accuracy`."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows((r.corruption, r.strength, r.parameter, r.class_name, r.accuracy) for r in rows)
    write_atomically(path, text.getvalue())


def read_csv(path: Path) -> list[RobustnessRow]:
    """Return the rows that `write_csv` wrote."""
    with path.open(encoding="utf-8", newline="") as file:
        rows = csv.reader(file)
        next(rows)
        return [RobustnessRow(row[0], int(row[1]), float(row[2]), row[3], float(row[4])) for row in rows]


def _rotate(x_NCHW: Tensor, degrees: float, generator: Generator) -> Tensor:
    angle_N = _signs(len(x_NCHW), generator) * math.radians(degrees)
    return _resample(x_NCHW, angle_N=angle_N)


def _scale(x_NCHW: Tensor, factor: float, generator: Generator) -> Tensor:
    return _resample(x_NCHW, zoom_N=factor ** _signs(len(x_NCHW), generator))


def _shift(x_NCHW: Tensor, distance: float, generator: Generator) -> Tensor:
    """Shift by whole pixels, which does not blur; by one at least."""
    distance = max(1.0, distance)
    direction_N = torch.rand(len(x_NCHW), generator=generator) * 2 * math.pi
    offset_N2 = torch.stack([torch.cos(direction_N), torch.sin(direction_N)], 1).mul(distance).round()
    return _resample(x_NCHW, offset_N2=offset_N2)


def _brighten(x_NCHW: Tensor, amount: float, generator: Generator) -> Tensor:
    """Brighten half of the images additively; dim the other half by scaling, since subtracting would erase them."""
    lifted_N111 = _signs(len(x_NCHW), generator).view(-1, 1, 1, 1) > 0
    return torch.where(lifted_N111, (x_NCHW + amount).clamp(max=1), x_NCHW * (1 - amount))


def _reduce_contrast(x_NCHW: Tensor, factor: float, generator: Generator) -> Tensor:
    mean_N111 = x_NCHW.mean((1, 2, 3), keepdim=True)
    return mean_N111 + (x_NCHW - mean_N111) * factor


def _add_noise(x_NCHW: Tensor, std: float, generator: Generator) -> Tensor:
    return torch.randn(x_NCHW.shape, generator=generator).mul_(std).add_(x_NCHW).clamp_(0, 1)


def _blur(x_NCHW: Tensor, sigma: float, generator: Generator) -> Tensor:
    radius = math.ceil(3 * sigma)
    weights = torch.exp(-0.5 * (torch.arange(-radius, radius + 1) / sigma) ** 2)
    weights /= weights.sum()
    n_channels = x_NCHW.shape[1]
    row, column = (weights.view(shape).expand(n_channels, -1, -1, -1) for shape in ((1, 1, 1, -1), (1, 1, -1, 1)))
    blurred = F.conv2d(x_NCHW, row, padding=(0, radius), groups=n_channels)
    return F.conv2d(blurred, column, padding=(radius, 0), groups=n_channels).clamp(0, 1)


def _occlude(x_NCHW: Tensor, side: float, generator: Generator) -> Tensor:
    """Put a square of uniform brightness, of whole pixels, fully inside each image."""
    n, _, height, width = x_NCHW.shape
    side = max(1, round(side))
    top, left, brightness = torch.rand(3, n, 1, 1, 1, generator=generator)
    top, left = (top * (height - side + 1)).floor(), (left * (width - side + 1)).floor()
    row, column = torch.arange(height).view(1, 1, -1, 1), torch.arange(width).view(1, 1, 1, -1)
    inside = (row >= top) & (row < top + side) & (column >= left) & (column < left + side)
    return torch.where(inside, brightness, x_NCHW)


def _clutter(x_NCHW: Tensor, highest: float, generator: Generator) -> Tensor:
    """Put a soft texture on the background."""
    n, _, height, width = x_NCHW.shape
    patch = _CLUTTER_PATCH * min(height, width) / SIDE
    n_knots = (round(height / patch), round(width / patch))
    knots = torch.rand(n, 1, *n_knots, generator=generator)
    texture = F.interpolate(knots, size=(height, width), mode="bilinear", align_corners=False).mul_(highest)
    return torch.where(x_NCHW < _BACKGROUND, texture, x_NCHW)


def _signs(n: int, generator: Generator) -> Tensor:
    """Return -1 or 1 with equal probability, (n,)."""
    return torch.randint(0, 2, (n,), generator=generator) * 2.0 - 1


def _resample(
    x_NCHW: Tensor,
    *,
    angle_N: Tensor | None = None,
    zoom_N: Tensor | None = None,
    offset_N2: Tensor | None = None,
) -> Tensor:
    """Rotate by radians, enlarge, and shift by pixels (right, down), bilinearly; the outside is black."""
    n, _, height, width = x_NCHW.shape
    angle_N = torch.zeros(n) if angle_N is None else angle_N
    zoom_N = torch.ones(n) if zoom_N is None else zoom_N
    theta_N23 = torch.zeros(n, 2, 3)
    theta_N23[:, 0, 0] = theta_N23[:, 1, 1] = torch.cos(angle_N) / zoom_N
    theta_N23[:, 1, 0] = torch.sin(angle_N) / zoom_N * (width / height)  # in units of half a side
    theta_N23[:, 0, 1] = -torch.sin(angle_N) / zoom_N * (height / width)
    if offset_N2 is not None:
        theta_N23[:, :, 2] = -2 * offset_N2 / torch.tensor([width, height])
    grid = F.affine_grid(theta_N23, [n, 1, height, width], align_corners=False)
    return F.grid_sample(x_NCHW, grid, align_corners=False).clamp(0, 1)


CORRUPTIONS: dict[str, Corruption] = {
    "rotation": Corruption(_rotate, (5, 10, 20, 30, 45), "degrees, to the left or to the right"),
    "scaling": Corruption(_scale, (1.1, 1.2, 1.3, 1.4, 1.6), "times larger or smaller"),
    "shift": Corruption(_shift, (1, 2, 3, 4, 6), "pixels in any direction", in_pixels=True),
    "brightness": Corruption(_brighten, (0.1, 0.2, 0.3, 0.4, 0.5), "added to every pixel, or the share taken from it"),
    "contrast": Corruption(_reduce_contrast, (0.75, 0.5, 0.4, 0.3, 0.15), "share of the contrast that is left"),
    "noise": Corruption(_add_noise, (0.04, 0.08, 0.12, 0.18, 0.26), "standard deviation of Gaussian noise, of 1"),
    "blur": Corruption(_blur, (0.5, 0.75, 1.0, 1.5, 2.0), "standard deviation of a Gaussian, pixels", in_pixels=True),
    "occlusion": Corruption(
        _occlude, (4, 6, 8, 11, 14), "pixels along a side of a square laid over it", in_pixels=True
    ),
    "clutter": Corruption(_clutter, (0.1, 0.2, 0.3, 0.45, 0.6), "brightest texture where it is dark, of 1"),
}
# Brightness uses the strengths of Hendrycks and Dietterich's ImageNet-C, contrast those of their CIFAR-10-C; noise
# ranges from CIFAR-10-C's mildest to ImageNet-C's fourth. The others are ours: strength 1 is barely visible, and at
# strength 5 a person still recognises most garments.
