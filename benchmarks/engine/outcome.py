"""What a search had seen at any time, and how good that is."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from benchmarks.engine.tables import Recorded, Table

NOISE = 0.003  # standard deviation of an evaluation
SHARES = (0.05, 0.1, 0.15, 0.3, 0.33, 0.45)  # of the first epoch, after which our schedulers may evaluate
FRACTIONS = (0.1, 0.2, 0.4, 0.7, 1.0)


def noise_of(table: Table, seed: int, trial: int) -> NDArray[np.float64]:
    """Return the noise of a trial's evaluations: after each epoch, then at each of SHARES."""
    return NOISE * np.random.default_rng([seed, trial]).standard_normal(table.epochs + len(SHARES))


@dataclass
class Outcome:
    """Of a search.

    Attributes:
        regret: at each fraction of its time.
        n_trials: begun.
        decide_s: seconds of a decision, on average.
    """

    regret: dict[float, float]
    n_trials: int
    decide_s: float


@dataclass
class Seen:
    """The best evaluation at any time, judged by its value without noise.

    Attributes:
        table: that is searched.
        time_s: of the search.
        curves: of its trials, without noise.
    """

    table: Table
    time_s: float
    curves: dict[int, Recorded] = field(default_factory=dict)
    _best: float = -np.inf
    _steps: list[tuple[float, float]] = field(default_factory=list)

    def add(self, at_s: float, trial: int, epoch: float, observed: float) -> None:
        """Note an evaluation."""
        if observed > self._best and at_s <= self.time_s:
            self._best = observed
            self._steps.append((at_s, self.curves[trial].at(epoch)))

    def outcome(self, n_trials: int, decide_s: float) -> Outcome:
        """Return how good the best was at each fraction of the time."""
        regret = {}
        for fraction in FRACTIONS:
            until = [accuracy for at_s, accuracy in self._steps if at_s <= fraction * self.time_s]
            regret[fraction] = self.table.regret(until[-1] if until else min(0.0, self.table.median_final))
        return Outcome(regret, n_trials, decide_s)
