"""Why freeze-thaw began a trial and continued it, as its notes say, and how its predictions compare with what came."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from optuna.trial import FrozenTrial, TrialState

from fmnist_tune.config import SearchSpace
from fmnist_tune.escaping import printable
from fmnist_tune.study.trial_data import curve_of, is_initial, metadata_of
from fmnist_tune.study.trial_writer import notes_of
from fmnist_tune.tasks.objective import Objective
from fmnist_tune.training.results import StopReason

SCHEDULER = "freeze-thaw"
INITIAL = "initial"
# What decided, by the name in a note: fmnist_tune.engine.state.Rule, and INITIAL.
RULES = {
    "spread": "one of the first, cheap and far from the others",
    "gain": "highest expected gain per second",
    "leap": "highest expected gain per second, large gains alone, as the best has not risen for long",
    "end": "expected to end best of those that still can before the deadline",
    "rank": "by rank, as the first evaluations of most trials are alike",
    INITIAL: "an initial point",
}
TRAINED_TO_ITS_END: StopReason = "epochs"
MIN_ENDS = 3  # trials with which predictions are compared
LEAST_GAIN = 1e-5  # 0.001 points


@dataclass(frozen=True)
class Predicted:
    """An accuracy that is expected: the median, and the ends of the 90 % interval."""

    median: float
    low: float
    high: float

    def covers(self, value: float) -> bool:
        """Return whether a value lies within the interval."""
        return self.low <= value <= self.high


@dataclass(frozen=True)
class Decision:
    """Why a trial was begun or continued.

    Attributes:
        epoch: at which it stood; 0 where it was begun.
        rule: what decided, a key of `RULES`; of a later version perhaps another word.
        end: what was expected of its last epoch; None where no model decided.
        horizon: the epoch at which gains were compared; None likewise, as what follows.
        seconds: of training expected until there.
        gain: over the best accuracy so far, expected there.
    """

    epoch: float
    rule: str
    end: Predicted | None = None
    horizon: float | None = None
    seconds: float | None = None
    gain: float | None = None

    @property
    def place(self) -> str:
        """What was decided: to begin the trial, or to continue it."""
        return f"continued at epoch {round(self.epoch, 2):g}" if self.epoch else "begun"

    @property
    def why(self) -> str:
        """What decided, in words."""
        return RULES.get(self.rule) or printable(self.rule)

    def text(self, objective: Objective) -> str:
        """Return all of it, for people."""
        text = f"{self.place}: {self.why}"
        if self.end is None:
            return text
        return (
            f"{text}: {gain_text(self.gain, objective)} in {seconds_text(self.seconds)}, by epoch {self.horizon:g}; "
            f"predicted end {objective.curve_text(self.end.median)} ({interval_text(self.end, objective)})"
        )


def gain_text(gain: float | None, objective: Objective) -> str:
    """Return an expected gain as text."""
    if gain is None:
        return "-"
    if not objective.is_share and objective.is_on_curve:
        return f"{gain:.2g}"
    return f"{100 * gain:.2g} points" if gain >= LEAST_GAIN else "< 0.001 points"


def seconds_text(seconds: float | None) -> str:
    """Return expected seconds as text."""
    return "-" if seconds is None else f"{seconds:.2g} s" if seconds < 10 else f"{seconds:,.0f} s"


def interval_text(end: Predicted, objective: Objective) -> str:
    """Return a 90 % interval as text."""
    return f"90 % interval {objective.curve_text(end.low)} to {objective.curve_text(end.high)}"


def decisions_of(trial: FrozenTrial, space: SearchSpace) -> tuple[Decision, ...]:
    """Return why a trial was begun and continued, by epoch; empty for other schedulers and studies made before."""
    if space.settings.search.pruner.name != SCHEDULER:
        return ()
    found = {epoch: _decision(epoch, note) for epoch, note in notes_of(trial).items()}
    if is_initial(trial) and 0 in found:
        found[0.0] = Decision(0.0, INITIAL)  # what was expected was expected of other values
    return tuple(found[epoch] for epoch in sorted(found) if found[epoch].rule)


def _decision(epoch: float, note: Any) -> Decision:
    """Return what a note says; without a rule, if it says nothing or not what we write."""
    if not isinstance(note, Mapping) or not isinstance(note.get("rule"), str):
        return Decision(epoch, "")
    try:
        median, low, high = map(float, note["end"])
        horizon, seconds, gain = (float(note[name]) for name in ("horizon", "seconds", "gain"))
    except (KeyError, TypeError, ValueError):
        return Decision(epoch, note["rule"])
    if not all(map(math.isfinite, (median, low, high, horizon, seconds, gain))):
        return Decision(epoch, note["rule"])
    return Decision(epoch, note["rule"], Predicted(median, low, high), horizon, seconds, gain)


@dataclass(frozen=True)
class PredictedEnd:
    """A trial trained to its end, with what was expected of that: by its first decision of the model, and its last."""

    number: int
    first: Predicted
    latest: Predicted
    realised: float


@dataclass(frozen=True)
class PredictedEnds:
    """How good the model's predictions were."""

    trials: tuple[PredictedEnd, ...]

    @property
    def first_covered(self) -> int:
        """Of how many trials the first interval holds the end."""
        return sum(trial.first.covers(trial.realised) for trial in self.trials)

    @property
    def latest_covered(self) -> int:
        """Of how many trials the latest interval holds the end."""
        return sum(trial.latest.covers(trial.realised) for trial in self.trials)

    @property
    def text(self) -> str:
        """The same as a statement."""
        return (
            f"of {len(self.trials)} trials trained to their ends, the model's 90 % interval holds the end of "
            f"{self.first_covered} at its first decision about the trial, and of {self.latest_covered} at its last"
        )

    def to_json(self) -> dict[str, int]:
        """Return it as JSON data."""
        n = len(self.trials)
        return {"trials": n, "first_covered": self.first_covered, "latest_covered": self.latest_covered}


def predicted_ends(trials: Sequence[FrozenTrial], space: SearchSpace) -> PredictedEnds | None:
    """Return how predictions compare with the ends of trials trained to their ends; None for too few of these."""
    found = []
    for trial in trials:
        stop_reason = metadata_of(trial).get("stop_reason")
        if trial.state != TrialState.COMPLETE or stop_reason != TRAINED_TO_ITS_END:
            continue
        predicted = [decision.end for decision in decisions_of(trial, space) if decision.end is not None]
        curve = curve_of(trial)
        realised = curve[max(curve)] if curve else math.nan
        if predicted and math.isfinite(realised):
            found.append(PredictedEnd(trial.number, predicted[0], predicted[-1], realised))
    return PredictedEnds(tuple(found)) if len(found) >= MIN_ENDS else None
