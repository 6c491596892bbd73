"""Schedulers from outside: what one who has nothing but the installed package writes."""

from __future__ import annotations

import math
from collections.abc import Collection
from typing import Annotated, ClassVar

from pydantic import Field

from fmnist_tune.search.scheduler import Pick, Scheduler, SchedulerSection, Situation


class MedianStopping(SchedulerSection):
    """Prunes trials below the median of those that got as far.

    Attributes:
        first: the first comparison.
        every: epochs between two comparisons.
    """

    first: Annotated[float, Field(gt=0)] = 1
    every: Annotated[int, Field(ge=1)] = 1

    def build(self) -> MedianRule:
        return MedianRule(self)


class MedianRule(Scheduler):
    settings: MedianStopping

    def milestone(self, epoch: float) -> float:
        return self.settings.first if epoch < self.settings.first else int(epoch) + self.settings.every

    def to_prune(self, situation: Situation) -> Collection[int]:
        return [number for number in situation.paused if not self.is_promising(number)]


class Growing(SchedulerSection):
    """Goes on with the trial of the highest accuracy, by 1.8 times its epochs, or proposes a new one.

    Attributes:
        share: of the trials that are new ones.
    """

    share: Annotated[float, Field(ge=0, le=1)] = 0.5

    def build(self) -> GrowingSteps:
        return GrowingSteps(self)


class GrowingSteps(Scheduler):
    settings: Growing
    plans_time: ClassVar[bool] = True

    def next(self, situation: Situation) -> Pick | None:
        n_evaluations = sum(map(len, self.curves.values()))
        if situation.can_begin and len(situation.trials) <= self.settings.share * n_evaluations:
            return Pick(milestone=1, values=self._proposed(situation))
        if situation.paused:
            number = max(situation.paused, key=lambda n: (max(self.curves[n].values()), -n))
            return Pick(number, milestone=self._grown(situation, number))
        return Pick(milestone=1) if situation.can_begin else None

    def milestone(self, epoch: float) -> float:
        return math.floor(epoch) + 1

    def _grown(self, situation: Situation, number: int) -> float:
        trial = situation.trials[number]
        epoch = self.last_epoch(number)
        affordable = epoch + situation.left_s / trial.epoch_s if trial.epoch_s else math.inf
        return max(epoch + 1, min(math.ceil(1.8 * epoch), trial.n_epochs, math.floor(min(affordable, 1e9))))

    def _proposed(self, situation: Situation) -> dict[str, object]:
        parameter = situation.space.parameters[0]
        tried = [str(trial.values.get(parameter.path)) for trial in situation.trials.values()]
        values = getattr(parameter.domain, "values", ())
        return {parameter.path: min(values, key=lambda value: tried.count(str(value)))} if values else {}
