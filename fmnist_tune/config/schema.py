"""The schema of a search space after its searched values are filled in: sections, keys, types, ranges.

Add a new option here, or in the file of its task or model: one field, with its range and a docstring line.
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

ARTIFACTS = "artifacts"  # a folder beside the studies' folders
DATABASE = "studies.db"  # a file beside them; SQLite creates others whose names start with it
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
        ValueError: it is empty, longer than 80 characters, has other characters than letters, digits, '.', '_' and '-',
            or is the name of a file or folder beside the studies' folders.
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


StudyName = Annotated[str, AfterValidator(study_name)]
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
    """The Optuna sampler that chooses the values.

    Attributes:
        name: the sampler.
        seed: determines the sampler's choices and all seeds of the trials.
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
    """How long a study runs, and its sampler and pruner.

    Attributes:
        trials: the total number of trials in the study.
        timeout: the maximum wall-clock time of one run; None for no limit.
        epoch_timeout: the time after which an epoch counts as hanging: its trial fails, and its worker is replaced; a
            retraining ends.
        sampler: what chooses the values of a trial.
        pruner: decides which trials continue; its `name` determines its other keys.
        initial: configurations by dotted path that the study starts with; missing values are sampled.
        learn_from: earlier studies of the same database, on any data: what they tell of the parameters that both search
            is expected here too, as far as it proves true. Needs freeze-thaw.
    """

    trials: Annotated[int, Field(ge=1, le=1_000_000)] = 32
    timeout: Duration | None = None
    epoch_timeout: Duration = 3600.0
    sampler: Sampler = Sampler()
    pruner: Annotated[SerializeAsAny[SchedulerSection], BeforeValidator(_pruner)] = Asha()
    initial: Annotated[list[dict[Any, Any]], BeforeValidator(_points)] = Field(default_factory=list)
    learn_from: Annotated[list[StudyName], Field(max_length=20)] = Field(default_factory=list)

    @model_validator(mode="after")
    def _learns(self) -> Search:
        if self.learn_from and not self.pruner.learns:
            raise ValueError(
                f"learn_from has no effect on {self.pruner.name}; leave it out, or name neither sampler nor pruner, "
                "which stands for freeze-thaw"
            )
        return self


def _gpu_share(value: object) -> object:
    if value == "auto":
        return None
    if isinstance(value, str):
        raise ValueError(f"{value!r} is neither auto nor a number of GPUs")
    if isinstance(value, int | float) and value > 1 and not float(value).is_integer():
        raise ValueError(f"{value} GPUs: more than one GPU must be a whole number")
    return value


class Resources(Section):
    """The resources of one trial.

    Attributes:
        cpus: cores, and PyTorch's threads.
        gpus: GPUs or a share of one; auto is one GPU if there is any; None for auto.
    """

    cpus: Annotated[int, Field(ge=1)] = 1
    gpus: Annotated[Annotated[float, Field(ge=0)] | None, BeforeValidator(_gpu_share)] = None


def _task(name: object) -> object:
    find_task(name)
    return name


class Settings(Section):
    """The part of a search space without searched values.

    Attributes:
        study: the name of the study and of its folder.
        task: the task, which determines the keys of model, training and data.
        search: how long the study runs, and its sampler and pruner.
        resources: the resources of one trial.
    """

    study: Annotated[str, AfterValidator(study_name)]
    task: Annotated[str, BeforeValidator(_task)] = DEFAULT
    search: Search = Search()
    resources: Resources = Resources()


SETTINGS_KEYS = tuple(Settings.model_fields)
TRIAL_KEYS = tuple(TaskConfig.model_fields)


def add_units(tree: dict[str, Any]) -> None:
    """Write the seconds of durations that were stored without a unit as such."""
    search = tree.get("search")
    for key in ("timeout", "epoch_timeout"):
        if isinstance(search, dict) and re.fullmatch(r"\d+(\.\d+)?", str(search.get(key))):
            search[key] = f"{search[key]}s"
