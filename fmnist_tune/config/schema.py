"""What may stand in a search space once nothing in it is searched any more: sections, keys, types, ranges.

A new option starts here, or in a model's file: one field, with its range and a docstring line.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, BeforeValidator, Field, SerializeAsAny, model_validator

from fmnist_tune.models import MODELS, ImageSpec, ModelSection
from fmnist_tune.registry import Registry, blamed_on
from fmnist_tune.search.asha import SCHEDULERS, Asha
from fmnist_tune.search.scheduler import SchedulerSection
from fmnist_tune.section import Probability, Section
from fmnist_tune.units import seconds

if TYPE_CHECKING:
    from torch import nn

FASHION_MNIST = ImageSpec(
    channels=1,
    height=28,
    width=28,
    class_names=(
        "T-shirt/top",
        "Trouser",
        "Pullover",
        "Dress",
        "Coat",
        "Sandal",
        "Shirt",
        "Sneaker",
        "Bag",
        "Ankle boot",
    ),
)
ARTIFACTS = "artifacts"  # a folder beside those of the studies
DATABASE = "studies.db"  # a file beside them; SQLite has others whose names begin so
STUDY_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,79}")

Finite = Annotated[float, Field(allow_inf_nan=False)]


def is_study_name(name: str) -> bool:
    """Return whether a study can have this name."""
    try:
        study_name(name)
    except ValueError:
        return False
    return True


def study_name(name: str) -> str:
    """Return `name` if it can name a study and its folder.

    Raises:
        ValueError: empty, longer than 80 characters, with anything but letters, digits, '.', '_' and '-', or the name
            of a file or folder that stands beside those of the studies.
    """
    if not STUDY_NAME.fullmatch(name):
        raise ValueError(
            f"{name!r} cannot name a study: use 1 to 80 letters, digits, '.', '_' or '-', "
            "the first one a letter or digit"
        )
    if name.lower() == ARTIFACTS:
        raise ValueError(f"{name!r} cannot name a study: the dashboard keeps its files in a folder of that name")
    if name.lower().startswith(DATABASE):
        raise ValueError(
            f"{name!r} cannot name a study: names that begin with {DATABASE} are those of the database's own files"
        )
    return name


Duration = Annotated[float, BeforeValidator(seconds)]


class Optimizer(Section):
    """One of torch.optim's optimizers.

    Attributes:
        name: the optimizer in torch.optim.
        lr: the learning rate; the peak of a schedule that changes it.
        momentum: of sgd and rmsprop; refused for adam and adamw.
        nesterov: Nesterov momentum; needs sgd and a momentum above 0.
        betas: the two coefficients of adam and adamw; refused for others; None for torch.optim's own.
        weight_decay: an L2 penalty; adamw applies it apart from the gradient.
    """

    name: Literal["sgd", "adam", "adamw", "rmsprop"] = "adamw"
    lr: Annotated[Finite, Field(gt=0)] = 1e-3
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.0
    nesterov: bool = False
    betas: Annotated[list[Probability], Field(min_length=2, max_length=2)] | None = None
    weight_decay: Annotated[Finite, Field(ge=0)] = 0.0

    @model_validator(mode="after")
    def _used(self) -> Optimizer:
        if self.momentum and self.name in ("adam", "adamw"):
            raise ValueError(
                f"momentum {self.momentum} has no effect on {self.name}; leave it out, or search it with "
                "when: {training.optimizer.name: [sgd, rmsprop]}"
            )
        if self.nesterov and (self.name != "sgd" or not self.momentum):
            raise ValueError("nesterov needs name sgd and a momentum above 0")
        if self.betas is not None and self.name not in ("adam", "adamw"):
            raise ValueError(f"betas have no effect on {self.name}; leave them out")
        return self


class Augment(Section):
    """Random changes of every training image, sampled anew in each epoch.

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


class Training(Section):
    """How a model is trained.

    Attributes:
        epochs: passes over the training split.
        batch_size: images of a step.
        schedule: of the learning rate, stepped every batch; `lr` is its peak. cosine falls from it to 0. one_cycle
            rises to it from a 25th over 30 % of the steps, then falls to nearly 0. step divides it by 10 after 1/2 and
            3/4 of the steps.
        loss: mse is taken between the softmax output and the one-hot label.
        label_smoothing: the share of a label's weight that is spread over all classes.
        average_weights: evaluate and keep a running average of the weights instead of the latest ones.
        early_stopping: epochs without a better validation accuracy after which a trial ends; its best epoch then
            counts; None for no early stopping.
    """

    epochs: Annotated[int, Field(ge=1, le=100_000)] = 10
    batch_size: Annotated[int, Field(ge=1, le=60_000)] = 128
    optimizer: Optimizer = Optimizer()
    schedule: Literal["constant", "cosine", "one_cycle", "step"] = "constant"
    loss: Literal["cross_entropy", "mse"] = "cross_entropy"
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0
    average_weights: bool = False
    early_stopping: Annotated[int, Field(ge=1)] | None = None
    augment: Augment = Augment()


