"""Training one model: knows PyTorch, but neither Ray nor Optuna."""

from fmnist_tune.training.run import EpochResult, NonFiniteLossError, TrainingRun
from fmnist_tune.training.tensors import TrainingData

__all__ = ["EpochResult", "NonFiniteLossError", "TrainingData", "TrainingRun"]
