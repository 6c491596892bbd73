"""The search space of the task modular-addition: a + b mod p, learned from a part of all pairs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import BeforeValidator, Field, SerializeAsAny, model_validator

from fmnist_tune.config.schema import Optimizer
from fmnist_tune.registry import SectionRegistry
from fmnist_tune.section import Section
from fmnist_tune.tasks.config import TaskConfig
from fmnist_tune.tasks.modular_addition.models import PAIR_MODELS, PairModel

if TYPE_CHECKING:
    from torch import Tensor, nn

SPLIT_SEED = 20220106  # fixed for every study; a larger fraction contains the pairs of a smaller one


def _batch_size(value: object) -> object:
    if isinstance(value, str) and value != "full":
        raise ValueError(f"{value!r} is neither full nor a number of pairs")
    return None if value == "full" else value


class ModularTraining(Section):
    """How a model is trained; an epoch lasts from one evaluation to the next.

    Attributes:
        steps: of the optimizer; a multiple of `eval_every`.
        eval_every: steps between two evaluations on all training and all validation pairs.
        batch_size: pairs per step, sampled without replacement; full, or more than there are, uses all of them; None
            for full.
        stop_when_solved: end at the first evaluation with 99 % of the validation pairs correct.
    """

    steps: Annotated[int, Field(ge=1, le=10_000_000)] = 5_000
    eval_every: Annotated[int, Field(ge=1)] = 50
    batch_size: Annotated[Annotated[int, Field(ge=1)] | None, BeforeValidator(_batch_size)] = None
    optimizer: Optimizer = Optimizer()
    stop_when_solved: bool = True

    @model_validator(mode="after")
    def _whole(self) -> ModularTraining:
        if self.steps % self.eval_every:
            raise ValueError(f"steps {self.steps} must be a multiple of eval_every {self.eval_every}")
        return self

    @property
    def epochs(self) -> int:
        """Evaluations."""
        return self.steps // self.eval_every


class ModularData(Section):
    """The pairs that a model is trained on.

    Attributes:
        modulus: a and b lie in [0, modulus).
        fraction: the share of the pairs for training; the others are for validation. A larger fraction contains the
            pairs of a smaller one.
        draw: sample this many pairs with replacement before the split. Validation pairs then occur in the training set
            too, which hides whether the model generalises; None for every pair once.
    """

    modulus: Annotated[int, Field(ge=2, le=1000)] = 97
    fraction: Annotated[float, Field(gt=0, lt=1)] = 0.5
    draw: Annotated[int, Field(ge=2, le=1_000_000)] | None = None

    @property
    def n_pairs(self) -> int:
        """Number of pairs before the split."""
        return self.modulus**2 if self.draw is None else self.draw

    @property
    def n_train(self) -> int:
        """Number of training pairs."""
        return round(self.n_pairs * self.fraction)

    @model_validator(mode="after")
    def _both_parts(self) -> ModularData:
        if not 0 < self.n_train < self.n_pairs:
            raise ValueError(f"fraction {self.fraction} of {self.n_pairs} pairs leaves one part of the split empty")
        return self


class ModularConfig(TaskConfig):
    """Everything that a training on modular addition depends on besides its seed.

    Attributes:
        model: the network; its `name` determines its other keys.
        training: how it is trained.
        data: the pairs that it is trained on.
    """

    models: ClassVar[SectionRegistry[PairModel]] = PAIR_MODELS

    model: SerializeAsAny[PairModel]
    training: ModularTraining = ModularTraining()
    data: ModularData = ModularData()

    def build(self) -> nn.Module:
        return self.model.build(self.data.modulus)

    def example(self) -> tuple[Tensor, int]:
        import torch

        return torch.zeros(2, 2, dtype=torch.int64), self.data.modulus