class Data(Section):
    """What a model is trained on.

    Attributes:
        val_size: images of the training set that are held out for validation, every class in its share.
        mean: subtracted from pixels in [0, 1]; the default is the training set's.
        std: by which the difference is divided; the default is the training set's.
        pad: blank pixels added on each side.
        keep: the share of a class's training images that stays, by label, such as {5: 0.1}; 1 for the other classes.
        mitigation: what is done about an imbalance.
    """

    val_size: Annotated[int, Field(ge=10, le=50_000)] = 10_000
    mean: Finite = 0.2860
    std: Annotated[Finite, Field(gt=0)] = 0.3530
    pad: Annotated[int, Field(ge=0, le=16)] = 0
    keep: dict[Annotated[int, Field(ge=0, lt=FASHION_MNIST.n_classes)], Annotated[float, Field(gt=0, le=1)]] = Field(
        default_factory=dict
    )
    mitigation: Literal["none", "class_weights", "weighted_sampler", "oversample"] = "none"


class TrialConfig(Section):
    """Everything that one training on Fashion-MNIST depends on, besides its seed.

    Attributes:
        model: the classifier; its `name` decides which other keys it has.
        training: how it is trained.
        data: what it is trained on.
    """

    task: ClassVar[str] = "fashion-mnist"
    models: ClassVar[Registry[ModelSection]] = MODELS

    model: Annotated[SerializeAsAny[ModelSection], BeforeValidator(MODELS.read)]
    training: Training = Training()
    data: Data = Data()

    @property
    def images(self) -> ImageSpec:
        """What the model is built for: the data set's images, padded."""
        return FASHION_MNIST.padded(self.data.pad)

    def build(self) -> nn.Module:
        """Build the model."""
        return self.model.build(self.images)

    @model_validator(mode="after")
    def _buildable(self) -> TrialConfig:
        try:
            with blamed_on(type(self.model)):
                self.model.check(self.images, self.training.batch_size)
        except ValueError as error:
            raise ValueError(str(error) if str(error).startswith("training.") else f"model: {error}") from None
        return self


class Sampler(Section):
    """Which of Optuna's samplers chooses the values.

    Attributes:
        name: the sampler.
        seed: all that the sampler chooses and all seeds of the trials follow from it.
    """

    name: Literal["tpe", "random", "grid", "qmc", "gp", "cmaes"] = "tpe"
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0


def _pruner(value: object) -> object:
    return SCHEDULERS.read({"name": "asha", **value} if isinstance(value, dict) else value)


def _points(value: object) -> object:
    if isinstance(value, dict):
        raise ValueError("a mapping alone; a list of points belongs here: write [{...}], or - before each point")
    return value


class Search(Section):
    """How long a study runs, and what decides in it.

    Attributes:
        trials: the number of trials that the study holds in the end.
        timeout: the longest wall-clock time of one run; None for no limit.
        epoch_timeout: the time after which an epoch counts as hanging: its trial fails, and its worker is replaced.
        sampler: what chooses the values of a trial.
        pruner: what decides which trials go on; its `name` decides which other keys it has.
        initial: configurations by dotted path that the study begins with; what they leave out is sampled.
    """

    trials: Annotated[int, Field(ge=1, le=1_000_000)] = 32
    timeout: Duration | None = None
    epoch_timeout: Duration = 3600.0
    sampler: Sampler = Sampler()
    pruner: Annotated[SerializeAsAny[SchedulerSection], BeforeValidator(_pruner)] = Asha()
    initial: Annotated[list[dict[Any, Any]], BeforeValidator(_points)] = Field(default_factory=list)


def _gpu_share(value: object) -> object:
    if value == "auto":
        return None
    if isinstance(value, str):
        raise ValueError(f"{value!r} is neither auto nor a number of GPUs")
    if isinstance(value, int | float) and value > 1 and not float(value).is_integer():
        raise ValueError(f"{value} GPUs: more than one GPU must be a whole number")
    return value


class Resources(Section):
    """What one trial gets.

    Attributes:
        cpus: cores, and PyTorch's threads.
        gpus: GPUs or a share of one; auto is one GPU where there is one; None for auto.
    """

    cpus: Annotated[int, Field(ge=1)] = 1
    gpus: Annotated[Annotated[float, Field(ge=0)] | None, BeforeValidator(_gpu_share)] = None


class Settings(Section):
    """The part of a search space in which nothing can be searched.

    Attributes:
        study: the name of the study and of its folder.
        task: what is learned.
        search: how long the study runs, and what decides in it.
        resources: what one trial gets.
    """

    study: Annotated[str, AfterValidator(study_name)]
    task: Literal["fashion-mnist", "modular-addition"] = "fashion-mnist"
    search: Search = Search()
    resources: Resources = Resources()


SETTINGS_KEYS = tuple(Settings.model_fields)
TRIAL_KEYS = tuple(TrialConfig.model_fields)
