"""The results of a training run; imports nothing heavy, for modules that only read them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

SAMPLE_STRIDE = 5  # within an epoch, one in this many validation images is scored

StopReason = Literal["epochs", "early_stopping", "solved"]


class NonFiniteLossError(ArithmeticError):
    """The training loss became infinite or not a number."""


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """A validation accuracy, and the epoch at which it was measured.

    Attributes:
        epoch: counted from 1; below 1, the share of the first epoch that was trained.
        val_accuracy: on the validation split, in [0, 1]; within an epoch, on a sample of it; nan without one.
        train_s, val_s: seconds of training and of validation since the start of the epoch.
    """

    epoch: float
    val_accuracy: float
    train_s: float
    val_s: float

    @property
    def epoch_s(self) -> float:
        """Seconds of the whole epoch; within an epoch, an estimate, rather too long than too short."""
        if self.epoch < 1:
            return self.train_s / self.epoch + SAMPLE_STRIDE * self.val_s
        return self.train_s + self.val_s


@dataclass(frozen=True, kw_only=True)
class EpochResult(Evaluation):
    """The result of one whole epoch.

    Attributes:
        train_loss, train_accuracy: mean over the epoch's batches during training, with augmentation and dropout.
        val_loss: on the validation split; nan without one.
        lr: learning rate of the last step.
        n_images: images trained on.
    """

    epoch: int
    train_loss: float
    train_accuracy: float
    val_loss: float
    lr: float
    n_images: int


def best_epoch(history: Sequence[EpochResult]) -> int:
    """Return the epoch with the highest validation accuracy, the first of equals; 0 without any."""
    return max(history, key=lambda result: (result.val_accuracy, -result.epoch)).epoch if history else 0
