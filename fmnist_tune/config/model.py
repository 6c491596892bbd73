"""What may stand under `model`: dense layers, convolutions, one of torchvision's models."""

from __future__ import annotations

import difflib
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from fmnist_tune.config.architectures import (
    ARCHITECTURES,
    MAX_SIZE,
    MIN_SIZE,
    WEIGHT_FILES,
    WEIGHT_NAMES,
    image_sizes,
)
from fmnist_tune.config.section import Probability, Section, Width

Activation = Literal["relu", "leaky_relu", "gelu", "silu", "tanh"]
Norm = Literal["none", "batch"]
Tta = Literal["none", "flip"]
Channels = Annotated[int, Field(ge=1, le=4096)]


class Dense(Section):
    """Dense layers, each followed by norm, activation and dropout, then the classifier.

    Attributes:
        name: the model's name.
        hidden: the widths of the hidden layers; instead of `depth` and `width`; None for those.
        depth: the number of hidden layers; None for 2.
        width: the units of each of them; None for 128.
        activation: after each hidden layer.
        norm: batch is batch normalization before each activation.
        dropout: the probability after each hidden layer.
    """

    name: str
    hidden: list[Width] | None = Field(default=None, max_length=32)
    depth: Annotated[int, Field(ge=0, le=32)] | None = None
    width: Width | None = None
    activation: Activation = "relu"
    norm: Norm = "none"
    dropout: Probability = 0.0

    @model_validator(mode="after")
    def _one_way_to_say_it(self) -> Dense:
        if self.hidden is not None and (self.depth is not None or self.width is not None):
            raise ValueError("give either hidden, or depth and width, not both")
        return self

    @property
    def widths(self) -> list[int]:
        """Widths of the hidden layers; [128, 128] if the file says nothing."""
        if self.hidden is not None:
            return self.hidden
        return [128 if self.width is None else self.width] * (2 if self.depth is None else self.depth)


class Mlp(Dense):
    """Dense layers over an image's pixels or two one-hots, each followed by norm, activation and dropout."""

    name: Literal["mlp"]


