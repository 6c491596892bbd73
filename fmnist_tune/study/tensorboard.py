"""Curves and searched values of trials for TensorBoard: one run per trial, updated at every report.

PyTorch's SummaryWriter is imported at the first write, since `import torch` takes seconds.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from fmnist_tune.config import Parameter
from fmnist_tune.config.domain import ChoiceDomain
from fmnist_tune.study.trial_writer import TrialSpec
from fmnist_tune.training.results import EpochResult, Evaluation

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

VAL_TAG = "accuracy/val"
ROOM = 2**16  # bytes; an epoch takes 300


@dataclass
class _Run:
    """The content of a trial's run; rewritten if there is no writer."""

    evaluations: list[Evaluation]
    writer: SummaryWriter | None = None


class _Point(NamedTuple):
    step: int
    wall_time: float
    scalars: dict[str, float]


class TensorBoard:
    """The folder for `tensorboard --logdir`; a failed write gives one warning and stops nothing."""

    def __init__(self, folder: Path, parameters: Sequence[Parameter], on_warning: Callable[[int, str], None]) -> None:
        """Write to a folder, which need not exist.

        Args:
            folder: holds a run `trial-<number>` for each trial.
            parameters: of the search space.
            on_warning: called at the first failed write with the trial and the reason.
        """
        self._folder = folder
        self._parameters = parameters
        self._on_warning = on_warning
        self._has_complained = False
        self._runs: dict[int, _Run] = {}

    def has_run(self, number: int) -> bool:
        """Return whether a trial has a run."""
        return bool(_files(self._run_folder(number)))

    def add(
        self,
        spec: TrialSpec,
        evaluations: Sequence[Evaluation],
        *,
        known: Sequence[EpochResult] = (),
    ) -> None:
        """Add evaluations to a trial's run, readable as soon as this returns.

        A trial's first call rewrites its run, as does the first after `close` or an error, and one that replaces
        epochs: whatever is on disk, no point is lost or doubled.

        Args:
            spec: the trial.
            evaluations: new ones, oldest first; they replace those from the first one's epoch on.
            known: all epochs before these. They, and the spec's curve within the first epoch, are read only by the
                trial's first call.
        """
        if spec.number not in self._runs:
            earlier = [*_partial(spec), *known]
            if not (evaluations or earlier):
                return
            self._runs[spec.number] = _Run(earlier)
        run = self._runs[spec.number]
        n_before = len(run.evaluations)
        while evaluations and run.evaluations and run.evaluations[-1].epoch >= evaluations[0].epoch:
            run.evaluations.pop()
        if len(run.evaluations) < n_before:
            self.close(spec.number)
        run.evaluations += evaluations
        try:
            if run.writer is None:
                run.writer = self._write_anew(spec, run)
            else:
                _check_room(self._run_folder(spec.number))
                _write(run.writer, _points(evaluations))
        except Exception as error:  # whatever ended SummaryWriter's thread must not end the search
            self.close(spec.number)
            if not self._has_complained:
                self._has_complained = True
                self._on_warning(spec.number, f"its curves for TensorBoard cannot be written: {error}")

    def close(self, number: int) -> None:
        """Close a paused trial's files; the next `add` continues from their content."""
        run = self._runs.get(number)
        if run is not None and run.writer is not None:
            with contextlib.suppress(Exception):  # the loss was reported, and the run is rewritten
                run.writer.close()
            run.writer = None

    def end(self, number: int) -> None:
        """Close a trial's files for good."""
        self.close(number)
        self._runs.pop(number, None)

    def _write_anew(self, spec: TrialSpec, run: _Run) -> SummaryWriter:
        """Replace a trial's run, and return the writer for its further epochs.

        TensorBoard reads a folder's files in the order of their names, each to its end, and may hang at a deleted one.
        So replaced files are first emptied, and deleted the next time.
        """
        from torch.utils.tensorboard import SummaryWriter

        folder = self._run_folder(spec.number)
        folder.mkdir(parents=True, exist_ok=True)
        _check_room(folder)
        old = _files(folder)
        points = _points(run.evaluations)
        metric = {VAL_TAG: points[-1].scalars.pop(VAL_TAG)}  # add_hparams adds this point
        with SummaryWriter(str(folder), purge_step=0) as writer:
            curves = _files(folder) - old
            _write(writer, points)
            writer.add_hparams(
                {p.path: _cell(p, spec.values) for p in self._parameters},
                metric,
                {
                    p.path: [_cell(p, {p.path: value}) for value in p.domain.values]
                    for p in self._parameters
                    if isinstance(p.domain, ChoiceDomain)
                },
                run_name=".",
                global_step=points[-1].step,
            )
        hparams = _files(folder) - old - curves
        writer = SummaryWriter(str(folder))
        later = _files(folder) - old - curves - hparams
        if not max(curves) < max(hparams) < max(later):  # names number the files within a second, and 10 sorts before 9
            writer.close()
            return self._write_anew(spec, run)
        for file in old:
            if file.is_symlink() or not file.stat().st_size:
                file.unlink()
            else:
                os.truncate(file, 0)
        return writer

    def _run_folder(self, number: int) -> Path:
        return self._folder / f"trial-{number}"


def _files(folder: Path) -> set[Path]:
    return set(folder.glob("*tfevents*"))


def _check_room(folder: Path) -> None:
    """Raise the error here that would end SummaryWriter's thread, which prints a traceback."""
    with tempfile.TemporaryFile(dir=folder) as probe:
        probe.write(bytes(ROOM))


def _cell(parameter: Parameter, values: Mapping[str, Any]) -> float | str:
    """Return a value for HParams: a number, or text for any other choice.

    TensorBoard takes its columns from any one trial, so each trial has them all, of one type, blank if unused.
    """
    domain = parameter.domain
    if not isinstance(domain, ChoiceDomain) or {type(value) for value in domain.values} <= {int, float}:
        return float(values.get(parameter.path, math.nan))
    value = values.get(parameter.path, "")
    return value if isinstance(value, str) else json.dumps(value)


def _partial(spec: TrialSpec) -> list[Evaluation]:
    """Return a trial's evaluations within its first epoch."""
    return [
        Evaluation(epoch=epoch, val_accuracy=accuracy, train_s=0.0, val_s=0.0)
        for epoch, accuracy in sorted(spec.curve.items())
        if epoch < 1
    ]


def _points(evaluations: Sequence[Evaluation]) -> list[_Point]:
    """Return partial evaluations at step 0, then epochs; the last one ends now, the others right before it."""
    whole_s = [result.train_s + result.val_s if result.epoch >= 1 else 0.0 for result in evaluations]
    at, points = time.time() - sum(whole_s), []
    for result, seconds in zip(evaluations, whole_s, strict=True):
        at += seconds
        scalars = {VAL_TAG: result.val_accuracy}
        if isinstance(result, EpochResult):
            scalars = {
                "accuracy/train": result.train_accuracy,
                **scalars,
                "loss/train": result.train_loss,
                "loss/val": result.val_loss,
                "lr": result.lr,
            }
        points.append(_Point(int(result.epoch), at, scalars))
    return points


def _write(writer: SummaryWriter, points: Sequence[_Point]) -> None:
    for step, wall_time, scalars in points:
        for tag, value in scalars.items():
            writer.add_scalar(tag, value, step, wall_time)
    writer.flush()
