"""What becomes of a trial that cannot go on: whether that is its own fault, and whether others should be tried."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass

from fmnist_tune.search.faults import Cause, is_out_of_memory
from fmnist_tune.search.memory import Room
from fmnist_tune.search.messages import MAX_CRASHES
from fmnist_tune.search.pace import Fate, Pace

MAX_ALIKE = 3  # failures of the same kind before anything was trained
MAX_FIRST = 10  # of any kind


@dataclass(frozen=True)
class Decision:
    """What becomes of a trial.

    Attributes:
        fate: of the trial.
        text: why, for people.
        end: why no other trial should be tried either; None if others should.
    """

    fate: Fate
    text: str
    end: str | None = None


class Setbacks:
    """All trials of a run that could not go on. As long as nothing was trained, the machine may be at fault."""

    def __init__(self, pace: Pace) -> None:
        """Know of none; `pace` is told of those for want of memory."""
        self._pace = pace
        self._has_trained = False
        self._first: Counter[str] = Counter()
        self._alone: Counter[object] = Counter()  # failures of a trial beside no other, before anything was trained
        self._starts: Counter[str] = Counter()  # that failed
        self._starts_lately: Counter[str] = Counter()  # since something was trained

    def on_progress(self) -> None:
        """Take note that something was trained: whoever fails from now on is itself at fault."""
        self._has_trained = True
        self._starts_lately.clear()
        self._pace.on_progress()

    def decide(
        self,
        trial: object,
        reason: str,
        cause: Cause,
        *,
        epoch: int,
        n_others: int,
        n_training: int,
        room: Room | None = None,
    ) -> Decision:
        """Decide about a trial.

        Args:
            trial: identifies it.
            reason: what went wrong.
            cause: whose fault that may be.
            epoch: in which it was.
            n_others: how many trials run besides.
            n_training: of these, how many have a worker that is known to work.
            room: memory that its worker has found; None if it died.
        """
        if cause == Cause.START and is_out_of_memory(reason) and not self._pace.has_enough():
            cause = Cause.MEMORY
        if cause == Cause.START:
            return self._on_failed_start(reason, n_others, n_training)
        if cause == Cause.MEMORY:
            fate, text = self._pace.on_death(trial, n_others, room)
            if fate != Fate.FAILS:
                return Decision(fate, f"{reason}: {text}")
            n_deaths = self._pace.n_deaths(trial)
            reason = f"its worker died {n_deaths} times in epoch {epoch}: {reason}" if room is None else reason
            reason = f"{reason} ({text})"
        if cause == Cause.TRIAL or self._has_trained:
            return Decision(Fate.FAILS, reason)
        self._alone[trial] += not n_others
        if self._alone[trial] >= MAX_CRASHES:
            return Decision(Fate.FAILS, reason)
        end = f"trials fail before anything is trained: {reason}"
        text = f"{reason}; tried again after the others, since nothing has been trained yet"
        return Decision(Fate.LAST, text, end if _is_enough(self._first, reason) else None)

    def _on_failed_start(self, reason: str, n_others: int, n_training: int) -> Decision:
        """Let no more workers start than can; if none can, the search ends."""
        end = None
        is_often, is_often_lately = _is_enough(self._starts, reason), _is_enough(self._starts_lately, reason)
        if n_training and is_often:
            self._starts.clear()
            self._pace.limit(n_training, n_training + 1)
        elif n_others and is_often_lately:  # their workers may still come up
            self._starts_lately.clear()
            self._pace.slow_down(n_others + 1)
        elif not n_training and is_often_lately:
            end = f"workers cannot start: {reason}"
        return Decision(Fate.AGAIN, f"its worker could not start: {reason}", end)


def _is_enough(reasons: Counter[str], reason: str) -> bool:
    """Count a reason; returns whether it has come up too often, apart from the numbers in it."""
    alike = re.sub(r"0x[0-9a-f]+|\d+", "#", reason)
    reasons[alike] += 1
    return reasons[alike] >= MAX_ALIKE or reasons.total() >= MAX_FIRST