class Cnn(Section):
    """Blocks of convolutions, each ended by a pooling that halves the image, then dense layers, then the classifier.

    Attributes:
        name: the model's name.
        channels: the channels of each block; instead of `blocks` and `base_channels`; None for those.
        blocks: the number of blocks; None for 3.
        base_channels: the channels of the first block, doubled at every further one; None for 32.
        convs_per_block: convolutions of a block, each followed by norm and activation.
        kernel_size: the side of a convolution's kernel, in pixels; odd with padding same.
        padding: same keeps the size of the image; valid shrinks it by kernel_size - 1 at each convolution.
        norm: batch is batch normalization after each convolution.
        pool: the pooling of 2 x 2 pixels at the end of a block.
        pools: the number of blocks, from the first, that end in a pooling; None for all.
        activation: after each convolution and dense layer.
        dropout2d: the probability of dropping a whole channel after each block.
        head: the widths of the dense layers before the classifier.
        dropout: the probability before each dense layer, the classifier included.
        feature_dropout: instead of `dropout` before the first of them, which reads the last block; None for `dropout`.
        residual: add each block's input, through a 1x1 convolution, to its output before the pooling; needs padding
            same.
        tta: test-time augmentation; flip averages the scores of an image and of its mirror image.
    """

    name: Literal["cnn"]
    channels: list[Channels] | None = Field(default=None, min_length=1, max_length=8)
    blocks: Annotated[int, Field(ge=1, le=8)] | None = None
    base_channels: Channels | None = None
    convs_per_block: Annotated[int, Field(ge=1, le=8)] = 1
    kernel_size: Annotated[int, Field(ge=1, le=15)] = 3
    padding: Literal["same", "valid"] = "same"
    norm: Norm = "batch"
    pool: Literal["max", "avg"] = "max"
    pools: Annotated[int, Field(ge=0, le=8)] | None = None
    activation: Activation = "relu"
    dropout2d: Probability = 0.0
    head: list[Width] = Field(default_factory=list, max_length=16)
    dropout: Probability = 0.0
    feature_dropout: Probability | None = None
    residual: bool = False
    tta: Tta = "none"

    @model_validator(mode="after")
    def _consistent(self) -> Cnn:
        if self.channels is not None and (self.blocks is not None or self.base_channels is not None):
            raise ValueError("give either channels, or blocks and base_channels, not both")
        if self.padding == "same" and self.kernel_size % 2 == 0:
            raise ValueError(
                f"kernel_size {self.kernel_size} with padding same: the kernel must be odd, or the padding valid"
            )
        if self.residual and self.padding == "valid":
            raise ValueError("residual needs padding same: with valid a block's output is smaller than its input")
        return self

    @property
    def block_channels(self) -> list[int]:
        """Channels of each block; [32, 64, 128] if the file says nothing."""
        if self.channels is not None:
            return self.channels
        base = 32 if self.base_channels is None else self.base_channels
        return [base * 2**i for i in range(3 if self.blocks is None else self.blocks)]

    def feature_sizes(self, image_size: int) -> list[int]:
        """Return the height (= width) in pixels of the input and of each block's output.

        Raises:
            ValueError: a convolution or a pooling has fewer pixels than it needs.
        """
        sizes = [image_size]
        for block in range(1, len(self.block_channels) + 1):
            size = sizes[-1]
            if self.padding == "valid":
                size -= self.convs_per_block * (self.kernel_size - 1)
            pooled = self.is_pooled(block)
            if size < (2 if pooled else 1):
                so_far = " -> ".join(str(s) for s in sizes)
                needed = "at least 2 before its pooling" if pooled else "at least 1"
                raise ValueError(
                    f"{len(self.block_channels)} blocks do not fit an image of {image_size} pixels: {so_far} pixels, "
                    f"and block {block} needs {needed} but has {max(size, 0)}"
                )
            sizes.append(size // 2 if pooled else size)
        return sizes

    def is_pooled(self, block: int) -> bool:
        """Tell whether a block, counted from 1, ends in a pooling."""
        return self.pools is None or block <= self.pools


def _architecture(name: str) -> str:
    if name not in ARCHITECTURES:
        near = difflib.get_close_matches(name, ARCHITECTURES, n=4)
        hint = f"; near it are {', '.join(near)}" if near else ", such as resnet18 or mobilenet_v3_small"
        raise ValueError(f"{name!r} is not one of torchvision's classification models{hint}")
    return name


def _weights(text: str) -> str:
    if text not in ("none", *WEIGHT_NAMES) and not text.endswith(WEIGHT_FILES):
        raise ValueError(
            f"{text!r} is neither none, nor a name of torchvision's weights ({', '.join(WEIGHT_NAMES)}), "
            f"nor a file ({', '.join(WEIGHT_FILES)})"
        )
    return text


class Torchvision(Section):
    """One of torchvision's classification models, over one channel and with a classifier for our classes.

    Attributes:
        name: the model's name.
        architecture: torchvision's name of the network.
        weights: none, the name of torchvision's pretrained weights, or a file with a state_dict; a relative path starts
            at the current directory.
        frozen: train the classifier alone; the rest stays as it is, batch statistics included.
        image_size: the side to which images are enlarged, in pixels.
        dropout: the probability before the classifier, in addition to the architecture's own.
        tta: test-time augmentation; flip averages the scores of an image and of its mirror image.
    """

    name: Literal["torchvision"]
    architecture: Annotated[str, AfterValidator(_architecture)] = "resnet18"
    weights: Annotated[str, AfterValidator(_weights)] = "none"
    frozen: bool = False
    image_size: Annotated[int, Field(ge=MIN_SIZE, le=MAX_SIZE)] = MIN_SIZE
    dropout: Probability = 0.0
    tta: Tta = "none"

    def check_sizes(self, picture_size: int) -> None:
        """Raise a ValueError unless pictures of so many pixels can be enlarged to what the architecture works on."""
        low, high = image_sizes(self.architecture)
        if not low <= self.image_size <= high:
            allowed = f"{low} pixels" if low == high else f"at least {low} pixels"
            raise ValueError(f"{self.architecture} needs pictures of {allowed}, but image_size is {self.image_size}")
        if self.image_size < picture_size:
            raise ValueError(f"image_size {self.image_size} is less than the {picture_size} pixels of a padded picture")
