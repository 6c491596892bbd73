"""What a model is: the keys that a file gives it, how it is built from them, and what it says of itself."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

from fmnist_tune.section import Section

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class ImageSpec:
    """What a model is built for.

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
        """Scores of an image."""
        return len(self.class_names)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Of an image: channels, height, width."""
        return self.channels, self.height, self.width

    @property
    def n_values(self) -> int:
        """Numbers in an image."""
        return self.channels * self.height * self.width

    def padded(self, pad: int) -> ImageSpec:
        """Return the specification of images with so many pixels more at each side."""
        return replace(self, height=self.height + 2 * pad, width=self.width + 2 * pad)


class Model(Section):
    """A model of any task.

    Attributes:
        name: the model's name.
    """

    name: str

    def if_none(self) -> dict[str, Any]:
        """Return what holds where a key is None, for `check` to show; without the keys whose None means nothing."""
        return {key: "none" for key, value in self if value is None}

    @property
    def files(self) -> tuple[str, ...]:
        """What names the pretrained weights that `build` reads; empty for none."""
        return ()

    def build(self, spec: Any) -> nn.Module:
        """Build it for what its task says of the data."""
        raise NotImplementedError

    def describe(self) -> str:
        """Return in words what it is and its architecture: a noun phrase for the model card, `show` and reports."""
        keys = ", ".join(f"{key} {value}" for key, value in self if key != "name" and value is not None)
        return f"the model {self.name}" + (f" ({keys})" if keys else "")


class ModelSection(Model):
    """A model of images: derive from it, give it fields, and build it.

    A validator, or `check`, raises a ValueError for keys that cannot be built. What a class does not say of its
    precision costs speed, never correctness.
    """

    # Whether it is faster with images as (N, H, W, C) in memory, as convolutions are.
    channels_last: ClassVar[bool] = False
    # Whether its training step can be captured as a CUDA graph: the same kernels whatever the values are.
    cuda_graph: ClassVar[bool] = False

    def build(self, spec: ImageSpec) -> nn.Module:
        """Build it with random numbers from PyTorch's global generator; imports torch here, not above.

        Returns:
            Module from float (N, channels, height, width) to unnormalised scores (N, n_classes).

        Raises:
            UserError: a file that it names is not there, or does not fit.
        """
        raise NotImplementedError

    def check(self, spec: ImageSpec, batch_size: int) -> None:
        """Raise a ValueError if it cannot be built or trained so; must be quick."""

    def is_faster_in_bf16(self, spec: ImageSpec, batch_size: int) -> bool:
        """Return whether a training step gains from autocast to bfloat16, where the hardware has it."""
        return False

    def without_files(self) -> ModelSection:
        """Return the section of the same module without pretrained weights: others are loaded into it."""
        return self
