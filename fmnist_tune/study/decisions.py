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
# What decided, in short and in full, by the name in a note: fmnist_tune.engine.state.Rule, and INITIAL.
RULES = {
    "spread": ("spread out", "one of the first, cheap and far from the others"),
    "gain": ("gain per second", "highest expected gain per second"),
    "leap": (
        "large gain per second",
        "highest expected gain per second, large gains alone, as the best has not risen for long",
    ),
    "end": ("to its end in time", "expected to end best of those that still can before the deadline"),
    "rank": ("rank", "by rank, as the first evaluations of most trials are alike"),
    INITIAL: ("initial point", "an initial point"),
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

    def text(self, objective: Objective, name: str = "") -> str:
        """Return both as text, `name` before the interval."""
        median, low, high = map(objective.curve_text, (self.median, self.low, self.high))
        return f"{median} ({name}{low} to {high})"


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
        return f"continued at epoch {_epoch_text(self.epoch)}" if self.epoch else "begun"

    @property
    def rule_text(self) -> str:
        """What decided, in a few words."""
        return RULES[self.rule][0] if self.rule in RULES else printable(self.rule)

    def gain_text(self, objective: Objective) -> str:
        """Return the expected gain, when and where; empty where no model decided."""
        if self.gain is None or self.seconds is None or self.horizon is None:
            return ""
        gain = f"{100 * self.gain:#.2g}".rstrip(".") + " points" if self.gain >= LEAST_GAIN else "< 0.001 points"
        if objective.is_on_curve and not objective.is_share:
            gain = f"{self.gain:.2g}"
        seconds = f"{self.seconds:.2g}" if self.seconds < 10 else f"{self.seconds:,.0f}"
        return f"{gain} in {seconds} s, by epoch {_epoch_text(self.horizon)}"

    def text(self, objective: Objective) -> str:
        """Return all of it."""
        text = f"{self.place}: {RULES[self.rule][1] if self.rule in RULES else self.rule_text}"
        if self.end is None:
            return text
        return f"{text}: {self.gain_text(objective)}; predicted end {self.end.text(objective, '90 % interval ')}"


def _epoch_text(epoch: float) -> str:
    return f"{round(epoch, 2 if epoch < 1 else 1):g}"


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
