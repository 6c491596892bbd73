"""What can be learned: `Task` is what a new one is derived from; ours are `images` and `modular_addition`."""

from fmnist_tune.models.section import Model
from fmnist_tune.registry import SectionRegistry
from fmnist_tune.tasks.config import TaskConfig, TaskTraining
from fmnist_tune.tasks.objective import Objective
from fmnist_tune.tasks.run import EpochRun
from fmnist_tune.tasks.task import Source, Task

__all__ = ["EpochRun", "Model", "Objective", "SectionRegistry", "Source", "Task", "TaskConfig", "TaskTraining"]
