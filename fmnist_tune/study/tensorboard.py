"""Curves and searched values of trials for TensorBoard: one run per trial, one write per epoch.

The records are made of TensorBoard's own messages, but not by its writer, which imports TensorFlow where that is
installed, and writes from a thread. They are imported with the first write, so that no search starts later for them.
"""

from __future__ import annotations

import io
import json
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from fmnist_tune.config import Parameter
from fmnist_tune.config.domain import ChoiceDomain
from fmnist_tune.files import new_file, open_own
from fmnist_tune.study.trial_writer import Attempt
from fmnist_tune.training.results import EpochResult

if TYPE_CHECKING:
    from tensorboard.compat.proto.event_pb2 import Event

Outcome = Literal["complete", "pruned", "failed"]
VAL_TAG = "accuracy/val"
FILE = "events.out.tfevents."  # TensorBoard reads files with tfevents in their names, in the order of these


@dataclass(frozen=True)
class _Written:
    """An event file of this process that holds a trial's history up to an epoch; None before the first."""

    path: Path
    last: EpochResult | None
    looks: Mapping[float, float]

    def begins(self, history: Sequence[EpochResult]) -> bool:
        """Whether a history goes on from here; a retrained epoch is not the old one, its seconds differ."""
        return self.last is None or (self.last.epoch <= len(history) and history[self.last.epoch - 1] == self.last)


class TensorBoard:
    """The folder for `tensorboard --logdir`; what cannot be written there is said once, and ends nothing."""

    def __init__(self, folder: Path, parameters: Sequence[Parameter], on_trouble: Callable[[int, str], None]) -> None:
        """Take over a folder, which need not exist.

        Args:
            folder: holds a run `trial-<number>` for each trial.
            parameters: of the search space.
            on_trouble: told the first time that something cannot be written: of which trial, and why.
        """
        self._folder = folder
        self._parameters = parameters
        self._on_trouble = on_trouble
        self._has_complained = False
        self._written: dict[int, _Written] = {}

    def has_run(self, number: int) -> bool:
        """Return whether there is a run of this trial."""
        return bool(self._files(number))

    def add(self, attempt: Attempt, history: Sequence[EpochResult], looks: Mapping[float, float] | None = None) -> None:
        """Bring a trial's run up to date.

        New epochs are appended. The first time, and if the run holds other epochs than these (the trial went back to an
        older checkpoint, or an append has failed), a file with the whole history replaces those that are there.

        Args:
            attempt: the trial.
            history: all its epochs so far; without any, and without a new look, nothing is written: a trial that failed
                before it could go on from its checkpoint keeps its curves.
            looks: validation accuracy by the share of the first epoch, all of them so far; None for the attempt's.
        """
        looks = attempt.looks if looks is None else looks
        if not history and looks == attempt.looks and self.has_run(attempt.number):
            return
        with self._surviving(attempt.number):
            written = self._written.get(attempt.number)
            if written is None or not written.begins(history):
                if history or looks:
                    self._written[attempt.number] = self._begin(attempt, history, looks)
                return
            new_looks = {share: accuracy for share, accuracy in looks.items() if share not in written.looks}
            new = history[written.last.epoch if written.last else 0 :]
            if new or new_looks:
                _append(written.path, [*_look_events(new_looks), *_epoch_events(new)])
                self._written[attempt.number] = _Written(written.path, new[-1] if new else written.last, dict(looks))

    def end(self, attempt: Attempt, outcome: Outcome) -> None:
        """Tell a trial's end to the HParams plugin; until then it takes the trial for running."""
        with self._surviving(attempt.number):
            written = self._written.get(attempt.number)
            if written is None and not (files := self._files(attempt.number)):
                written = self._begin(attempt, (), attempt.looks)
            # A file from before a crash may end within a record; what follows that would not be read.
            _append(written.path if written is not None else _following(files), [_end_event(outcome)])
            self._written.pop(attempt.number, None)

    def _begin(self, attempt: Attempt, history: Sequence[EpochResult], looks: Mapping[float, float]) -> _Written:
        """Replace a trial's event files with a new one, under a name that comes after theirs.

        A running TensorBoard takes no notice of a change before the place that it has read up to, and may stay at a
        file that is gone: those that are replaced are emptied, and deleted the next time.
        """
        old = self._files(attempt.number)
        folder = self._run_folder(attempt.number)
        folder.mkdir(parents=True, exist_ok=True)
        path = _following(old) if old else folder / f"{FILE}{1:06}"
        temporary = folder / ".new"
        try:
            with new_file(temporary) as new:
                head = _head_events(attempt, self._parameters, history)
                new.write(_encode([*head, *_look_events(looks), *_epoch_events(history)]))
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
        for file in old:
            if file.lstat().st_size and not file.is_symlink():
                os.truncate(file, 0)
            else:
                file.unlink()
        return _Written(path, history[-1] if history else None, dict(looks))

    def _run_folder(self, number: int) -> Path:
        return self._folder / f"trial-{number}"

    def _files(self, number: int) -> list[Path]:
        return sorted(self._run_folder(number).glob(f"{FILE}*"))

    @contextmanager
    def _surviving(self, number: int) -> Iterator[None]:
        """Let no full disk end a search; after an error the next write begins a new file."""
        try:
            yield
        except OSError as error:
            self._written.pop(number, None)
            if not self._has_complained:
                self._has_complained = True
                self._on_trouble(number, f"its curves for TensorBoard cannot be written: {error}")


def _following(files: Sequence[Path]) -> Path:
    last = files[-1].name.removeprefix(FILE)
    return files[-1].with_name(f"{FILE}{int(last) + 1:06}" if last.isdecimal() else f"{files[-1].name}.1")


