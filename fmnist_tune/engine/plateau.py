"""What to train on a plateau, where most curves begin flat: ranks decide."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from fmnist_tune.engine.candidates import MARGIN, epoch_after
from fmnist_tune.engine.encoding import Encoding
from fmnist_tune.engine.history import History
from fmnist_tune.engine.state import Begin, Continue, Reason, SearchState

# Shares of the time for first evaluations and for closer ones, which take so many times the epochs; and the share of
# new trials that are neighbours of others.
STAGES, FACTOR, SHARE_NEAR = (0.42, 0.13), 3, 0.5
# Of the time, for first evaluations before one trial is trained to its end, and at most for that.
BEFORE_ONE_ENDS, SHARE_OF_ONE = 0.08, 0.15


def decide_by_rank(
    state: SearchState, history: History, encoding: Encoding, partial: Sequence[float], rng: np.random.Generator
) -> Begin | Continue:
    """Return what a free worker does.

    With a deadline there are three stages: first evaluations of many trials, then the best of these a few times as far,
    then the best of those to their ends; where one training takes little of the time, one ends early. Without a
    deadline, trials are promoted as by ASHA.

    Args:
        state: of the search; at least one trial was evaluated.
        history: of the same trials.
        encoding: of the space.
        partial: shares of the first epoch after which a trial may be evaluated.
        rng: draws new configurations.
    """

    first = epoch_after(0, partial)
    second = _whole(FACTOR * first)

    def begin() -> Begin:
        units = encoding.draw(rng, 1)
        if rng.random() < SHARE_NEAR:
            row = rng.choice(history.ahead(), size=1)
            units = encoding.perturb(rng, history.units[row], rng.choice([0.05, 0.1, 0.2], size=1))
        return Begin(encoding.values(units[0]), first, Reason("rank"))

    def go_on(row: int, until: float) -> Continue:
        return Continue(history.numbers[row], _whole(min(until, history.epochs[row])), Reason("rank"))

    if state.left_s is None:
        row = history.promoted(FACTOR)
        return begin() if row is None else go_on(row, FACTOR * history.epoch[row])
    spent_s = [history.seconds_until(epoch) for epoch in (first, second, math.inf)]
    whole_s = spent_s[-1] + state.left_s * state.n_workers
    waiting = history.ranked(first, second)
    rows = np.concatenate([history.ranked(second, math.inf), waiting])
    seconds = np.exp(history.log_s[rows])
    needed_s = MARGIN * (history.epochs[rows] - history.epoch[rows]) * seconds
    ending = np.flatnonzero(needed_s <= state.left_s)
    if len(ending) and not history.is_any_finished:
        i = int(ending[0])
        if state.left_s < needed_s[i] + MARGIN * second * seconds[i]:  # the last moment for one to end at all
            return go_on(int(rows[i]), math.inf)
    if not history.is_any_finished and spent_s[0] >= BEFORE_ONE_ENDS * whole_s:  # so that there is a result early
        early = ending[needed_s[ending] <= SHARE_OF_ONE * whole_s]
        if len(early):
            return go_on(int(rows[early[0]]), math.inf)
    if spent_s[0] < STAGES[0] * whole_s or not len(rows):
        return begin()
    if len(waiting) and spent_s[1] - spent_s[0] < STAGES[1] * whole_s:
        return go_on(int(waiting[0]), second)
    if len(ending):
        return go_on(int(rows[ending[0]]), math.inf)
    reach = history.epoch[rows[0]] + state.left_s / seconds[0]
    return go_on(int(rows[0]), max(math.floor(reach), math.floor(history.epoch[rows[0]]) + 1))


def _whole(epoch: float) -> float:
    return epoch if epoch < 1 else float(round(epoch))
