"""Blocks of convolutions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import Field, model_validator

from fmnist_tune.models.mlp import Activation, Norm
from fmnist_tune.models.section import ImageSpec, ModelSection
from fmnist_tune.section import Probability, Width

if TYPE_CHECKING:
    from torch import nn

Tta = Literal["none", "flip"]
Channels = Annotated[int, Field(ge=1, le=4096)]


class Cnn(ModelSection):
    """Blocks of convolutions, each followed by a pooling that halves the image, then dense layers and the classifier.

    Attributes:
        channels: the channels of each block; instead of `blocks` and `base_channels`; None for those.
        blocks: the number of blocks; None for 3.
        base_channels: the channels of the first block, doubled at each further block; None for 32.
        convs_per_block: convolutions of a block, each followed by norm and activation.
        kernel_size: the side of a convolution's kernel, in pixels; odd with padding same.
        padding: same keeps the size of the image; valid shrinks it by kernel_size - 1 at each convolution.
        norm: batch is batch normalization after each convolution.
        pool: the pooling of 2 x 2 pixels at the end of a block.
        pools: the number of blocks, from the first, that end in a pooling; None for all.
        activation: after each convolution and dense layer.
        dropout2d: the probability of dropping a whole channel after each block.
        head: the widths of the dense layers before the classifier.
        dropout: the probability before each dense layer, including the classifier.
        feature_dropout: replaces `dropout` before the first dense layer, after the last block; None for `dropout`.
        residual: add each block's input, through a 1x1 convolution, to its output before the pooling; needs padding
            same.
        tta: test-time augmentation; flip averages the scores of an image and of its mirror image.
    """

    channels_last: ClassVar[bool] = True
    cuda_graph: ClassVar[bool] = True

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
        """Channels of each block; [32, 64, 128] by default."""
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
        """Return whether a block, counted from 1, ends in a pooling."""
        return self.pools is None or block <= self.pools

    def check(self, spec: ImageSpec, batch_size: int) -> None:
        self.feature_sizes(min(spec.height, spec.width))

    def is_faster_in_bf16(self, spec: ImageSpec, batch_size: int) -> bool:
        return True

    def if_none(self) -> dict[str, Any]:
        sizes = {"blocks": 3, "base_channels": 32} if self.channels is None else {}
        return {**sizes, "pools": "all", "feature_dropout": "as dropout"}

    def describe(self) -> str:
        channels = self.block_channels
        blocks = f"{len(channels)} block{'s' if len(channels) > 1 else ''} of {', '.join(map(str, channels))} channels"
        head = f" and dense layers of {', '.join(map(str, self.head))} units" if self.head else ""
        return f"a {'residual' if self.residual else 'convolutional'} network with {blocks}{head}"

    def build(self, spec: ImageSpec) -> nn.Module:
        from torch import nn

        from fmnist_tune.models.layers import ACTIVATIONS, FlipTta

        layers: list[nn.Module] = []
        channels = spec.channels
        for block, block_channels in enumerate(self.block_channels, start=1):
            layers.append(self._block(channels, block_channels, pooled=self.is_pooled(block)))
            if self.dropout2d:
                layers.append(nn.Dropout2d(self.dropout2d))
            channels = block_channels
        layers.append(nn.Flatten())
        width = channels * self.feature_sizes(spec.height)[-1] * self.feature_sizes(spec.width)[-1]
        dropout = self.dropout if self.feature_dropout is None else self.feature_dropout
        for hidden in self.head:
            if dropout:
                layers.append(nn.Dropout(dropout))
            layers += [nn.Linear(width, hidden), ACTIVATIONS[self.activation]()]
            width, dropout = hidden, self.dropout
        if dropout:
            layers.append(nn.Dropout(dropout))
        net = nn.Sequential(*layers, nn.Linear(width, spec.n_classes))
        return FlipTta(net) if self.tta == "flip" else net

    def _block(self, in_channels: int, out_channels: int, *, pooled: bool) -> nn.Module:
        from torch import nn

        from fmnist_tune.models.layers import ACTIVATIONS, MONOTONE, Residual

        layers: list[nn.Module] = []
        for i in range(self.convs_per_block):
            layers.append(
                nn.Conv2d(
                    in_channels if i == 0 else out_channels,
                    out_channels,
                    self.kernel_size,
                    padding=self.kernel_size // 2 if self.padding == "same" else 0,
                    bias=self.norm == "none",  # batch norm's shift replaces it
                )
            )
            if self.norm == "batch":
                layers.append(nn.BatchNorm2d(out_channels))
            layers.append(ACTIVATIONS[self.activation]())
        if self.residual:
            layers = [Residual(nn.Sequential(*layers), nn.Conv2d(in_channels, out_channels, 1))]
        if pooled:
            pool = nn.MaxPool2d(2) if self.pool == "max" else nn.AvgPool2d(2)
            pool_first = not self.residual and self.pool == "max" and self.activation in MONOTONE
            layers.insert(len(layers) - pool_first, pool)
        return nn.Sequential(*layers)
