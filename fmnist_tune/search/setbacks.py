"""What happens to a trial that cannot continue: whether it is at fault, and whether to try others."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass

from fmnist_tune.search.faults import Cause, is_out_of_memory
from fmnist_tune.search.memory import Room
from fmnist_tune.search.messages import MAX_CRASHES
from fmnist_tune.search.pace import Fate, Pace

MAX_ALIKE = 3  # failures for the same reason before anything was trained
MAX_FIRST = 10  # for any reason


@dataclass(frozen=True)
class Decision:
    """What happens to a trial.

    Attributes:
        fate: of the trial.
        text: the reason, as text.
        end: why the whole search should stop; None if it should not.
    """

    fate: Fate
    text: str
    end: str | None = None


class Setbacks:
    """All failures in a run. Until something has been trained, the machine may be at fault."""

    def __init__(self, pace: Pace) -> None:
        """Start without failures; `pace` receives those for lack of memory."""
        self._pace = pace
        self._has_trained = False
        self._first: Counter[str] = Counter()
        self._alone: Counter[object] = Counter()  # failures of a trial that ran alone, before anything was trained
        self._starts: Counter[str] = Counter()  # failed starts, by reason
        self._starts_lately: Counter[str] = Counter()  # since something was trained

    def on_progress(self) -> None:
        """Note that something was trained: from now on, a trial that fails is itself at fault."""
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
        """Decide what happens to a trial.

        Args:
            trial: identifies it.
            reason: of the failure.
            cause: of the failure.
            epoch: under way at the failure.
            n_others: how many other trials are running.
            n_training: of these, how many have a worker known to work.
            room: memory that its worker found; None if the worker died.
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
        """Limit the workers to those that can start; end the search if none can."""
        end = None
        is_often, is_often_lately = _is_enough(self._starts, reason), _is_enough(self._starts_lately, reason)
        if n_training and is_often:
            self._starts.clear()
            self._pace.limit(n_training, n_training + 1)
        elif n_others and is_often_lately:  # their workers may still start
            self._starts_lately.clear()
            self._pace.slow_down(n_others + 1)
        elif not n_training and is_often_lately:
            end = f"workers cannot start: {reason}"
        return Decision(Fate.AGAIN, f"its worker could not start: {reason}", end)


def _is_enough(reasons: Counter[str], reason: str) -> bool:
    """Count a reason, ignoring the numbers in it; return whether it has occurred too often."""
    alike = re.sub(r"0x[0-9a-f]+|\d+", "#", reason)
    reasons[alike] += 1
    return reasons[alike] >= MAX_ALIKE or reasons.total() >= MAX_FIRST
