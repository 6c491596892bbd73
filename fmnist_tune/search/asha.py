"""Asynchronous successive halving (ASHA, Li et al. 2020, arXiv 1810.05934), and no pruning at all."""

from __future__ import annotations

import bisect
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from fmnist_tune.registry import SectionRegistry
from fmnist_tune.search.freeze_thaw import FreezeThaw
from fmnist_tune.search.scheduler import WHOLE_FROM, Pick, Scheduler, SchedulerSection, Situation

PAUSED_BEYOND = 8  # places below the last promoted one; a trial further down is pruned


def _epochs_or_share(value: object) -> object:
    if isinstance(value, float) and value >= 1 and not value.is_integer():
        raise ValueError(f"{value} is neither a whole number of epochs nor a share of the first one, below 1")
    return value


Rung = Annotated[float, Field(ge=0.01), BeforeValidator(_epochs_or_share)]
Factor = Annotated[int, Field(ge=2, le=100)]


class Asha(SchedulerSection):
    """ASHA: at each rung, min_epochs * reduction_factor**k epochs, the best 1/reduction_factor are promoted.

    Attributes:
        min_epochs: the first rung; a value below 1 is a share of the first epoch.
        reduction_factor: one in this many of a rung's trials is promoted.
    """

    name: Literal["asha"] = "asha"
    min_epochs: Rung = 1
    reduction_factor: Factor = 3

    def build(self) -> SuccessiveHalving:
        """Build the scheduler."""
        return SuccessiveHalving(self)

    def warnings(self, given: Collection[str], epochs: Sequence[int], unit: str) -> Iterable[str]:
        """Warn of trainings that end before the first rung."""
        if not epochs or "min_epochs" not in given or self.min_epochs < epochs[0]:
            return
        rung = f"search.pruner: asha first compares trials after {unit} {self.min_epochs:g}"
        if self.min_epochs >= epochs[-1]:
            yield f"{rung}, but the last one is {epochs[-1]}: no trial is stopped early; use a smaller min_epochs"
        else:
            yield (
                f"{rung}: those with {epochs[0]} {unit}s end before, and none of them is stopped early; use a "
                f"min_epochs below {epochs[0]}"
            )


class NoPruning(SchedulerSection):
    """No pruning: every trial is trained to its end. The keys of asha may stay, without effect.

    Attributes:
        min_epochs: without effect.
        reduction_factor: without effect.
    """

    name: Literal["none"]
    min_epochs: Rung | None = None
    reduction_factor: Factor | None = None

    def build(self) -> Scheduler:
        """Build the scheduler."""
        return Scheduler(self)

    def warnings(self, given: Collection[str], epochs: Sequence[int], unit: str) -> Iterable[str]:
        """Warn of keys without effect."""
        ignored = [key for key in given if key != "name"]
        if ignored:
            have = "has" if len(ignored) == 1 else "have"
            yield f"search.pruner: {' and '.join(ignored)} {have} no effect with name none"


class SuccessiveHalving(Scheduler):
    """A trial pauses at each rung; it may be promoted later, when more trials have arrived.

    The first to arrive is thus not promoted merely for being alone. A rung below 1 lies within the first epoch.
    """

    settings: Asha

    def __init__(self, settings: Asha) -> None:
        super().__init__(settings)
        self._rankings: dict[float, list[tuple[float, int]]] = {}  # by rung: best first, ties by age

    def _rungs(self) -> Iterator[float]:
        rung: float = self.settings.min_epochs
        while True:
            yield rung if rung < WHOLE_FROM else round(rung)
            rung *= self.settings.reduction_factor

    def milestone(self, epoch: float) -> float:
        """Return the next rung."""
        return next(rung for rung in self._rungs() if rung > epoch)

    def is_rung(self, epoch: float) -> bool:
        """Return whether trials are compared after this epoch."""
        return next(rung for rung in self._rungs() if rung >= epoch) == epoch

    def report(self, number: int, epoch: float, accuracy: float) -> None:
        """Take in an evaluation."""
        if self.is_rung(epoch):
            ranking = self._rankings.setdefault(epoch, [])
            before = self.curves.get(number, {}).get(epoch)
            if before is not None:
                ranking.remove((-before, number))
            bisect.insort(ranking, (-accuracy, number))
        super().report(number, epoch, accuracy)

    def next(self, situation: Situation) -> Pick | None:
        """Return the best promoted trial of the highest rung; without one, a new trial."""
        for number in self.ranked(situation.paused):
            if self.is_promoted(number, rounds_up=not situation.can_begin):
                return Pick(number)
        return Pick() if situation.can_begin else None

    def to_prune(self, situation: Situation) -> list[int]:
        """Return the trials that are too far from promotion, the most promising first."""
        return [n for n in self.ranked(situation.paused) if self._is_far(n)]

    def _is_far(self, number: int) -> bool:
        rung = self.last_epoch(number)
        return self._place(number)[0] > self._n_promoted(rung, rounds_up=False) + PAUSED_BEYOND

    def verdict(self, number: int, situation: Situation) -> str:
        """Return a trial's rank at its rung and how many were promoted there."""
        n_promoted = self._n_promoted(self.last_epoch(number), rounds_up=not situation.can_begin)
        promoted = {0: "none was", 1: "the best one was"}.get(n_promoted, f"the best {n_promoted} were")
        return f"asha: {self.rank_text(number)}; {promoted} promoted"

    def is_promoted(self, number: int, *, rounds_up: bool) -> bool:
        """Return whether a trial is promoted from its rung.

        Args:
            number: the trial's.
            rounds_up: promote one even of fewer than reduction_factor trials, as when no new ones will come.
        """
        return self._place(number)[0] <= self._n_promoted(self.last_epoch(number), rounds_up=rounds_up)

    def _n_promoted(self, rung: float, *, rounds_up: bool) -> int:
        n, factor = len(self._rankings[rung]), self.settings.reduction_factor
        return -(-n // factor) if rounds_up else n // factor

    def _place(self, number: int) -> tuple[int, int]:
        ranking = self._rankings[self.last_epoch(number)]
        return bisect.bisect_left(ranking, (-self._latest(number), number)) + 1, len(ranking)


SCHEDULERS: SectionRegistry[SchedulerSection] = SectionRegistry(
    base=SchedulerSection,
    built_in={"asha": Asha, "freeze-thaw": FreezeThaw, "none": NoPruning},
    group="fmnist_tune.schedulers",
    needs=("build",),
    noun="scheduler",
    default="asha",
)
