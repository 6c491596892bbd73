"""torchvision's classification models."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import AfterValidator, Field

from fmnist_tune.models.architectures import (
    ARCHITECTURES,
    MAX_SIZE,
    MIN_SIZE,
    WEIGHT_FILES,
    WEIGHT_NAMES,
    image_sizes,
)
from fmnist_tune.models.cnn import Tta
from fmnist_tune.models.section import ImageSpec, ModelSection
from fmnist_tune.section import Probability

if TYPE_CHECKING:
    from torch import nn


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


class Torchvision(ModelSection):
    """One of torchvision's classification models, adapted to the data's channels and classes.

    Attributes:
        architecture: torchvision's name of the network.
        weights: none, the name of torchvision's pretrained weights, or a file with a state_dict; a relative path starts
            at the current directory.
        frozen: train only the classifier; the rest, including batch statistics, stays unchanged.
        image_size: the side to which images are enlarged, in pixels.
        dropout: the probability before the classifier, in addition to the architecture's own.
        tta: test-time augmentation; flip averages the scores of an image and of its mirror image.
    """

    channels_last: ClassVar[bool] = True
    cuda_graph: ClassVar[bool] = True

    name: Literal["torchvision"]
    architecture: Annotated[str, AfterValidator(_architecture)] = "resnet18"
    weights: Annotated[str, AfterValidator(_weights)] = "none"
    frozen: bool = False
    image_size: Annotated[int, Field(ge=MIN_SIZE, le=MAX_SIZE)] = MIN_SIZE
    dropout: Probability = 0.0
    tta: Tta = "none"

    def check(self, spec: ImageSpec, batch_size: int) -> None:
        low, high = image_sizes(self.architecture)
        if not low <= self.image_size <= high:
            allowed = f"{low} pixels" if low == high else f"at least {low} pixels"
            raise ValueError(f"{self.architecture} needs images of {allowed}, but image_size is {self.image_size}")
        size = max(spec.height, spec.width)
        if self.image_size < size:
            raise ValueError(f"image_size {self.image_size} is less than the {size} pixels of a padded image")

    def is_faster_in_bf16(self, spec: ImageSpec, batch_size: int) -> bool:
        return True

    def describe(self) -> str:
        start = "" if self.weights == "none" else f" from the weights {self.weights}"
        return f"torchvision's {self.architecture}{start}{', frozen but for its classifier' if self.frozen else ''}"

    @property
    def files(self) -> tuple[str, ...]:
        return () if self.weights == "none" else (self.architecture, self.weights)

    def without_files(self) -> Torchvision:
        return self.model_copy(update={"weights": "none"})

    def build(self, spec: ImageSpec) -> nn.Module:
        from fmnist_tune.models.backbone import Backbone  # imports torchvision, which takes a second
        from fmnist_tune.models.layers import FlipTta

        net = Backbone(self, spec)
        return FlipTta(net) if self.tta == "flip" else net
