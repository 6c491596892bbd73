"""What passes between the driver and the workers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from fmnist_tune.search.faults import Cause
from fmnist_tune.search.memory import Room
from fmnist_tune.tasks.registry import DEFAULT
from fmnist_tune.training.results import EpochResult, Evaluation, StopReason

MAX_CRASHES = 3  # of workers in the same epoch of a training, which then counts as failed


@dataclass(frozen=True)
class Assignment:
    """A trial for a worker.

    Attributes:
        number: the trial's.
        config: of the task's class, as plain data.
        seed: of the training.
        n_epochs_known: so many first epochs need not be reported; below 1, a share of the first one.
        checkpoint: file that keeps the trial's state between epochs.
        log: file to which each epoch's begin, evaluations and end are appended.
        n_threads: that PyTorch may use.
        with_val: hold out the validation split; otherwise it is trained on too.
        n_epochs: stop after so many, on the schedule of all that are configured; None for all.
        task: whose configuration this is.
        partial: after which shares of the first epoch the driver wants to hear of it.
        saves_model: once it is trained, and that is reported, leave its weights beside the checkpoint, with its scores
            on the test images if the worker has them.
    """

    number: int
    config: dict[str, Any]
    seed: int
    n_epochs_known: float
    checkpoint: str
    log: str
    n_threads: int
    with_val: bool = True
    n_epochs: int | None = None
    task: str = DEFAULT
    partial: tuple[float, ...] = ()
    saves_model: bool = False


@dataclass(frozen=True)
class TrialReport:
    """News of a trial.

    Attributes:
        number: the trial's.
        evaluations: that have not been reported yet, oldest first; only the last may be within the first epoch, which
            goes on with the next step.
        n_epochs: how many it has ended.
        stop_reason: why there is nothing left to train; None while there is.
        failure: why the trial cannot go on; None while it can.
        metadata: what it runs on, for the trial's attributes.
        spent_s: seconds of training and validation just now; 0 where all was trained for a driver that died before it
            heard of it.
        cause: of the failure, if there is one.
        room: memory that the worker found without the trial, where the failure is for want of it.
        is_saved: whether the model is saved, where the assignment asks for that.
    """

    number: int
    evaluations: tuple[Evaluation, ...]
    n_epochs: int
    stop_reason: StopReason | None
    failure: str | None
    metadata: dict[str, Any]
    spent_s: float = 0.0
    cause: Cause = Cause.TRIAL
    room: Room | None = None
    is_saved: bool = False

    @property
    def epochs(self) -> tuple[EpochResult, ...]:
        """The whole epochs among the evaluations."""
        return tuple(result for result in self.evaluations if isinstance(result, EpochResult))
