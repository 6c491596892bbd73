"""The configuration of a task's trainings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import Field, SerializeAsAny, field_validator

from fmnist_tune.models.section import Model
from fmnist_tune.registry import SectionRegistry
from fmnist_tune.section import Section

if TYPE_CHECKING:
    from torch import Tensor, nn


class TaskTraining(Section):
    """How a model is trained: the part common to all tasks.

    Attributes:
        epochs: passes over the training data; after each one the model is evaluated.
    """

    epochs: Annotated[int, Field(ge=1, le=100_000)] = 10


class TaskConfig(Section):
    """Everything that a training depends on besides its seed: the file's sections model, training and data.

    Subclass it, and give `model`, `training` and `data` the task's types. `training` must have `epochs`, as a field or
    a property.
    """

    # The classes that `model.name` chooses from.
    models: ClassVar[SectionRegistry[Any]]
    # What a search space that leaves these paths out is read with. A recipe or an older study without them has the
    # schema's defaults.
    implied: ClassVar[Mapping[str, str]] = {}

    model: SerializeAsAny[Model]
    training: Any = TaskTraining()
    data: Any = Section()

    @field_validator("model", mode="before")
    @classmethod
    def _read_model(cls, value: object) -> object:
        return cls.models.read(value)

    @classmethod
    def registries(cls) -> dict[str, SectionRegistry[Any]]:
        """Return the registry of each section whose `name` chooses its class."""
        return {"model": cls.models}

    @property
    def early_stopping(self) -> int | None:
        """Epochs without improvement in validation after which a training ends; None for no early stopping."""
        found: int | None = getattr(self.training, "early_stopping", None)
        return found

    @property
    def schedule(self) -> str:
        """Of the learning rate."""
        return str(getattr(self.training, "schedule", "constant"))

    def without_early_stopping(self) -> TaskConfig:
        """Return the configuration for a training without validation data."""
        if self.early_stopping is None:
            return self
        return self.model_copy(update={"training": self.training.model_copy(update={"early_stopping": None})})

    def build(self) -> nn.Module:
        """Build the model."""
        return self.model.build(self.data)

    def relative_cost(self) -> float | None:
        """Return the expected seconds of an epoch, of any unit, before any training; None if nothing is known."""
        return None

    def epoch_s(self) -> float | None:
        """Return the expected seconds of an epoch on one core, before any training; None if nothing is known.

        Only for a task that evaluates within the first epoch: the first evaluation follows from it.
        """
        return None

    def reason(self, path: str) -> str:
        """Return why the value at a path of `implied` is what it is, such as `as the learning rate falls`."""
        return ""

    def example(self) -> tuple[Tensor, int] | None:
        """Return two inputs and the number of scores for each, to try out a third-party model.

        None if the task's models are not tried out.
        """
        return None
