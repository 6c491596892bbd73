"""The model folder: a retrained model's weights and recipe, as files without code."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch
from numpy.typing import ArrayLike, NDArray
from safetensors import SafetensorError
from torch import Tensor, nn
from torch.nn import functional as F

from fmnist_tune.cpus import limit_threads
from fmnist_tune.errors import UserError
from fmnist_tune.files import user_path
from fmnist_tune.models import ImageSpec
from fmnist_tune.retrain.prediction import image_config, read_recipe
from fmnist_tune.study.layout import CONFIG, WEIGHTS
from fmnist_tune.tasks.images.config import ImageConfig
from fmnist_tune.tasks.images.data_set import DataSet
from fmnist_tune.training.run import EVAL_BATCH_SIZE
from fmnist_tune.training.tensors import channels_first, of_channels


class PixelModel(nn.Module):
    """A model on plain pixels: float32 (N, C, H, W) in [0, 1] to scores (N, K); includes padding and normalisation."""

    def __init__(self, module: nn.Module, data: DataSet) -> None:
        super().__init__()
        self.module = module
        self.padding = [data.pad] * 4
        self.mean = of_channels(data.mean)
        self.std = of_channels(data.std)

    def forward(self, pixels: Tensor) -> Tensor:
        scores: Tensor = self.module((F.pad(pixels, self.padding) - self.mean) / self.std)
        return scores


@dataclass(frozen=True)
class SavedModel:
    """A trained model, ready to classify.

    Attributes:
        config: its configuration.
        module: float32, on the CPU, in eval mode; its input is normalised and padded.
    """

    config: ImageConfig
    module: nn.Module

    @classmethod
    def load(cls, folder: Path | str, retrain: str = "fmnist-tune retrain STUDY") -> SavedModel:
        """Read a model folder; executes no code from it.

        Args:
            folder: the model folder.
            retrain: the command that creates it, for messages.

            Raises:
                UserError: a file is missing or damaged, or they do not match.
        """
        folder = user_path(folder)
        limit_threads()
        cure = f"`{retrain}` makes it"
        config = image_config(read_recipe(folder, retrain))
        path = folder / WEIGHTS
        module = config.model.without_files().build(config.images)
        try:
            module.load_state_dict(safetensors.torch.load_file(path))
        except FileNotFoundError:
            raise UserError(f"{path}: no such file; {cure}") from None
        except OSError as error:
            raise UserError(f"{path}: cannot be read: {error.strerror or error}; {cure}") from None
        except SafetensorError as error:
            raise UserError(f"{path}: damaged ({error}); {cure} again") from None
        except RuntimeError as error:
            what = " ".join(str(error).split())[:200]
            raise UserError(f"{path}: not the weights of the model in {CONFIG} ({what}); {cure} again") from None
        if config.model.channels_last:
            module = module.to(memory_format=torch.channels_last)
        return cls(config, module.eval().requires_grad_(False))

    def scores(self, images_NHW: ArrayLike) -> NDArray[np.float32]:
        """Return float32 scores (N, K) of grey images (N, H, W) or colour images (N, H, W, C), or of a single image.

        Args:
            images_NHW: whole numbers from 0 (black) to 255, or floats in [0, 1].

        Raises:
            UserError: the shape, type or range is wrong.
        """
        return self.pixel_scores(_checked_pixels(np.asarray(images_NHW), self.config.data.spec))

    def pixel_scores(self, pixels_NCHW: Tensor) -> NDArray[np.float32]:
        """Return float32 scores (N, K) of float32 pixels (N, C, H, W) in [0, 1]."""
        model = PixelModel(self.module, self.config.data)
        with torch.inference_mode():
            return torch.cat([model(x) for x in pixels_NCHW.split(EVAL_BATCH_SIZE)]).numpy()


def to_pixels(images_NHW: NDArray[np.uint8]) -> Tensor:
    """Return images (N, H, W) or (N, H, W, C) as float32 pixels (N, C, H, W) in [0, 1]."""
    return channels_first(torch.tensor(images_NHW)).to(torch.float32).div_(255)


def _checked_pixels(images: NDArray[Any], spec: ImageSpec) -> Tensor:
    """Return images as float32 pixels (N, C, H, W) in [0, 1].

    Raises:
        UserError: they are not images of the data set's size, or the range of their pixels is ambiguous.
    """
    size = (spec.height, spec.width) if spec.channels == 1 else (spec.height, spec.width, spec.channels)
    if images.shape not in (size, (*images.shape[:1], *size)):
        kind = "grey" if spec.channels == 1 else "coloured"
        cure = "`load_image` of fmnist_tune.retrain.images makes such an image of any PNG or JPEG file"
        raise UserError(
            f"images of shape {images.shape}: must be {kind} images, (N, {', '.join(map(str, size))}) or {size}; {cure}"
        )
    is_float = np.issubdtype(images.dtype, np.floating)
    if not is_float and not np.issubdtype(images.dtype, np.integer):
        raise UserError(f"images of type {images.dtype}: must be uint8 from 0 to 255, or floats in [0, 1]")
    highest = 1 if is_float else 255
    low, high = (images.min(), images.max()) if images.size else (0, 0)
    if not (low >= 0 and high <= highest):  # nan is neither
        raise UserError(
            f"images of type {images.dtype} with pixels from {low:g} to {high:g}: must be uint8 from 0 to 255, or "
            "floats in [0, 1], neither normalised nor padded, since the model does that itself"
        )
    images_NHW = images.reshape(-1, *size)
    if is_float:
        return channels_first(torch.tensor(images_NHW.astype(np.float32)))
    return to_pixels(images_NHW.astype(np.uint8))
