"""The sections model, training and data of a file for image classification."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Field, SerializeAsAny, ValidationInfo, model_validator

from fmnist_tune.config.schema import Optimizer
from fmnist_tune.models import MODELS, ImageSpec, ModelSection
from fmnist_tune.registry import SectionRegistry, blamed_on
from fmnist_tune.section import Section
from fmnist_tune.tasks.config import TaskConfig, TaskTraining
from fmnist_tune.tasks.images.data_set import DataSet
from fmnist_tune.tasks.images.fashion_mnist import FashionMnist

if TYPE_CHECKING:
    from torch import Tensor, nn


DATA_SETS: SectionRegistry[DataSet] = SectionRegistry(
    base=DataSet,
    built_in={"fashion-mnist": FashionMnist},
    group="fmnist_tune.data_sets",
    needs=("spec", "load_train", "load_test"),
    noun="data set",
    default="fashion-mnist",
)

# By which models are compared before any is trained; measured seconds correct it. The backward pass costs two forward
# ones. On a core of an AMD EPYC (Zen 4), in bfloat16.
N_PASSES, MULTIPLICATIONS_PER_US, US_PER_STEP = 3, 34_000, 1000


class Augment(Section):
    """Random changes of every training image, sampled again in each epoch.

    Attributes:
        flip: mirror left to right with probability 0.5.
        shift: the largest translation along each axis, in pixels.
        rotate: the largest rotation either way, in degrees.
        scale: the largest fraction by which an image is enlarged or shrunk.
        erase: the probability of random erasing: a rectangle of 2 to 33 % of the image is blanked (Zhong et al. 2017).
    """

    flip: bool = False
    shift: Annotated[int, Field(ge=0, le=14)] = 0
    rotate: Annotated[float, Field(ge=0, le=180)] = 0.0
    scale: Annotated[float, Field(ge=0, lt=1)] = 0.0
    erase: Annotated[float, Field(ge=0, le=1)] = 0.0


def _average_weights(value: object, info: ValidationInfo) -> object:
    if isinstance(value, str) and value != "auto":
        raise ValueError(f"{value!r} is neither auto, true nor false")
    return info.data.get("schedule") == "constant" if value == "auto" else value


class Training(TaskTraining):
    """How a model is trained.

    Attributes:
        epochs: passes over the training split.
        batch_size: images per step.
        schedule: of the learning rate, stepped every batch; `lr` is its peak. cosine falls from it to 0. one_cycle
            rises to it from a 25th over 30 % of the steps, then falls to nearly 0. step divides it by 10 after 1/2 and
            3/4 of the steps.
        loss: mse is taken between the softmax output and the one-hot label.
        label_smoothing: the share of a label's weight that is spread over all classes.
        average_weights: evaluate and keep a running average of the weights instead of the latest ones; auto is true
            where the learning rate is constant.
        early_stopping: epochs without a better validation accuracy after which a trial ends, with the value of its best
            epoch; None for no early stopping.
    """

    batch_size: Annotated[int, Field(ge=1, le=60_000)] = 128
    optimizer: Optimizer = Optimizer()
    schedule: Literal["constant", "cosine", "one_cycle", "step"] = "constant"
    loss: Literal["cross_entropy", "mse"] = "cross_entropy"
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0
    average_weights: Annotated[bool, BeforeValidator(_average_weights)] = False
    early_stopping: Annotated[int, Field(ge=1)] | None = None
    augment: Augment = Augment()


class ImageConfig(TaskConfig):
    """Everything that a training on images depends on besides its seed.

    Attributes:
        model: the classifier; its `name` determines its other keys.
        training: how it is trained.
        data: what it is trained on.
    """

    models: ClassVar[SectionRegistry[ModelSection]] = MODELS
    implied: ClassVar[Mapping[str, str]] = {"training.average_weights": "auto"}

    model: SerializeAsAny[ModelSection]
    training: Training = Training()
    data: Annotated[SerializeAsAny[DataSet], BeforeValidator(DATA_SETS.read)] = FashionMnist()

    @classmethod
    def from_json(cls, tree: Mapping[str, Any]) -> ImageConfig:
        """Read the result of `model_dump` after a JSON round trip, which makes every key a string."""
        return cls.model_validate({**tree, "data": data_from_json(tree)})

    @classmethod
    def registries(cls) -> dict[str, SectionRegistry[Any]]:
        return {"model": MODELS, "data": DATA_SETS}

    @property
    def images(self) -> ImageSpec:
        """The model's input: the data set's images, padded."""
        return self.data.spec.padded(self.data.pad)

    def build(self) -> nn.Module:
        return self.model.build(self.images)

    def reason(self, path: str) -> str:
        return f"as the learning rate {'is constant' if self.schedule == 'constant' else 'falls'}"

    def relative_cost(self) -> float | None:
        """Return the seconds of a million training images on a core of ours, by the model's multiplications."""
        n = _n_multiplications(type(self.model), self.model.without_files().model_dump_json(), self.images)
        return None if n is None else N_PASSES * n / MULTIPLICATIONS_PER_US + US_PER_STEP / self.training.batch_size

    def epoch_s(self) -> float | None:
        n_train, cost = self.data.n_train, self.relative_cost()
        return None if n_train is None or cost is None else n_train / 1e6 * cost

    def example(self) -> tuple[Tensor, int]:
        import torch

        return torch.zeros(2, *self.images.shape), self.images.n_classes

    @model_validator(mode="after")
    def _buildable(self) -> ImageConfig:
        try:
            with blamed_on(type(self.model)):
                self.model.check(self.images, self.training.batch_size)
        except ValueError as error:
            raise ValueError(str(error) if str(error).startswith("training.") else f"model: {error}") from None
        return self


@lru_cache(maxsize=1024)
def _n_multiplications(section: type[ModelSection], model: str, images: ImageSpec) -> float | None:
    """Return those of one image in a model, given as JSON; None if it cannot be built and tried."""
    import torch

    from fmnist_tune.models.layers import n_multiplications

    try:
        module = section.model_validate_json(model).build(images)
        return n_multiplications(module.train(), torch.zeros(2, *images.shape)) / 2
    except Exception:  # whatever a model raises, it will raise in its trial
        return None


def data_from_json(tree: Mapping[str, Any]) -> DataSet:
    """Return the data set of a configuration stored as JSON, ignoring the rest.

    Raises:
        ValueError, TypeError, AttributeError: it is damaged, or its class cannot be imported.
    """
    data = tree.get("data") or {}
    keep = {int(label): share for label, share in (data.get("keep") or {}).items()}
    found = DATA_SETS.read({**data, "keep": keep})
    assert isinstance(found, DataSet)
    return found
