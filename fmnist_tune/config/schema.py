"""What may stand in a search space once nothing in it is searched any more: sections, keys, types, ranges.

A new option starts here: one field, with its range and a docstring line.
"""

from __future__ import annotations

import difflib
import re
from typing import Annotated, Any, ClassVar, Literal, get_args

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from fmnist_tune.config.architectures import (
    ARCHITECTURES,
    MAX_SIZE,
    MIN_SIZE,
    WEIGHT_FILES,
    WEIGHT_NAMES,
    image_sizes,
)

N_CLASSES = 10
IMAGE_SIZE = 28
ARTIFACTS = "artifacts"  # a folder beside those of the studies
STUDY_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,79}")

Activation = Literal["relu", "leaky_relu", "gelu", "silu", "tanh"]
Norm = Literal["none", "batch"]
Width = Annotated[int, Field(ge=1, le=65536)]
Channels = Annotated[int, Field(ge=1, le=4096)]
Probability = Annotated[float, Field(ge=0, lt=1)]
Finite = Annotated[float, Field(allow_inf_nan=False)]


class Section(BaseModel):
    """A mapping of the file: unknown keys are errors, values are frozen."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


def study_name(name: str) -> str:
    """Return `name` if it can name a study and its folder.

    Raises:
        ValueError: empty, longer than 80 characters, or with anything but letters, digits, '.', '_' and '-'.
    """
    if not STUDY_NAME.fullmatch(name):
        raise ValueError(
            f"{name!r} cannot name a study: use 1 to 80 letters, digits, '.', '_' or '-', "
            "the first one a letter or digit"
        )
    if name == ARTIFACTS:
        raise ValueError(f"{name!r} cannot name a study: the dashboard keeps its files in a folder of that name")
    return name


def seconds(value: object) -> float:
    """Return a duration such as `90s`, `10m`, `1.5h` or a number of seconds, in seconds.

    Raises:
        ValueError: not a duration, or not more than 0.
    """
    units = {"": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0}
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([smh]?)", str(value).strip())
    if isinstance(value, bool) or match is None or float(match[1]) <= 0:
        raise ValueError(f"{value!r} is not a duration; write a number with s, m or h, such as 90s, 10m or 1.5h")
    return float(match[1]) * units[match[2]]


Duration = Annotated[float, BeforeValidator(seconds)]


class Dense(Section):
    """Dense layers, each followed by norm, activation and dropout, then the classifier.

    Attributes:
        hidden: widths of the hidden layers; instead of `depth` and `width`.
        depth: number of hidden layers, of `width` units each.
        dropout: probability after each hidden layer.
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
    """Dense layers over a picture's pixels."""

    name: Literal["mlp"]


class Cnn(Section):
    """Blocks of convolutions, each halved by pooling unless `pools` ends that, then dense layers, then the classifier.

    Attributes:
        channels: channels of each block; instead of `blocks` and `base_channels` (doubled at every block).
        convs_per_block: each followed by norm and activation.
        pools: only the first so many blocks are pooled; None for all.
        dropout2d: probability of dropping a channel after each block.
        head: widths of the dense layers before the classifier.
        dropout: probability before each dense layer, the classifier included.
        feature_dropout: instead of `dropout` before the first of them, which sees the last block's output.
        residual: adds each block's input (through a 1x1 convolution) to its output, before the pooling.
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
        architecture: torchvision's name of it.
        weights: none, the name of weights that torchvision has for it, or a file of a state_dict; a relative path
            starts at the current directory.
        frozen: only the classifier, its last layer, is trained; the rest stays as it is, batch statistics included.
        image_size: pixels along a side to which pictures are enlarged.
        dropout: probability before the classifier, besides what the architecture has of its own.
    """

    name: Literal["torchvision"]
    architecture: Annotated[str, AfterValidator(_architecture)] = "resnet18"
    weights: Annotated[str, AfterValidator(_weights)] = "none"
    frozen: bool = False
    image_size: Annotated[int, Field(ge=MIN_SIZE, le=MAX_SIZE)] = MIN_SIZE
    dropout: Probability = 0.0

    def check_sizes(self, picture_size: int) -> None:
        """Raise a ValueError unless pictures of so many pixels can be enlarged to what the architecture works on."""
        low, high = image_sizes(self.architecture)
        if not low <= self.image_size <= high:
            allowed = f"{low} pixels" if low == high else f"at least {low} pixels"
            raise ValueError(f"{self.architecture} needs pictures of {allowed}, but image_size is {self.image_size}")
        if self.image_size < picture_size:
            raise ValueError(f"image_size {self.image_size} is less than the {picture_size} pixels of a padded picture")


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
        early_stopping: ends after so many epochs without a better validation accuracy; the best epoch then counts.
    """

    epochs: Annotated[int, Field(ge=1, le=100_000)] = 10
    batch_size: Annotated[int, Field(ge=1, le=60_000)] = 128
    optimizer: Optimizer = Optimizer()
    schedule: Literal["constant", "cosine", "one_cycle", "step"] = "constant"
    loss: Literal["cross_entropy", "mse"] = "cross_entropy"
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0
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
        return self


class Sampler(Section):
    """Which of Optuna's samplers draws the parameters; everything it draws follows from `seed`."""

    name: Literal["tpe", "random", "grid", "qmc", "gp", "cmaes"] = "tpe"
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0


class Pruner(Section):
    """ASHA: of the trials that reach min_epochs * reduction_factor**k epochs, 1 in reduction_factor goes on."""

    name: Literal["asha", "none"] = "asha"
    min_epochs: Annotated[int, Field(ge=1)] = 1
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
    if isinstance(value, int | float) and value > 1 and value != int(value):
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


def model_names(config: type[Section]) -> tuple[str, ...]:
    """Return the names of a task's models."""
    sections = get_args(config.model_fields["model"].annotation)
    return tuple(name for section in sections for name in get_args(section.model_fields["name"].annotation))


def fields_at(path: tuple[Any, ...], model_name: object, config: type[Section]) -> tuple[str, ...]:
    """Return the keys that the schema knows at a path, for did-you-mean; empty where it knows none.

    Args:
        path: in the file.
        model_name: what the file calls its model.
        config: the task's schema of model, training and data.
    """
    if not path:
        return (*SETTINGS_KEYS, *TRIAL_KEYS)
    section: type[Section] | None = Settings if path[0] in SETTINGS_KEYS else config
    for key in path:
        field = None if section is None else section.model_fields.get(key)
        section = None if field is None else _section_of(field.annotation, model_name)
    return () if section is None else tuple(section.model_fields)


def _section_of(annotation: object, name: object) -> type[Section] | None:
    """Return the section that a field holds; of several the one of this name, else the first."""
    kinds = [k for k in get_args(annotation) or (annotation,) if isinstance(k, type) and issubclass(k, Section)]
    named = [k for k in kinds if len(kinds) > 1 and name in get_args(k.model_fields["name"].annotation)]
    return next(iter(named or kinds), None)
