"""Which parameters matter by themselves, by the model's mean over the whole space."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from fmnist_tune.engine.blas import one_thread
from fmnist_tune.engine.candidates import epochs_of
from fmnist_tune.engine.encoding import Encoding
from fmnist_tune.engine.fit import CurveFit
from fmnist_tune.engine.history import History
from fmnist_tune.engine.lesson import Lesson, Lessons
from fmnist_tune.engine.settings import Settings
from fmnist_tune.engine.state import TrialState

Array = NDArray[np.float64]

N_LEVELS, N_OTHERS = 16, 256  # values of a parameter, and configurations of the others for each of them
N_UNIFORM = 4096
LEAST_SHARE = 0.05  # of the trials' spread: a standard deviation below it is no difference


@one_thread()
def main_effects(
    encoding: Encoding, trials: Sequence[TrialState], max_epochs: int, lessons: Sequence[Lesson] = ()
) -> dict[str, float] | None:
    """Return each parameter's first-order Sobol index, by path, largest first; None where nothing makes a difference.

    That is its share of the variance of the expected end, over uniform draws of the space, that its value alone
    explains. The rest up to 1 are interactions. Unused parameters are drawn too: what a condition switches on counts
    for the parameter that is conditional as far as that makes a difference, and for the one that it depends on.

    Args:
        encoding: of the space.
        trials: of the study, evaluated at least twice in all, none running.
        max_epochs: of the longest training.
        lessons: of earlier studies.
    """
    history = History(encoding, max_epochs)
    history.update(trials)
    model = CurveFit(history, encoding, Settings(), Lessons(lessons, encoding) if lessons else None).model()
    rng = np.random.default_rng(0)
    n = len(encoding.parameters)

    def ends(places: Array) -> Array:
        units = encoding.snap(places)
        return model.mean_of_new(encoding.features(units), history.time_of(epochs_of(encoding, units, max_epochs)))

    variance = float(np.var(ends(_latin_hypercube(rng, N_UNIFORM, n))))
    if variance <= (LEAST_SHARE * model.trend.scale) ** 2:
        return None
    others = _latin_hypercube(rng, N_OTHERS, n)
    levels = (np.arange(N_LEVELS) + 0.5) / N_LEVELS
    shares = {}
    for i, parameter in enumerate(encoding.parameters):
        places = np.tile(others, (N_LEVELS, 1))
        places[:, i] = levels.repeat(N_OTHERS)
        means = ends(places).reshape(N_LEVELS, N_OTHERS).mean(axis=1)
        shares[parameter.path] = min(float(np.var(means)) / variance, 1.0)
    return dict(sorted(shares.items(), key=lambda pair: -pair[1]))


def _latin_hypercube(rng: np.random.Generator, n: int, d: int) -> Array:
    """Return n points of the unit cube, (n, d), evenly spread in each coordinate."""
    strata = rng.permuted(np.tile(np.arange(n)[:, None], (1, d)), axis=0)
    points: Array = (strata + rng.random((n, d))) / n
    return points
