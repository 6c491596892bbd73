"""A worker: trains one assignment after another, epoch by epoch, and reports; independent of Ray."""

from __future__ import annotations

import contextlib
import json
import math
import os
import platform
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from fmnist_tune.errors import UserError
from fmnist_tune.files import locked, open_own
from fmnist_tune.search.faults import BrokenWorkerError, Cause, is_out_of_memory
from fmnist_tune.search.memory import Room, measure_room
from fmnist_tune.search.messages import Assignment, TrialReport
from fmnist_tune.search.progress import EpochProgress, telling
from fmnist_tune.study.layout import TEST_SCORES, WEIGHTS
from fmnist_tune.tasks.registry import find_task
from fmnist_tune.tasks.run import Run
from fmnist_tune.training.checkpoint import CheckpointError, load_checkpoint, save_checkpoint
from fmnist_tune.training.results import Evaluation, NonFiniteLossError


class _DiskError(UserError):
    """A model cannot be saved."""


class Worker:
    """Trains assignments; an error in a trial is reported as its failure, and only a lost GPU ends the worker."""

    def __init__(self, data: Any, device: str, test_inputs: Any = None) -> None:
        """Make a worker without an assignment.

        Args:
            data: as returned by the task's `open_data`; not changed.
            device: "cpu" or a CUDA device.
            test_inputs: of the test set, scored by every saved model; None not to score it.
        """
        self._source = data
        self._test_inputs = test_inputs
        self._device = device
        self._data: tuple[object, Any] | None = None

    def assign(self, assignment: Assignment) -> None:
        """Take a trial without starting it: Ray Tune may give it to another worker before the first `step`."""
        self._assignment = assignment
        self._has_begun = False
        self._run: Run | None = None
        self._progress: Iterator[Evaluation] = iter(())
        self._in_epoch = False
        self._failure: str | None = None
        self._warning: str | None = None
        self._n_reported = int(assignment.n_epochs_known)
        self._is_saved = False

    def _begin(self) -> None:
        """Build the model, and load the trial's checkpoint if there is one."""
        assignment = self._assignment
        self._has_begun = True
        torch.set_num_threads(assignment.n_threads)
        self._run = self._new_run()
        try:
            complaint = load_checkpoint(self._run, Path(assignment.checkpoint))
        except CheckpointError as error:
            complaint = str(error)
            self._run = self._new_run()
        n_epochs = len(self._run.history)
        if complaint is not None:
            self._warning = f"checkpoint unusable ({complaint}); goes on from epoch {n_epochs}"
        elif n_epochs < self._n_reported:
            self._warning = f"no checkpoint of epoch {self._n_reported}; goes on from epoch {n_epochs}"
        elif 0 < assignment.n_epochs_known < 1 and not self._run.has_begun:
            self._warning = "no checkpoint of its first epoch, which begins anew"
        self._n_reported = min(self._n_reported, n_epochs)
        self._progress = self._run.progress(assignment.partial)

    def _new_run(self) -> Run:
        assignment = self._assignment
        task = find_task(assignment.task)
        config = task.config.model_validate(assignment.config)
        key = (assignment.task, config.data, assignment.with_val)
        if self._data is None or self._data[0] != key:  # most trials share their data
            self._data = None  # frees the old data first
            prepared = task.prepare(config, self._source, self._device, with_val=assignment.with_val)
            self._data = (key, prepared)
        n_epochs = config.training.epochs if assignment.n_epochs is None else assignment.n_epochs
        return task.new_run(config, self._data[1], seed=assignment.seed, device=self._device, n_epochs=n_epochs)

    def step(self) -> TrialReport:
        """Train to the next evaluation, or report epochs that the study lacks.

        After the last epoch, a step saves the model if the assignment asks for it.

        Raises:
            BrokenWorkerError: the GPU, or this process's context on it, is lost.
        """
        partial, self._spent_s, cause, room = None, 0.0, Cause.TRIAL, None
        is_of_gpu = False
        try:
            # A worker that outlives its driver finishes its epoch; the one that resumes the trial waits for it here, so
            # that no epoch is trained twice.
            with locked(Path(self._assignment.checkpoint).parent / "worker.lock"):
                if not self._has_begun:
                    self._begin()
                if self._failure is None and self._run is not None and len(self._run.history) == self._n_reported:
                    if self._run.stop_reason is None:
                        partial = self._train(self._run)
                    elif self._assignment.saves_model:
                        self._save(self._run)
        except Exception as error:  # an error ends only its own trial
            self._failure, cause = _describe(error), _cause(error)
            is_of_gpu = isinstance(error, torch.OutOfMemoryError | torch.AcceleratorError) or "CUDA" in str(error)
        n_epochs = len(self._run.history) if self._run is not None else 0
        news: list[Evaluation] = [*self._run.history[self._n_reported :]] if self._run is not None else []
        if partial is not None:
            news.append(partial)
        self._n_reported = n_epochs
        stop_reason = self._run.stop_reason if self._run is not None else None
        metadata = self._metadata()
        if cause == Cause.WORKER:
            raise BrokenWorkerError(self._failure)
        if cause == Cause.MEMORY:
            self._run, self._progress = None, iter(())  # frees the trial's memory
            room = _measure_room(self._device if is_of_gpu else "cpu")
        return TrialReport(
            number=self._assignment.number,
            evaluations=tuple(news),
            n_epochs=n_epochs,
            stop_reason=stop_reason,
            failure=self._failure,
            metadata=metadata,
            spent_s=self._spent_s,
            cause=cause,
            room=room,
            is_saved=self._is_saved,
        )

    def _save(self, run: Run) -> None:
        """Save a finished run's weights, and its scores on the test set (float32, (N, K)) if it has one.

        Raises:
            _DiskError: they cannot be written.
        """
        from safetensors import SafetensorError
        from safetensors.torch import save_file

        folder = Path(self._assignment.checkpoint).parent
        state = run.scored_model.state_dict()
        try:
            for name in (WEIGHTS, TEST_SCORES):
                (folder / name).unlink(missing_ok=True)  # it may be a link
            # Clones, since safetensors refuses weights that a model shares.
            save_file({key: value.contiguous().cpu().clone() for key, value in state.items()}, folder / WEIGHTS)
            if self._test_inputs is not None:
                np.save(folder / TEST_SCORES, run.score(self._test_inputs))
        except (SafetensorError, OSError) as error:
            raise _DiskError(str(error)) from None
        self._is_saved = True

    def _train(self, run: Run) -> Evaluation | None:
        """Train to the next evaluation and save the state; return a partial evaluation, or None at an epoch's end."""
        if not self._in_epoch:
            self._log("begin", len(run.history) + 1)
        start = time.perf_counter()
        try:
            with telling(Path(self._assignment.checkpoint).parent, lambda: EpochProgress(*run.position)):
                result = next(self._progress)
        finally:
            self._spent_s = time.perf_counter() - start
        self._in_epoch = result.epoch < 1
        if self._assignment.with_val and not math.isfinite(result.val_accuracy):
            del run.history[self._n_reported :]
            raise NonFiniteLossError(f"the validation figure is {result.val_accuracy} in epoch {result.epoch:g}")
        try:
            save_checkpoint(run, Path(self._assignment.checkpoint))
        except OSError as error:  # the epoch still counts; after a crash it is trained again
            self._warning = f"no checkpoint: {error}"
        if self._in_epoch:
            self._log("partial_evaluation", len(run.history) + 1)
            return result
        self._log("end", len(run.history), val_accuracy=result.val_accuracy)
        return None

    def _log(self, event: str, epoch: int, **values: float) -> None:
        """Append a line to the study's training log, in one write so that lines of workers do not mix."""
        line = {"time": round(time.time(), 3), "process": os.getpid(), "trial": self._assignment.number, "epoch": epoch}
        text = json.dumps({**line, "event": event, **values}) + "\n"
        with contextlib.suppress(OSError):  # a full disk must not end a trial
            file = open_own(Path(self._assignment.log), os.O_WRONLY | os.O_APPEND | os.O_CREAT)
            try:
                os.write(file, text.encode())
            finally:
                os.close(file)

    def _metadata(self) -> dict[str, Any]:
        where = f"{_device_name(self._device)}, {socket.gethostname()}, process {os.getpid()}"
        metadata: dict[str, Any] = {"ran_on": where}
        if self._run is not None:
            metadata |= self._run.metadata
        if self._warning is not None:
            metadata["trouble"] = self._warning
        return metadata


