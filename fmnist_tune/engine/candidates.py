"""What could be trained next, and what that is expected to gain per second."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from fmnist_tune.engine.curves import CurveModel
from fmnist_tune.engine.encoding import Encoding
from fmnist_tune.engine.gain import log_expected_improvement
from fmnist_tune.engine.history import History

Array = NDArray[np.float64]
Ints = NDArray[np.int64]

MARGIN = 1.1  # of the time that a trial is expected to need
EPOCHS_PATH = "training.epochs"  # the parameter that is the length of a training, where that is searched
GROWTH = 1.8  # a trial that goes on is trained to so many times its epochs


def epoch_after(epoch: float, partial: Sequence[float]) -> float:
    """Return the epoch to which a trial is trained that stands at another one, 0 if it is new.

    Args:
        epoch: where it stands.
        partial: shares of the first epoch after which it may be evaluated and paused, ascending.
    """
    if epoch == 0:
        return partial[0] if partial else 1.0
    if epoch < 1:
        return next((share for share in partial if share > epoch and share >= GROWTH * epoch), 1.0)
    return float(math.ceil(GROWTH * epoch - 1e-9))


def epochs_of(encoding: Encoding, units: Array, max_epochs: int) -> Array:
    """Return the epochs of the whole training of each configuration, (n,).

    Args:
        encoding: of the space.
        units: (n, parameters).
        max_epochs: where the length of a training is not searched.
    """
    epochs, whole = encoding.numbers(EPOCHS_PATH, units), np.full(len(units), float(max_epochs))
    return whole if epochs is None else np.where(np.isnan(epochs), whole, epochs)


@dataclass(frozen=True)
class Candidates:
    """Trials that may go on, and new ones, a row for each.

    Attributes:
        units: (m, parameters).
        features: (m, d).
        row: (m,) of the trial in the history; -1 if new.
        epoch: (m,) trained already.
        next: (m,) epoch to train to.
        epochs: (m,) of the whole training.
        log_s: (m,) of the seconds of an epoch.
    """

    units: Array
    features: Array
    row: Ints
    epoch: Array
    next: Array
    epochs: Array
    log_s: Array

    @property
    def needed_s(self) -> Array:
        """Seconds to the end of each."""
        needed: Array = (self.epochs - self.epoch) * np.exp(self.log_s)
        return needed

    def take(self, rows: Ints) -> Candidates:
        """Return these rows alone."""
        return Candidates(**{field.name: getattr(self, field.name)[rows] for field in fields(self)})

    def ends(self, model: CurveModel, history: History) -> tuple[Array, Array]:
        """Return mean and standard deviation of what each comes to at its end."""
        return model.predict(self.features, history.time_of(self.epochs), self.row)

    def horizons(self, *, left_s: float | None, horizon: float) -> tuple[Array, NDArray[np.bool_]]:
        """Return the epoch at which each one's gain is compared, and whether that fits into the time.

        Args:
            left_s: until the search ends; None for no limit.
            horizon: the epoch wanted.
        """
        reach = np.full(len(self.row), math.inf) if left_s is None else self.epoch + left_s / np.exp(self.log_s)
        until = np.clip(horizon, self.next, self.epochs)
        until = np.minimum(until, np.maximum(np.floor(reach), self.epoch))
        least = np.minimum(self.next, np.floor(self.epoch) + 1)
        fits = (until > self.epoch) & (reach >= least)
        return np.where(fits, until, self.next), fits

    def scores(
        self, model: CurveModel, history: History, *, left_s: float | None, horizon: float, best: float
    ) -> Array:
        """Return the log of expected gain per second; -inf for what does not fit into the time.

        Args:
            model: of the curves.
            history: of the trials.
            left_s: until the search ends; None for no limit.
            horizon: epoch at which gains are compared.
            best: what is to be exceeded.
        """
        until, fits = self.horizons(left_s=left_s, horizon=horizon)
        mean, sd = model.predict(self.features, history.time_of(until), self.row)
        log_gain = log_expected_improvement((mean - best) / sd) + np.log(sd)
        spent = (until - self.epoch) * np.exp(self.log_s)
        scores: Array = np.where(fits, log_gain - np.log(spent), -math.inf)
        return scores
