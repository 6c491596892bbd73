"""How many trials a study holds: its file's, more if it was extended, fewer at one run's wish."""

from __future__ import annotations

import math

import optuna

from fmnist_tune.config import SearchSpace

EXTENDED_KEY = "extended_to"  # user attribute: how many trials `--trials` has given the study, beyond its file's


class Quota:
    """A study's number of trials.

    Attributes:
        space: the study's, whose budget may change from one run to the next.
    """

    def __init__(self, study: optuna.Study, space: SearchSpace, extended_to: int) -> None:
        self._study = study
        self.space = space
        self._extended_to = extended_to
        self._n_of_run: int | None = None

    def limit(self, n_trials: int) -> None:
        """Take what `--trials` says: more than the study is to hold extend it, fewer end this run alone."""
        self._n_of_run = n_trials
        self._extended_to = max(self._extended_to, n_trials if n_trials > self._n_whole else 0)

    def extend(self) -> None:
        """Record an extension, once nothing refuses the run; to be called by the holder of the driver's lock."""
        if self._extended_to != self._study.user_attrs.get(EXTENDED_KEY, 0):
            self._study.set_user_attr(EXTENDED_KEY, self._extended_to)

    @property
    def n_target(self) -> int:
        """How many trials the study holds in the end; of a grid, no more than it has."""
        n = self._n_whole if self._n_of_run is None else self._n_of_run
        return min(n, self.space.size() or n) if self._is_grid else n

    @property
    def is_extended(self) -> bool:
        """Whether `--trials` has given it more trials than its file."""
        return self.n_target > self.space.settings.search.trials

    @property
    def is_limited(self) -> bool:
        """Whether `--trials` gives this run fewer trials than the study is to hold."""
        return self._n_of_run is not None and self._n_of_run < self._n_whole

    @property
    def can_grow(self) -> bool:
        """Whether it could be more; a grid has no more than its configurations."""
        return not self._is_grid or self.n_target < (self.space.size() or math.inf)

    @property
    def _n_whole(self) -> int:
        return max(self.space.settings.search.trials, self._extended_to)

    @property
    def _is_grid(self) -> bool:
        return self.space.settings.search.sampler.name == "grid"
