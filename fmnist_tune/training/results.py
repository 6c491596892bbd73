"""What a training run yields; imports nothing heavy, for those who only read it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

LOOK_STRIDE = 5  # a look within an epoch is at one validation image in so many

StopReason = Literal["epochs", "early_stopping", "solved"]


class NonFiniteLossError(ArithmeticError):
    """The training loss became infinite or not a number."""


@dataclass(frozen=True)
class EpochResult:
    """What one epoch gave.

    Attributes:
        epoch: counted from 1.
        train_loss, train_accuracy: mean over the epoch's batches as they were trained on, augmented and with dropout.
        val_loss, val_accuracy: on the validation split after the epoch, accuracy in [0, 1]; nan without one.
        lr: learning rate of the last step.
        train_s, val_s: seconds spent in training and in validation.
        n_images: images trained on.
    """

    epoch: int
    train_loss: float
    train_accuracy: float
    val_loss: float
    val_accuracy: float
    lr: float
    train_s: float
    val_s: float
    n_images: int


@dataclass(frozen=True)
class Look:
    """What a look within the first epoch gave.

    Attributes:
        share: of the epoch that was trained.
        val_accuracy: on a sample of the validation split, in [0, 1].
        train_s, val_s: seconds spent so far in training and in looks.
    """

    share: float
    val_accuracy: float
    train_s: float
    val_s: float

    @property
    def epoch_s(self) -> float:
        """How long the whole epoch is expected to take; too long rather than too short after more looks than one."""
        return self.train_s / self.share + LOOK_STRIDE * self.val_s


def best_epoch(history: Sequence[EpochResult]) -> int:
    """Return the epoch with the highest validation accuracy, the first of equals; 0 if there is none."""
    return max(history, key=lambda result: (result.val_accuracy, -result.epoch)).epoch if history else 0
