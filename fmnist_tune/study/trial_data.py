"""A trial's data in the database besides Optuna's own fields: its epochs, and the metadata of its training.

At each milestone, and at its end, a trial gets one more system attribute: the epochs since the last one, and the
current metadata. No attribute grows with the number of epochs. An ended trial also has its metadata in a user
attribute, which the dashboard shows. Studies of format 1 have all epochs in one attribute, and each item of metadata
in its own.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from optuna.trial import FrozenTrial, TrialState

from fmnist_tune.training.results import EpochResult

PROGRESS_PREFIX = "progress:"  # system attributes, counted from 0: {"epochs": [...], "facts": {...}}
MAX_EPOCHS = 100  # in one attribute: 20 kB, while MySQL allows 64
METADATA_KEY = "training"  # user attribute of an ended trial
HISTORY_KEY = "history"  # system attribute in format 1: every epoch
PARTIAL_KEY = "looks"  # metadata: [share of the first epoch, validation accuracy] pairs
INITIAL_KEY = "initial"  # user attribute: true for a trial from search.initial
FORMER_INITIAL_KEY = "known_good"  # the same in version 0.1


@dataclass(frozen=True)
class Point:
    """A validation accuracy, and the epoch at which it was measured: below 1 for a share of the first."""

    epoch: float
    accuracy: float


def progress_attributes(
    trial: FrozenTrial, epochs: Sequence[EpochResult], metadata: Mapping[str, Any]
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield keys and values of the system attributes that record a trial's new epochs and its metadata."""
    n_known = sum(key.startswith(PROGRESS_PREFIX) for key in trial.system_attrs)
    for i, start in enumerate(range(0, max(1, len(epochs)), MAX_EPOCHS)):
        part = [vars(result) for result in epochs[start : start + MAX_EPOCHS]]
        yield f"{PROGRESS_PREFIX}{n_known + i}", {"epochs": part, "facts": dict(metadata)}


def history_of(trial: FrozenTrial) -> list[EpochResult]:
    """Return a trial's epochs: all if it has ended, otherwise those up to its last rung or interruption."""
    known = [*trial.system_attrs.get(HISTORY_KEY, ()), *(e for part in _progress(trial) for e in part["epochs"])]
    return [EpochResult(**epoch) for epoch in known]


def metadata_of(trial: FrozenTrial) -> dict[str, Any]:
    """Return the metadata of a trial's training, such as duration_s, params and stop_reason.

    A driver killed while it ended a trial may have left the metadata of that end on a trial that then resumes; they do
    not apply to another end.
    """
    metadata: dict[str, Any] = {key: value for key, value in trial.user_attrs.items() if key != METADATA_KEY}
    for part in _progress(trial):
        metadata |= part["facts"]
    return {**metadata, **(trial.user_attrs.get(METADATA_KEY, {}) if trial.state.is_finished() else {})}


def _progress(trial: FrozenTrial) -> list[dict[str, Any]]:
    keys = (key for key in trial.system_attrs if key.startswith(PROGRESS_PREFIX))
    return [trial.system_attrs[key] for key in sorted(keys, key=lambda key: int(key.removeprefix(PROGRESS_PREFIX)))]


def is_initial(trial: FrozenTrial) -> bool:
    """Return whether a trial started from an initial point."""
    return INITIAL_KEY in trial.user_attrs or FORMER_INITIAL_KEY in trial.user_attrs


def curve_of(trial: FrozenTrial) -> dict[float, float]:
    """Return validation accuracy by epoch; below 1, by the share of the first epoch, on a sample."""
    return dict(sorted({**dict(metadata_of(trial).get(PARTIAL_KEY, ())), **trial.intermediate_values}.items()))


def latest_of(trial: FrozenTrial) -> Point | None:
    """Return a trial's latest accuracy, whatever its state; None before the first."""
    curve = curve_of(trial)
    return Point(max(curve), curve[max(curve)]) if curve else None


def best_epoch_of(trial: FrozenTrial) -> int | None:
    """Return the epoch whose accuracy is the value of a COMPLETE trial with early stopping; None for other trials."""
    best_epoch: int | None = metadata_of(trial).get("best_epoch")
    return best_epoch if trial.state == TrialState.COMPLETE else None
