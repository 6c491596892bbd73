"""What may stand in a search space once nothing in it is searched any more: sections, keys, types, ranges.

A new option starts here, or in `model` beside: one field, with its range and a docstring line.
"""

from __future__ import annotations

import re
from typing import Annotated, ClassVar, Literal

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from fmnist_tune.config.model import Cnn, Mlp, Torchvision
from fmnist_tune.config.section import Probability, Section
from fmnist_tune.units import seconds

N_CLASSES = 10
IMAGE_SIZE = 28
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
    """torch.optim's optimizer of that name.

    Attributes:
        momentum: for sgd and rmsprop.
        nesterov: for sgd.
        betas: for adam and adamw; None for torch.optim's own.
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
    """Random changes of every training picture, drawn anew in each epoch.

    Attributes:
        flip: mirrored left to right, half of the time.
        shift: at most so many pixels along each axis.
        rotate: at most so many degrees either way.
        scale: enlarged or shrunk by at most this fraction.
        erase: probability that a rectangle of 2 to 33 % of the picture is blanked (random erasing, Zhong et al. 2017).
    """

    flip: bool = False
    shift: Annotated[int, Field(ge=0, le=14)] = 0
    rotate: Annotated[float, Field(ge=0, le=180)] = 0.0
    scale: Annotated[float, Field(ge=0, lt=1)] = 0.0
    erase: Annotated[float, Field(ge=0, le=1)] = 0.0


class Training(Section):
    """How a model is trained.

    Attributes:
        schedule: of the learning rate, stepped every batch; `lr` is its highest value. one_cycle warms up over 30 % of
            the steps; step divides by 10 after 1/2 and 3/4 of them.
        loss: mse is taken between the softmax output and the one-hot label.
        average_weights: what is scored and kept is a running average of the weights, over the latest tenth or so of
            all steps; it does for a constant rate what a falling one would do, after every epoch.
        early_stopping: ends after so many epochs without a better validation accuracy; the best epoch then counts.
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
        val_size: pictures held out of the training set for validation, every class in its share.
        mean, std: pixels are scaled to [0, 1], then (pixel - mean) / std; defaults are the training set's own.
        pad: blank pixels added on each side.
        keep: share of a class's training pictures that stays, for imbalance experiments; 1 where not named.
        mitigation: what is done about the imbalance.
    """

    val_size: Annotated[int, Field(ge=10, le=50_000)] = 10_000
    mean: Finite = 0.2860
    std: Annotated[Finite, Field(gt=0)] = 0.3530
    pad: Annotated[int, Field(ge=0, le=16)] = 0
    keep: dict[Annotated[int, Field(ge=0, lt=N_CLASSES)], Annotated[float, Field(gt=0, le=1)]] = Field(
        default_factory=dict
    )
    mitigation: Literal["none", "class_weights", "weighted_sampler", "oversample"] = "none"


class TrialConfig(Section):
    """Everything that one training on Fashion-MNIST depends on, besides its seed."""

    task: ClassVar[str] = "fashion-mnist"

    model: Annotated[Mlp | Cnn | Torchvision, Field(discriminator="name")]
    training: Training = Training()
    data: Data = Data()

    @model_validator(mode="after")
    def _buildable(self) -> TrialConfig:
        size = IMAGE_SIZE + 2 * self.data.pad
        try:
            if isinstance(self.model, Cnn):
                self.model.feature_sizes(size)
            elif isinstance(self.model, Torchvision):
                self.model.check_sizes(size)
        except ValueError as error:
            raise ValueError(f"model: {error}") from None
        if isinstance(self.model, Mlp) and self.model.norm == "batch" and self.training.batch_size == 1:
            raise ValueError("training.batch_size: batches of 1 have no variance for model.norm batch; use 2 or more")
        return self


class Sampler(Section):
    """Which of Optuna's samplers draws the parameters; everything it draws follows from `seed`."""

    name: Literal["tpe", "random", "grid", "qmc", "gp", "cmaes"] = "tpe"
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0


def _epochs_or_share(value: object) -> object:
    if isinstance(value, float) and value >= 1 and not value.is_integer():
        raise ValueError(f"{value} is neither a whole number of epochs nor a share of the first one, below 1")
    return value


class Pruner(Section):
    """ASHA: of the trials that reach min_epochs * reduction_factor**k epochs, 1 in reduction_factor goes on.

    Attributes:
        min_epochs: a number of epochs; below 1 a share of the first one.
    """

    name: Literal["asha", "none"] = "asha"
    min_epochs: Annotated[float, Field(ge=0.01), BeforeValidator(_epochs_or_share)] = 1
    reduction_factor: Annotated[int, Field(ge=2, le=100)] = 3


class Search(Section):
    """How long a study goes on, and who decides.

    Attributes:
        trials: how many the study holds in the end.
        timeout: seconds of one run; None for no limit.
        epoch_timeout: seconds after which an epoch counts as hanging; its trial fails, and its worker is replaced.
    """

    trials: Annotated[int, Field(ge=1, le=1_000_000)] = 32
    timeout: Duration | None = None
    epoch_timeout: Duration = 3600.0
    sampler: Sampler = Sampler()
    pruner: Pruner = Pruner()


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
        cpus: cores, and threads that PyTorch uses.
        gpus: GPUs, or a share of one; None (auto in the file) for one where there is one.
    """

    cpus: Annotated[int, Field(ge=1)] = 1
    gpus: Annotated[Annotated[float, Field(ge=0)] | None, BeforeValidator(_gpu_share)] = None


class Settings(Section):
    """The part of a search space in which nothing can be searched."""

    study: Annotated[str, AfterValidator(study_name)]
    task: Literal["fashion-mnist", "modular-addition"] = "fashion-mnist"
    search: Search = Search()
    resources: Resources = Resources()


SETTINGS_KEYS = tuple(Settings.model_fields)
TRIAL_KEYS = tuple(TrialConfig.model_fields)
