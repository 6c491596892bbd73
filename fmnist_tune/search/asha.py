"""Which trial a free worker trains: asynchronous successive halving (ASHA, Li et al. 2020, arXiv 1810.05934)."""

from __future__ import annotations

import bisect
import itertools
from collections.abc import Collection, Iterator, Mapping

from fmnist_tune.config.schema import Pruner
from fmnist_tune.units import percent

WHOLE_FROM = 0.9  # of an epoch; a rung from there on is at the end of one
PAUSED_BEYOND = 8  # a trial may be so many places away from going on before it is given up


class Asha:
    """Rungs at min_epochs * reduction_factor**k epochs; of those that reach one, the best 1 in reduction_factor go on.

    A rung below one epoch is a look within the first one.

    A trial pauses at its rung until it is among them, which it may become as others arrive: so the first to arrive
    does not go on merely because it is alone. It is rebuilt from the curves of a study's trials, and keeps no state
    that they do not have.
    """

    def __init__(self, pruner: Pruner, curves: Mapping[int, Mapping[float, float]]) -> None:
        """Take over what trials have reported so far.

        Args:
            pruner: its settings.
            curves: validation accuracy by epoch or share of the first one, by trial number.
        """
        self._pruner = pruner
        self._curves: dict[int, dict[float, float]] = {}
        self._rankings: dict[float, list[tuple[float, int]]] = {}  # of each rung: the best first, of equals the oldest
        for number, curve in curves.items():
            for epoch, value in curve.items():
                self.report(number, epoch, value)
        self.looks = tuple(itertools.takewhile(lambda rung: rung < 1, self._rungs())) if self._is_on else ()

    @property
    def _is_on(self) -> bool:
        return self._pruner.name == "asha"

    def _rungs(self) -> Iterator[float]:
        rung: float = self._pruner.min_epochs
        while True:
            yield rung if rung < WHOLE_FROM else round(rung)
            rung *= self._pruner.reduction_factor

    def _rung_after(self, epoch: float) -> float:
        return next(rung for rung in self._rungs() if rung > epoch)

    def report(self, number: int, epoch: float, value: float) -> None:
        """Take in a trial's validation accuracy after an epoch, or after a share of the first one."""
        curve = self._curves.setdefault(number, {})
        if self.is_rung(epoch):
            ranking = self._rankings.setdefault(epoch, [])
            if epoch in curve:
                ranking.remove((-curve[epoch], number))
            bisect.insort(ranking, (-value, number))
        curve[epoch] = value

    def is_rung(self, epoch: float) -> bool:
        """Return whether trials are compared after this epoch."""
        return self._is_on and next(rung for rung in self._rungs() if rung >= epoch) == epoch

    def epochs_to_rung(self, number: int | None) -> float:
        """Return how many epochs lie between a trial at a rung, or a new one, and its next rung."""
        last = 0.0 if number is None else self.last_epoch(number)
        return self._rung_after(last) - last

    def looks_left(self, number: int) -> tuple[float, ...]:
        """Return the rungs within the first epoch that lie before a trial."""
        return tuple(look for look in self.looks if look > self.last_epoch(number))

    def at_rung(self, number: int) -> float | None:
        """Return the rung at which a trial stands; None if it is between two."""
        last = self.last_epoch(number)
        return last if self.is_rung(last) else None

    def is_promoted(self, number: int, *, rounds_up: bool) -> bool:
        """Return whether a trial at a rung is among those that go on.

        Args:
            number: the trial's.
            rounds_up: whether one goes on where there are fewer than reduction_factor, as when no new ones will come.
        """
        rung = self.last_epoch(number)
        return self._place(number, rung) <= self._n_promoted(rung, rounds_up=rounds_up)

    def _n_promoted(self, rung: float, *, rounds_up: bool) -> int:
        n, factor = len(self._rankings[rung]), self._pruner.reduction_factor
        return -(-n // factor) if rounds_up else n // factor

    def ranked(self, numbers: Collection[int]) -> list[int]:
        """Return trials at rungs, the highest rung first, the best of a rung first."""
        return sorted(numbers, key=lambda n: (-self.last_epoch(n), self._place(n, self.last_epoch(n))))

    def is_promising(self, number: int) -> bool:
        """Return whether a trial at a rung is in the better half of those that got there."""
        rung = self.last_epoch(number)
        return 2 * self._place(number, rung) <= len(self._rankings[rung]) + 1

    def should_prune(self, number: int) -> bool:
        """Return whether a trial at a rung is too far from going on to be kept."""
        rung = self.last_epoch(number)
        return self._place(number, rung) > self._n_promoted(rung, rounds_up=False) + PAUSED_BEYOND

    def rank_text(self, number: int) -> str:
        """Return a trial's accuracy at its rung and its rank there, for people."""
        rung = self.last_epoch(number)
        value, rank, n = self._curves[number][rung], self._place(number, rung), len(self._rankings[rung])
        return f"{percent(value)} at epoch {round(rung, 2):g}, rank {rank}/{n}"

    def verdict(self, number: int, *, rounds_up: bool) -> str:
        """Return why a trial at its rung was given up, for people; arguments as `goes_on` takes them."""
        n_promoted = self._n_promoted(self.last_epoch(number), rounds_up=rounds_up)
        promoted = {0: "none was", 1: "the best one was"}.get(n_promoted, f"the best {n_promoted} were")
        return f"asha: {self.rank_text(number)}; {promoted} promoted"

    def last_epoch(self, number: int) -> float:
        """Return the latest epoch that a trial has reported, or share of the first one; 0 before."""
        return max(self._curves.get(number, {}), default=0.0)

    def _place(self, number: int, rung: float) -> int:
        return bisect.bisect_left(self._rankings[rung], (-self._curves[number][rung], number)) + 1