def _append(path: Path, events: Sequence[Event]) -> None:
    with os.fdopen(open_own(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT), "ab") as file:
        file.write(_encode(events))


def _encode(events: Sequence[Event]) -> bytes:
    from tensorboard.summary.writer.record_writer import RecordWriter

    buffer = io.BytesIO()
    writer = RecordWriter(buffer)
    for event in events:
        writer.write(event.SerializeToString())
    return buffer.getvalue()


def _head_events(attempt: Attempt, parameters: Sequence[Parameter], history: Sequence[EpochResult]) -> list[Event]:
    """Return what an event file begins with: its version, a restart, what is searched, and this trial's values."""
    from tensorboard.compat.proto.event_pb2 import Event, SessionLog
    from tensorboard.plugins.hparams import api_pb2, metadata, plugin_data_pb2

    experiment = api_pb2.Experiment(
        hparam_infos=[_hparam_info(parameter) for parameter in parameters],
        metric_infos=[
            api_pb2.MetricInfo(
                name=api_pb2.MetricName(tag=VAL_TAG),
                display_name="val accuracy",
                dataset_type=api_pb2.DATASET_VALIDATION,
            )
        ],
    )
    session = plugin_data_pb2.SessionStartInfo(start_time_secs=time.time() - sum(r.train_s + r.val_s for r in history))
    for parameter in parameters:
        if parameter.path in attempt.values:
            value = _hparam(parameter, attempt.values[parameter.path])
            kind = "bool" if isinstance(value, bool) else "string" if isinstance(value, str) else "number"
            setattr(session.hparams[parameter.path], f"{kind}_value", value)
    return [
        Event(wall_time=session.start_time_secs, file_version="brain.Event:2"),
        # A TensorBoard that has read the files which this one replaces forgets them here.
        Event(wall_time=session.start_time_secs, session_log=SessionLog(status=SessionLog.START)),
        _plugin_event(metadata.EXPERIMENT_TAG, experiment=experiment),
        _plugin_event(metadata.SESSION_START_INFO_TAG, session_start_info=session),
    ]


def _look_events(looks: Mapping[float, float]) -> list[Event]:
    """Return an event per look within the first epoch, at step 0: no whole epoch has been trained then."""
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.summary_pb2 import Summary

    return [
        Event(wall_time=time.time(), step=0, summary=Summary(value=[Summary.Value(tag=VAL_TAG, simple_value=accuracy)]))
        for _, accuracy in sorted(looks.items())
    ]


def _epoch_events(epochs: Sequence[EpochResult]) -> list[Event]:
    """Return an event per epoch, its step; the last one's time is now, the others' as if trained without a break."""
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.summary_pb2 import Summary

    events = []
    at = time.time() - sum(result.train_s + result.val_s for result in epochs)
    for result in epochs:
        at += result.train_s + result.val_s
        scalars = {
            "accuracy/train": result.train_accuracy,
            VAL_TAG: result.val_accuracy,
            "loss/train": result.train_loss,
            "loss/val": result.val_loss,
            "lr": result.lr,
        }
        values = [Summary.Value(tag=tag, simple_value=value) for tag, value in scalars.items()]
        events.append(Event(wall_time=at, step=result.epoch, summary=Summary(value=values)))
    return events


def _end_event(outcome: Outcome) -> Event:
    """Return a trial's end; HParams has no word for pruned, and unknown keeps it apart from the other two."""
    from tensorboard.plugins.hparams import api_pb2, metadata, plugin_data_pb2

    statuses = {
        "complete": api_pb2.STATUS_SUCCESS,
        "pruned": api_pb2.STATUS_UNKNOWN,
        "failed": api_pb2.STATUS_FAILURE,
    }
    end = plugin_data_pb2.SessionEndInfo(status=statuses[outcome], end_time_secs=time.time())
    return _plugin_event(metadata.SESSION_END_INFO_TAG, session_end_info=end)


def _plugin_event(tag: str, **data: Any) -> Event:
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.plugins.hparams import metadata, plugin_data_pb2

    content = metadata.create_summary_metadata(plugin_data_pb2.HParamsPluginData(**data))
    value = Summary.Value(tag=tag, metadata=content, tensor=metadata.NULL_TENSOR)
    return Event(wall_time=time.time(), summary=Summary(value=[value]))


def _hparam_info(parameter: Parameter) -> Any:
    from tensorboard.plugins.hparams import api_pb2

    info = api_pb2.HParamInfo(name=parameter.path, type=api_pb2.DATA_TYPE_FLOAT64, differs=True)
    if isinstance(parameter.domain, ChoiceDomain):
        values = [_hparam(parameter, value) for value in parameter.domain.values]
        info.domain_discrete.extend(values)
        if isinstance(values[0], bool | str):
            info.type = api_pb2.DATA_TYPE_STRING if isinstance(values[0], str) else api_pb2.DATA_TYPE_BOOL
    else:
        info.domain_interval.min_value, info.domain_interval.max_value = map(float, parameter.domain.ends())
    return info


def _hparam(parameter: Parameter, value: Any) -> bool | float | str:
    """Return a value as HParams can hold it: a choice among values of several kinds, or of any other, is text."""
    if isinstance(parameter.domain, ChoiceDomain):
        kinds = {
            bool if isinstance(v, bool) else float if isinstance(v, int | float) else str
            for v in parameter.domain.values
        }
        if kinds not in ({bool}, {float}):
            return value if isinstance(value, str) else json.dumps(value)
    assert isinstance(value, int | float)
    return value
