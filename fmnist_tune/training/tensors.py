"""The data set as tensors on the training device."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from fmnist_tune.data.split import keep_shares, stratified_split
from fmnist_tune.tasks.images.data_set import DataSet


@dataclass(frozen=True)
class TrainingData:
    """Training and validation images, normalised and on the device; read-only.

    Attributes:
        x_train, x_val: float32 (N, C, H, W); x_val is empty if all images are trained on.
        y_train, y_val: int64 (N,).
        blank: value of a black pixel after normalisation; (C, 1, 1) where the channels are scaled differently.
    """

    x_train: Tensor
    y_train: Tensor
    x_val: Tensor
    y_val: Tensor
    blank: float | Tensor

    @classmethod
    def from_images(
        cls,
        images_NHW: NDArray[np.uint8],
        labels_N: NDArray[np.int64],
        data: DataSet,
        device: str,
        *,
        with_val: bool = True,
    ) -> TrainingData:
        """Split, subsample, normalise and pad the training images.

        Args:
            images_NHW, labels_N: the training images, as in `Images`.
            data: the split, the shares to keep, the scaling.
            device: of the tensors.
            with_val: hold out the validation split; otherwise train on it too.

        Raises:
            UserError: `data.val_size` leaves no training image.
        """
        train, val = np.arange(len(labels_N)), np.arange(0)
        if with_val:
            train, val = stratified_split(labels_N, data.val_size)
        train = keep_shares(labels_N, train, data.keep)

        def images(indices: NDArray[np.int64]) -> Tensor:
            return pixels(images_NHW[indices], data, device)

        def labels(indices: NDArray[np.int64]) -> Tensor:
            return torch.from_numpy(labels_N[indices]).to(device)

        return cls(images(train), labels(train), images(val), labels(val), _blank(data, device))


def pixels(images_NHW: NDArray[np.uint8], data: DataSet, device: str) -> Tensor:
    """Return images as float32 (N, C, H, W), padded and normalised."""
    x = channels_first(torch.from_numpy(images_NHW).to(device))
    return (
        F.pad(x, [data.pad] * 4)
        .to(torch.float32)
        .div_(255)
        .sub_(of_channels(data.mean, device))
        .div_(of_channels(data.std, device))
    )


def of_channels(value: float | list[float], device: str = "cpu") -> float | Tensor:
    """Return a number as it is, and one for each channel as (C, 1, 1)."""
    return torch.tensor(value, device=device).view(-1, 1, 1) if isinstance(value, list) else value


def _blank(data: DataSet, device: str) -> float | Tensor:
    if isinstance(data.mean, list) or isinstance(data.std, list):
        black = torch.zeros(data.spec.channels, 1, 1, device=device)
        return (black - of_channels(data.mean, device)) / of_channels(data.std, device)
    return -data.mean / data.std


def channels_first(images: Tensor) -> Tensor:
    """Return images (N, H, W) or (N, H, W, C) as (N, C, H, W)."""
    return images.unsqueeze(1) if images.ndim == 3 else images.movedim(3, 1).contiguous()
