"""What a decision costs: `python -m benchmarks.engine.decisions`."""

from __future__ import annotations

import math
import time

import numpy as np

from fmnist_tune.config.domain import FloatDomain
from fmnist_tune.config.parameters import Parameter
from fmnist_tune.engine import Encoding, Engine, Point, SearchState, TrialState

N_PARAMETERS, EPOCHS, N_DECISIONS = 8, 50, 20


def study(n_trials: int, encoding: Encoding, n_running: int) -> list[TrialState]:
    """Return trials of random depth, some of them running."""
    rng = np.random.default_rng(0)
    trials: list[TrialState] = []
    order = 0
    for number, row in enumerate(encoding.draw(rng, n_trials)):
        depth = min(EPOCHS - 1, round(math.exp(rng.exponential(0.7))))
        level = 0.9 - 0.2 * float(np.mean((row - 0.4) ** 2))
        points = tuple(
            Point(e, level - 0.2 / e + 0.003 * rng.standard_normal(), order + e - 1) for e in range(1, depth + 1)
        )
        order += depth
        until = EPOCHS if number >= n_trials - n_running else None
        trials.append(TrialState(number, encoding.values(row), points, seconds=depth, until=until))
    return trials


def main() -> None:
    """Print milliseconds of a decision, of the first one of a new process, and observations of its model."""
    encoding = Encoding([Parameter(f"p{i}", FloatDomain(0.0, 1.0)) for i in range(N_PARAMETERS)])
    for n_trials, n_running in ((15, 2), (40, 2), (150, 2), (1000, 2), (10_000, 2), (10_000, 100)):
        trials = study(n_trials, encoding, n_running)
        engine = Engine(encoding, max_epochs=EPOCHS, seed=0)
        seconds = []
        for decision in range(N_DECISIONS + 1):
            start = time.perf_counter()
            engine.decide(SearchState(trials, decision, left_s=1000.0))
            seconds.append(time.perf_counter() - start)
        print(
            f"{n_trials:6d} trials, {n_running:3d} running: {1000 * float(np.median(seconds[1:])):6.1f} ms, "
            f"with all that is kept rebuilt and a fit {1000 * seconds[0]:7.1f} ms"
        )


if __name__ == "__main__":
    main()
