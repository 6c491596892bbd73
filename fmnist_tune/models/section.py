"""The interface of a model: its keys in a file, its construction and its description."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

from fmnist_tune.section import Section

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class ImageSpec:
    """The images that a model is built for.

    Attributes:
        channels: of an image; 1 for grey.
        height, width: in pixels, padding included.
        class_names: in the order of the labels.
    """

    channels: int
    height: int
    width: int
    class_names: tuple[str, ...]

    @property
    def n_classes(self) -> int:
        """Number of classes, and of scores per image."""
        return len(self.class_names)

    @property
    def shape(self) -> tuple[int, int, int]:
        """An image's channels, height and width."""
        return self.channels, self.height, self.width

    @property
    def n_values(self) -> int:
        """Number of values in an image."""
        return self.channels * self.height * self.width

    def padded(self, pad: int) -> ImageSpec:
        """Return the spec of images with `pad` more pixels on each side."""
        return replace(self, height=self.height + 2 * pad, width=self.width + 2 * pad)


class Model(Section):
    """A model of any task.

    Attributes:
        name: the model's name.
    """

    name: str

    def if_none(self) -> dict[str, Any]:
        """Return the meaning of None by key, shown by `check`; keys whose None has no meaning are left out."""
        return {key: "none" for key, value in self if value is None}

    @property
    def files(self) -> tuple[str, ...]:
        """The names of the pretrained weights that `build` reads; empty for none."""
        return ()

    def build(self, spec: Any) -> nn.Module:
        """Build the model for the task's spec of the data."""
        raise NotImplementedError

    def describe(self) -> str:
        """Return its architecture as a noun phrase for the model card, `show` and reports."""
        keys = ", ".join(f"{key} {value}" for key, value in self if key != "name" and value is not None)
        return f"the model {self.name}" + (f" ({keys})" if keys else "")


class ModelSection(Model):
    """A model of images: subclass it, add fields, and implement `build`.

    A validator, or `check`, raises a ValueError for keys that cannot be built. The settings of precision below affect
    only speed, never correctness.
    """

    # Whether images as (N, H, W, C) in memory are faster, as for convolutions.
    channels_last: ClassVar[bool] = False
    # Whether its training step can be captured as a CUDA graph: the same kernels for any values.
    cuda_graph: ClassVar[bool] = False

    def build(self, spec: ImageSpec) -> nn.Module:
        """Build it with random numbers from PyTorch's global generator; import torch here, not at the top.

        Returns:
            Module from float (N, channels, height, width) to unnormalised scores (N, n_classes).

        Raises:
            UserError: a file that it needs is missing, or does not fit.
        """
        raise NotImplementedError

    def check(self, spec: ImageSpec, batch_size: int) -> None:
        """Raise a ValueError if it cannot be built or trained with this spec and batch size; must be quick."""

    def is_faster_in_bf16(self, spec: ImageSpec, batch_size: int) -> bool:
        """Return whether autocast to bfloat16 speeds up a training step on hardware with bf16."""
        return False

    def without_files(self) -> ModelSection:
        """Return the section of the same module without pretrained weights, into which others are loaded."""
        return self
