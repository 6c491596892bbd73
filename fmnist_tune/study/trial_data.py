"""What a study's database holds of a trial beside Optuna's own fields: its epochs, and metadata of its training.

A trial that comes to a milestone, or ends, gets one more system attribute: the epochs since the last one, and the
metadata as they are then. None of them grows with the number of epochs. An ended trial has its metadata in a user
attribute too, where the dashboard shows them. Studies of format 1 have every epoch in one attribute, and each item of
metadata in its own.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from optuna.trial import FrozenTrial, TrialState

from fmnist_tune.training.results import EpochResult

PROGRESS_PREFIX = "progress:"  # system attributes, counted from 0: {"epochs": [...], "facts": {...}}
MAX_EPOCHS = 100  # of one of them: 20 kB, where MySQL allows 64
METADATA_KEY = "training"  # user attribute of an ended trial
HISTORY_KEY = "history"  # system attribute in format 1: every epoch
PARTIAL_KEY = "looks"  # fact: [share of the first epoch, validation accuracy] pairs
INITIAL_KEY = "initial"  # user attribute of a trial that was begun from a point of search.initial: true
FORMER_INITIAL_KEY = "known_good"  # the same in version 0.1


@dataclass(frozen=True)
class Point:
    """A validation accuracy, and after how many epochs it was measured: less than 1 for a share of the first."""

    epoch: float
    accuracy: float


def progress_attributes(
    trial: FrozenTrial, epochs: Sequence[EpochResult], metadata: Mapping[str, Any]
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the system attributes that record a trial's new epochs and its metadata, with their keys."""
    n_known = sum(key.startswith(PROGRESS_PREFIX) for key in trial.system_attrs)
    for i, start in enumerate(range(0, max(1, len(epochs)), MAX_EPOCHS)):
        part = [vars(result) for result in epochs[start : start + MAX_EPOCHS]]
        yield f"{PROGRESS_PREFIX}{n_known + i}", {"epochs": part, "facts": dict(metadata)}


def history_of(trial: FrozenTrial) -> list[EpochResult]:
    """Return a trial's epochs: of an ended one all, of another those up to its last rung or interruption."""
    known = [*trial.system_attrs.get(HISTORY_KEY, ()), *(e for part in _progress(trial) for e in part["epochs"])]
    return [EpochResult(**epoch) for epoch in known]


def metadata_of(trial: FrozenTrial) -> dict[str, Any]:
    """Return what is known of a trial's training by name, such as duration_s, params and stop_reason.

    A driver that was killed while it ended a trial may have left the metadata of that end at one that goes on; they are
    not those of another end.
    """
    metadata: dict[str, Any] = {key: value for key, value in trial.user_attrs.items() if key != METADATA_KEY}
    for part in _progress(trial):
        metadata |= part["facts"]
    return {**metadata, **(trial.user_attrs.get(METADATA_KEY, {}) if trial.state.is_finished() else {})}


def _progress(trial: FrozenTrial) -> list[dict[str, Any]]:
    keys = (key for key in trial.system_attrs if key.startswith(PROGRESS_PREFIX))
    return [trial.system_attrs[key] for key in sorted(keys, key=lambda key: int(key.removeprefix(PROGRESS_PREFIX)))]


def is_initial(trial: FrozenTrial) -> bool:
    """Return whether a trial was begun from an initial point."""
    return INITIAL_KEY in trial.user_attrs or FORMER_INITIAL_KEY in trial.user_attrs


def curve_of(trial: FrozenTrial) -> dict[float, float]:
    """Return validation accuracy by epoch; below 1, by the share of the first epoch, on a sample."""
    return dict(sorted({**dict(metadata_of(trial).get(PARTIAL_KEY, ())), **trial.intermediate_values}.items()))


def latest_of(trial: FrozenTrial) -> Point | None:
    """Return the accuracy where a trial stands, whatever its state; None before the first one."""
    curve = curve_of(trial)
    return Point(max(curve), curve[max(curve)]) if curve else None


def best_epoch_of(trial: FrozenTrial) -> int | None:
    """Return the epoch that a trial with early stopping, trained to its end, is valued by; None of another one."""
    best_epoch: int | None = metadata_of(trial).get("best_epoch")
    return best_epoch if trial.state == TrialState.COMPLETE else None
