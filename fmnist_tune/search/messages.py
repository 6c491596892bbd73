"""The messages between the driver and the workers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from fmnist_tune.search.faults import Cause
from fmnist_tune.search.memory import Room
from fmnist_tune.tasks.registry import DEFAULT
from fmnist_tune.training.results import EpochResult, Evaluation, StopReason

MAX_CRASHES = 3  # of workers in the same epoch; then the training fails


@dataclass(frozen=True)
class Assignment:
    """A trial for a worker.

    Attributes:
        number: the trial's.
        config: the task's configuration as plain data.
        seed: of the training.
        n_epochs_known: epochs that need not be reported again; below 1, a share of the first one.
        checkpoint: file that keeps the trial's state between epochs.
        log: file to which each epoch's start, evaluations and end are appended.
        n_threads: threads that PyTorch may use.
        with_val: hold out the validation split; otherwise train on it too.
        n_epochs: stop after this many, on the schedule of all configured ones; None for all.
        task: name of the task.
        partial: shares of the first epoch after which to evaluate and report.
        saves_model: after the last report, save the weights beside the checkpoint, with the scores on the test images
            if the worker has them.
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
    """A worker's report on a trial.

    Attributes:
        number: the trial's.
        evaluations: not reported before, oldest first; only the last may be a partial one of the first epoch, which the
            next step continues.
        n_epochs: epochs ended.
        stop_reason: why the training is over; None while it is not.
        failure: why the trial cannot continue; None while it can.
        metadata: of its hardware and software, for the trial's attributes.
        spent_s: seconds of training and validation since the last report; 0 if all was trained for an earlier driver,
            which died.
        cause: of the failure, if any.
        room: memory available without the trial, if it failed for lack of memory.
        is_saved: whether the model is saved, if the assignment asks for that.
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
        """The evaluations at the end of an epoch."""
        return tuple(result for result in self.evaluations if isinstance(result, EpochResult))
