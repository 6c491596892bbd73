"""The time budget around a scheduler: which trials can still be completed, and when to start completing them."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection
from dataclasses import replace

from fmnist_tune.search.deadline import Deadline
from fmnist_tune.search.scheduler import Pick, Scheduler, Situation

MARGIN = 1.1  # of a trial's expected time
# Trials that each worker reserves time to complete before the deadline. With an annealed learning rate, early accuracy
# says little about the final one, so several are completed. With a constant rate it is one, plus a third of its time in
# reserve: one trial, timed by its first partial epoch, was expected to take 28 s and took 37.
FINISHED_ANNEALED, FINISHED_CONSTANT = 2, 4 / 3


class Budget:
    """Follows a scheduler while there is time, then completes promising trials.

    Without a deadline, or with a scheduler that plans its time itself, only the scheduler decides.
    """

    def __init__(self, scheduler: Scheduler, deadline: Deadline) -> None:
        """Wrap a scheduler.

        Args:
            scheduler: has received all evaluations of the study.
            deadline: of the run.
        """
        self._scheduler = scheduler
        self._deadline = deadline
        self._finishing: set[int] = set()

    @property
    def _left_s(self) -> float:
        return self._deadline.left_s

    def is_finishing(self, number: int) -> bool:
        """Return whether a trial no longer pauses because it is being completed, with enough time left."""
        return number in self._finishing and self._needed_s(number) <= self._left_s

    def next(self, situation: Situation, interrupted: Collection[int]) -> Pick | None:
        """Return what a free worker trains; None for nothing.

        That is the scheduler's choice or, as late as possible, the first promising trial that can still be completed.

        Args:
            situation: of the search.
            interrupted: trials that resume before any other.
        """
        if self._deadline.at is None:
            return self.pick(situation, interrupted)
        if self._scheduler.plans_time:
            return self.pick(situation, interrupted, self._deadline.fits)
        usual = self._usual(situation, interrupted)
        for number in filter(self._scheduler.is_promising, self._scheduler.ranked(situation.paused)):
            if self._reaches_end(number):
                is_constant = self._deadline.config(number).schedule == "constant"
                n_finished = FINISHED_CONSTANT if is_constant else FINISHED_ANNEALED
                if self._left_s > MARGIN * (n_finished * self._needed_s(number) + self._until_free_s(usual)):
                    break
                self._finishing.add(number)
                return Pick(number)
        return usual

    def pick(
        self,
        situation: Situation,
        interrupted: Collection[int],
        fits: Callable[[int], bool] = lambda number: True,
    ) -> Pick | None:
        """Return what a free worker trains if time does not matter.

        Args:
            situation: of the search.
            interrupted: trials that resume before any other.
            fits: returns whether a trial may resume at all.
        """
        first = next((number for number in sorted(interrupted) if fits(number)), None)
        if first is not None:
            return Pick(first)
        found = self._scheduler.next(replace(situation, paused=[n for n in situation.paused if fits(n)]))
        if not isinstance(found, Pick | None):
            raise TypeError(f"next returned {found!r}, which is neither a Pick nor None")
        return found

    def _usual(self, situation: Situation, interrupted: Collection[int]) -> Pick | None:
        """Return what would be trained if there were time for more.

        A paused trial that cannot be completed in time yields to others, and to a new trial that can: its partial
        training would be wasted unless the study is extended later.
        """
        fits = self._deadline.fits
        usual = self.pick(situation, interrupted, fits)
        number = None if usual is None else usual.number
        if number is None or number not in situation.paused or self._reaches_end(number):
            return usual
        other = self.pick(situation, interrupted, lambda number: fits(number) and self._reaches_end(number))
        if (other is None or other.number is None) and not (situation.can_begin and self._new_reaches_end()):
            return usual
        return other

    def _needed_s(self, number: int) -> float:
        """Return the seconds that a waiting trial is expected to need until it is complete."""
        return self._epochs_left(number) * self._deadline.epoch_s(number)

    def _reaches_end(self, number: int) -> bool:
        return MARGIN * self._needed_s(number) <= self._left_s

    def _new_reaches_end(self) -> bool:
        """Return whether a new trial that starts now can be completed in time."""
        return self._deadline.fits(None) and MARGIN * self._deadline.quickest_s() <= self._left_s

    def _epochs_left(self, number: int) -> float:
        return self._deadline.n_epochs(number) - self._scheduler.last_epoch(number)

    def _until_free_s(self, pick: Pick | None) -> float:
        """Return the seconds for which a pick is expected to occupy its worker."""
        number = None if pick is None else pick.number
        epoch = 0.0 if number is None else self._scheduler.last_epoch(number)
        given = None if pick is None else pick.milestone
        milestone = self._scheduler.milestone(epoch) if given is None else given
        epochs = milestone - epoch
        if number is not None and epoch:  # it may have been killed before its values were drawn
            epochs = min(epochs, self._epochs_left(number))
        return 0.0 if math.isinf(epochs) else epochs * self._deadline.epoch_s(number)
