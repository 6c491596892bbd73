"""A worker: one Ray actor that trains one trial after another."""

from __future__ import annotations

import os
import platform
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import ray
import torch
from numpy.typing import NDArray
from ray import tune

from fmnist_tune.config.schema import Data, TrialConfig
from fmnist_tune.errors import UserError
from fmnist_tune.search.messages import Assignment, TrialReport
from fmnist_tune.training.checkpoint import CheckpointError, load_checkpoint, save_checkpoint
from fmnist_tune.training.results import EpochResult
from fmnist_tune.training.run import TrainingRun
from fmnist_tune.training.tensors import TrainingData


class TrialActor(tune.Trainable):  # type: ignore[misc]  # Ray's classes are untyped here
    """Trains an assignment epoch by epoch; whatever goes wrong in a trial is reported, and the worker lives on."""

    def setup(self, config: dict[str, Any], images_NHW: NDArray[np.uint8], labels_N: NDArray[np.int64]) -> None:
        """Start as a worker with its first assignment; Ray calls it once."""
        self._images_NHW = images_NHW
        self._labels_N = labels_N
        self._device = "cuda" if ray.get_gpu_ids() and torch.cuda.is_available() else "cpu"
        self._tensors: tuple[Data, TrainingData] | None = None
        self._begin(config["assignment"])

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Take the next assignment; Ray calls it between trials."""
        self._begin(new_config["assignment"])
        return True

    def step(self) -> dict[str, Any]:
        """Train one epoch, and report it together with epochs that the study missed."""
        if self._failure is None and self._run is not None and len(self._run.history) == self._n_reported:
            try:
                if next(self._epochs, None) is not None:
                    save_checkpoint(self._run, Path(self._assignment.checkpoint))
            except Exception as error:  # any error of a trial ends that trial alone
                self._failure = _describe(error)
        history = tuple(self._run.history) if self._run is not None else ()
        news = history[self._n_reported :]
        self._n_reported = len(history)
        stop_reason = self._run.stop_reason if self._run is not None else None
        return {"report": TrialReport(self._assignment.number, news, history, stop_reason, self._failure, self._facts())}

    def _begin(self, assignment: Assignment) -> None:
        self._assignment = assignment
        self._run: TrainingRun | None = None
        self._epochs: Iterator[EpochResult] = iter(())
        self._failure: str | None = None
        self._restart_reason: str | None = None
        self._n_reported = assignment.n_epochs_known
        torch.set_num_threads(assignment.n_threads)
        try:
            config = TrialConfig.model_validate(assignment.config)
            data = self._data(config.data)
            self._run = TrainingRun(config, data, seed=assignment.seed, device=self._device)
            try:
                load_checkpoint(self._run, Path(assignment.checkpoint))
            except CheckpointError as error:
                self._restart_reason = str(error)
                self._run = TrainingRun(config, data, seed=assignment.seed, device=self._device)
            self._n_reported = min(self._n_reported, len(self._run.history))
            self._epochs = self._run.epochs()
        except Exception as error:  # as above
            self._failure = _describe(error)

    def _data(self, data: Data) -> TrainingData:
        """Return the tensors for a trial's data section; the last ones are kept, since most trials share them."""
        if self._tensors is None or self._tensors[0] != data:
            self._tensors = None  # frees the old ones first
            self._tensors = (data, TrainingData.from_images(self._images_NHW, self._labels_N, data, self._device))
        return self._tensors[1]

    def _facts(self) -> dict[str, Any]:
        facts: dict[str, Any] = {"ran_on": f"{_device_name(self._device)}, {socket.gethostname()}, process {os.getpid()}"}
        if self._run is not None:
            facts |= {"params": self._run.n_params, "numerics": str(self._run.numerics)}
        if self._restart_reason is not None:
            facts["restarted"] = self._restart_reason
        return facts


def _describe(error: Exception) -> str:
    text = str(error).strip().splitlines()
    kind = "" if isinstance(error, UserError) else f"{type(error).__name__}: "
    return f"{kind}{text[0] if text else ''}"


def _device_name(device: str) -> str:
    if device == "cuda":
        return torch.cuda.get_device_name()
    threads = torch.get_num_threads()
    return f"{platform.machine()} CPU, {threads} thread{'s' if threads > 1 else ''}"
