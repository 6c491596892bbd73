"""The task of adding modulo a number."""

from fmnist_tune.tasks.modular_addition.config import ModularConfig, ModularData
from fmnist_tune.tasks.modular_addition.models import PairModel
from fmnist_tune.tasks.modular_addition.task import ModularAddition

__all__ = ["ModularAddition", "ModularConfig", "ModularData", "PairModel"]
