"""Trials that can go on, and which of them a free worker takes."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping

from fmnist_tune.config.schema import Pruner
from fmnist_tune.search.asha import Asha


class Queue:
    """Trials that were cut short go first; those that pause at their rungs when it is their turn."""

    def __init__(self, pruner: Pruner, curves: Mapping[int, Mapping[float, float]]) -> None:
        """Begin with nothing that waits.

        Args:
            pruner: its settings.
            curves: validation accuracy by epoch or share of the first one, by number, of all trials of the study.
        """
        self.asha = Asha(pruner, curves)
        self._interrupted: set[int] = set()
        self._paused: set[int] = set()
        self._held: set[int] = set()

    def requeue(self, number: int) -> None:
        """Let a trial wait that was cut short: between two rungs, or after it had been let go on from one."""
        self._interrupted.add(number)

    def pause(self, number: int) -> None:
        """Let a trial wait at its rung."""
        self._paused.add(number)

    def hold(self, number: int) -> None:
        """Let a trial wait behind all others, new ones too."""
        self._held.add(number)

    @property
    def held(self) -> list[int]:
        """The trials that wait behind all others."""
        return sorted(self._held)

    def take(self, number: int) -> None:
        """Take a trial out."""
        self._held.discard(number)
        self._interrupted.discard(number)
        self._paused.discard(number)

    def is_paused(self, number: int) -> bool:
        """Return whether a trial waits at its rung."""
        return number in self._paused

    def next(self, *, is_full: bool, fits: Callable[[int], bool] = lambda number: True) -> int | None:
        """Return the trial that goes on now; None if there is none.

        Args:
            is_full: whether every trial of the study has begun.
            fits: returns which trials may go on at all.
        """
        promoted = (n for n in self.ranked() if self.asha.is_promoted(n, rounds_up=is_full))
        for number in itertools.chain(sorted(self._interrupted), promoted):
            if fits(number):
                return number
        return None

    def ranked(self) -> list[int]:
        """Return the trials that pause, the most promising first."""
        return self.asha.ranked(list(self._paused))  # copied at one stroke, since the screen's thread asks too

    def to_prune(self) -> list[int]:
        """Return trials that pause and are too far from going on to be kept."""
        return [n for n in self.ranked() if self.asha.should_prune(n)]
