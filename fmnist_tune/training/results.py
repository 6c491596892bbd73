"""What a training run yields; imports nothing heavy, for those who only read it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

SAMPLE_STRIDE = 5  # within an epoch one validation image in so many is scored

StopReason = Literal["epochs", "early_stopping", "solved"]


class NonFiniteLossError(ArithmeticError):
    """The training loss became infinite or not a number."""


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """A validation accuracy, and when it was measured.

    Attributes:
        epoch: counted from 1; below 1, the share of the first epoch that was trained.
        val_accuracy: on the validation split, in [0, 1]; within an epoch, on a sample of it; nan without one.
        train_s, val_s: seconds spent in training and in validation since the epoch began.
    """

    epoch: float
    val_accuracy: float
    train_s: float
    val_s: float

    @property
    def epoch_s(self) -> float:
        """How long the whole epoch took; within one, is expected to take: too long rather than too short."""
        if self.epoch < 1:
            return self.train_s / self.epoch + SAMPLE_STRIDE * self.val_s
        return self.train_s + self.val_s


@dataclass(frozen=True, kw_only=True)
class EpochResult(Evaluation):
    """What one whole epoch gave.

    Attributes:
        train_loss, train_accuracy: mean over the epoch's batches as they were trained on, augmented and with dropout.
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
    """Return the epoch with the highest validation accuracy, the first of equals; 0 if there is none."""
    return max(history, key=lambda result: (result.val_accuracy, -result.epoch)).epoch if history else 0
