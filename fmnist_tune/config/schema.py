"""What may stand in a search space once nothing in it is searched any more: sections, keys, types, ranges.

A new option starts here, or in the file of its task or model: one field, with its range and a docstring line.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, SerializeAsAny, model_validator

from fmnist_tune.search.asha import SCHEDULERS, Asha
from fmnist_tune.search.scheduler import SchedulerSection
from fmnist_tune.section import Probability, Section
from fmnist_tune.tasks.config import TaskConfig
from fmnist_tune.tasks.registry import DEFAULT, find_task
from fmnist_tune.units import seconds

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


def _task(name: object) -> object:
    find_task(name)
    return name


class Settings(Section):
    """The part of a search space in which nothing can be searched.

    Attributes:
        study: the name of the study and of its folder.
        task: what is learned.
        search: how long the study runs, and what decides in it.
        resources: what one trial gets.
    """

    study: Annotated[str, AfterValidator(study_name)]
    task: Annotated[str, BeforeValidator(_task)] = DEFAULT
    search: Search = Search()
    resources: Resources = Resources()


SETTINGS_KEYS = tuple(Settings.model_fields)
TRIAL_KEYS = tuple(TaskConfig.model_fields)
