"""Random changes of training images, sampled for each image of a batch, on the training device."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from fmnist_tune.tasks.images.config import Augment

# Random erasing (Zhong et al. 2017, arXiv 1708.04896), torchvision's defaults.
ERASE_AREA = (0.02, 0.33)
ERASE_LOG_RATIO = (math.log(0.3), math.log(3.3))


def augment_batch(x_N1HW: Tensor, augment: Augment, blank: float | Tensor) -> Tensor:
    """Return changed images; draws from the global generator, but not if there is nothing to change.

    Args:
        x_N1HW: normalised images; not modified.
        augment: the changes.
        blank: value of pixels from outside the image, and of erased ones; a number, or (C, 1, 1).
    """
    if augment.flip:
        mirrored = torch.rand(len(x_N1HW), 1, 1, 1, device=x_N1HW.device) < 0.5
        x_N1HW = torch.where(mirrored, x_N1HW.flip(3), x_N1HW)
    if augment.rotate or augment.scale:
        x_N1HW = _affine(x_N1HW, augment, blank)
    elif augment.shift:
        x_N1HW = _shift(x_N1HW, augment.shift, blank)
    if augment.erase:
        x_N1HW = _erase(x_N1HW, augment.erase, blank)
    return x_N1HW


def _shift(x_N1HW: Tensor, limit: int, blank: float | Tensor) -> Tensor:
    n, _, height, width = x_N1HW.shape
    if isinstance(blank, Tensor):  # of each channel another
        return _shift(x_N1HW - blank, limit, 0.0) + blank
    padded = F.pad(x_N1HW, [limit] * 4, value=blank)
    offset = torch.randint(0, 2 * limit + 1, (2, n, 1), device=x_N1HW.device)
    rows = offset[0] + torch.arange(height, device=x_N1HW.device)
    columns = offset[1] + torch.arange(width, device=x_N1HW.device)
    image = torch.arange(n, device=x_N1HW.device)[:, None, None]
    return padded.movedim(1, 3)[image, rows[:, :, None], columns[:, None, :]].movedim(3, 1).contiguous()


def _affine(x_N1HW: Tensor, augment: Augment, blank: float | Tensor) -> Tensor:
    """Rotate, scale and shift in one bilinear resampling."""
    n, _, height, width = x_N1HW.shape
    draw = torch.rand(4, n, device=x_N1HW.device) * 2 - 1
    angle = draw[0] * math.radians(augment.rotate)
    zoom = 1 / (1 + draw[1] * augment.scale)
    theta = torch.zeros(n, 2, 3, device=x_N1HW.device)
    theta[:, 0, 0] = theta[:, 1, 1] = torch.cos(angle) * zoom
    theta[:, 0, 1] = -torch.sin(angle) * zoom * (height / width)  # in units of half a side
    theta[:, 1, 0] = torch.sin(angle) * zoom * (width / height)
    theta[:, 0, 2] = draw[2] * 2 * augment.shift / width
    theta[:, 1, 2] = draw[3] * 2 * augment.shift / height
    grid = F.affine_grid(theta, [n, 1, height, width], align_corners=False)
    return F.grid_sample(x_N1HW - blank, grid, align_corners=False) + blank


def _erase(x_N1HW: Tensor, probability: float, blank: float | Tensor) -> Tensor:
    n, _, height, width = x_N1HW.shape
    device = x_N1HW.device
    chosen, area, ratio, top, left = torch.rand(5, n, 1, 1, device=device)
    area = (ERASE_AREA[0] + area * (ERASE_AREA[1] - ERASE_AREA[0])) * height * width
    ratio = torch.exp(ERASE_LOG_RATIO[0] + ratio * (ERASE_LOG_RATIO[1] - ERASE_LOG_RATIO[0]))
    box_height = torch.sqrt(area * ratio).clamp(max=height)
    box_width = torch.sqrt(area / ratio).clamp(max=width)
    first_row, first_column = top * (height - box_height), left * (width - box_width)
    row = torch.arange(height, device=device)[None, :, None] + 0.5
    column = torch.arange(width, device=device)[None, None, :] + 0.5
    inside = (
        (row > first_row)
        & (row < first_row + box_height)
        & (column > first_column)
        & (column < first_column + box_width)
    )
    return torch.where((inside & (chosen < probability)).unsqueeze(1), blank, x_N1HW)