def _describe(error: Exception) -> str:
    text = str(error).strip().splitlines()
    kind = "" if isinstance(error, UserError) else f"{type(error).__name__}: "
    return f"{kind}{text[0] if text else ''}"


def _cause(error: Exception) -> Cause:
    if isinstance(error, NonFiniteLossError):
        return Cause.TRIAL
    if isinstance(error, _DiskError):
        return Cause.DISK
    if isinstance(error, MemoryError) or is_out_of_memory(f"{type(error).__name__}: {error}"):
        return Cause.MEMORY
    if isinstance(error, torch.AcceleratorError):  # its context is lost too: every later call fails
        return Cause.WORKER
    return Cause.UNKNOWN


def _measure_room(device: str) -> Room | None:
    """Return the memory available to a trial."""
    if device != "cuda":
        return measure_room()
    torch.cuda.empty_cache()
    try:
        return Room(*torch.cuda.mem_get_info())
    except RuntimeError:  # others leave too little even for the query
        return Room(0, torch.cuda.get_device_properties(0).total_memory)


def _device_name(device: str) -> str:
    if device == "cuda":
        return torch.cuda.get_device_name()
    threads = torch.get_num_threads()
    return f"{platform.machine()} CPU, {threads} thread{'s' if threads > 1 else ''}"
