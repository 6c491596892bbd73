"""Dense layers."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import Field, model_validator

from fmnist_tune.models.section import ImageSpec, Model, ModelSection
from fmnist_tune.section import Probability, Width

if TYPE_CHECKING:
    from torch import nn

Activation = Literal["relu", "leaky_relu", "gelu", "silu", "tanh"]
Norm = Literal["none", "batch"]
# With fewer multiplications in the largest layer of a step, casting to bf16 costs more than it saves.
# Measured by benchmarks/precision.py; benchmarks/RESULTS.md has the table.
BF16_MIN_WORK = 20_000_000


class Dense(Model):
    """Dense layers, each followed by norm, activation and dropout, then the classifier.

    Attributes:
        hidden: the widths of the hidden layers; instead of `depth` and `width`; None for those.
        depth: the number of hidden layers; None for 2.
        width: the units of each hidden layer; None for 128.
        activation: after each hidden layer.
        norm: batch is batch normalization before each activation.
        dropout: the probability after each hidden layer.
    """

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
        """Widths of the hidden layers; [128, 128] by default."""
        if self.hidden is not None:
            return self.hidden
        return [128 if self.width is None else self.width] * (2 if self.depth is None else self.depth)

    def if_none(self) -> dict[str, Any]:
        return {"depth": 2, "width": 128} if self.hidden is None else {}

    def describe(self) -> str:
        n = len(self.widths)
        layers = f"{n} hidden layer{'s' if n > 1 else ''} of {', '.join(map(str, self.widths))} units"
        return f"a multilayer perceptron with {layers if n else 'no hidden layer'}"

    def layers(self, n_inputs: int, n_classes: int) -> nn.Module:
        """Build the layers from float (N, ...), with `n_inputs` values each, to unnormalised scores (N, n_classes)."""
        from torch import nn

        from fmnist_tune.models.layers import ACTIVATIONS

        layers: list[nn.Module] = [nn.Flatten()]
        width = n_inputs
        for hidden in self.widths:
            layers.append(nn.Linear(width, hidden))
            if self.norm == "batch":
                layers.append(nn.BatchNorm1d(hidden))
            layers.append(ACTIVATIONS[self.activation]())
            if self.dropout:
                layers.append(nn.Dropout(self.dropout))
            width = hidden
        return nn.Sequential(*layers, nn.Linear(width, n_classes))


class Mlp(Dense, ModelSection):
    """Dense layers over an image's pixels, each followed by norm, activation and dropout."""

    cuda_graph: ClassVar[bool] = True

    name: Literal["mlp"]

    def check(self, spec: ImageSpec, batch_size: int) -> None:
        if self.norm == "batch" and batch_size == 1:
            raise ValueError("training.batch_size: batches of 1 have no variance for model.norm batch; use 2 or more")

    def is_faster_in_bf16(self, spec: ImageSpec, batch_size: int) -> bool:
        widths = [spec.n_values, *self.widths]
        return batch_size * max((a * b for a, b in pairwise(widths)), default=0) >= BF16_MIN_WORK

    def build(self, spec: ImageSpec) -> nn.Module:
        return self.layers(spec.n_values, spec.n_classes)
