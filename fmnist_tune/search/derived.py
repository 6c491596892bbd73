"""Defaults that follow from the space, the machine and the time: the first evaluation, and the threads of a trial."""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fmnist_tune.config.implied import CPUS, FIRST_EVALUATION
from fmnist_tune.errors import UserError
from fmnist_tune.search.asha import Asha
from fmnist_tune.search.freeze_thaw import FreezeThaw
from fmnist_tune.units import duration, percent

if TYPE_CHECKING:
    from fmnist_tune.config import SearchSpace
    from fmnist_tune.search.cluster import WorkerPlan

# The first evaluations of so many trials take at most this share of the time, which leaves the rest for going on.
N_TRIALS, MAX_SHARE = 20, 0.1
SHARES = (1.0, 0.33, 0.1, 0.05)  # of the first epoch; a twentieth has a few dozen steps, fewer would say little
N_CONFIGS = 24  # of which the typical one is the median
GPU_CORES = 50  # a GPU trains such models like so many cores: 7 to 230 on an H200 (benchmarks/RESULTS.md)


@dataclass(frozen=True)
class Derived:
    """A default.

    Attributes:
        path: dotted.
        value: of it.
        why: it is this one, as the end of a sentence.
    """

    path: str
    value: Any
    why: str

    def __str__(self) -> str:
        return f"{self.path} {self.value:g}, {self.why}"


def derived_defaults(space: SearchSpace, plan: WorkerPlan, timeout_s: float | None) -> Iterator[Derived]:
    """Yield what a new study is begun with where its file leaves it out.

    Args:
        space: of the file, in which something is searched.
        plan: the workers.
        timeout_s: of the run; None for no limit.
    """
    if leaves_first_evaluation(space):
        yield first_evaluation(space, plan, timeout_s)
    if "cpus" not in space.settings.resources.model_fields_set:
        because = ", as two trials of one thread train more than one of two" if plan.n_workers > 1 else ""
        yield Derived(CPUS, 1, f"which makes {plan}{because}")


def leaves_first_evaluation(space: SearchSpace) -> bool:
    """Return whether a file has a pruner with a first evaluation, and does not say when it is."""
    pruner = space.settings.search.pruner
    return isinstance(pruner, Asha | FreezeThaw) and "min_epochs" not in pruner.model_fields_set


def first_evaluation(space: SearchSpace, plan: WorkerPlan, timeout_s: float | None) -> Derived:
    """Return after how many epochs trials are first evaluated: the most that leaves time to go on with the best."""
    if timeout_s is None:
        return Derived(FIRST_EVALUATION, 1.0, "as there is no timeout")
    core_s = typical_epoch_s(space)
    if core_s is None:
        return Derived(FIRST_EVALUATION, 1.0, "as the seconds of an epoch are not known before it is trained")
    epoch_s = core_s / (GPU_CORES * min(plan.gpus, 1) if plan.gpus else plan.cpus)
    n_trials = min(N_TRIALS, space.settings.search.trials)
    spent = {share: n_trials * share * epoch_s / (plan.n_workers * timeout_s) for share in SHARES}
    share = next((share for share in SHARES if spent[share] <= MAX_SHARE), SHARES[-1])
    took = f"{percent(spent[share], 0)} of {duration(timeout_s)}"
    why = f"so that {n_trials} first evaluations take about {took}, at {duration(epoch_s)} an epoch"
    return Derived(FIRST_EVALUATION, share, why)


def typical_epoch_s(space: SearchSpace) -> float | None:
    """Return the seconds of an epoch on one core, the median of random configurations; None if none is known."""
    import numpy as np

    from fmnist_tune.engine import Encoding  # imports scipy

    encoding, found = Encoding(space.parameters, space.tree), []
    for units in encoding.draw(np.random.default_rng(0), N_CONFIGS):
        with suppress(UserError):  # it cannot be built
            found.append(space.config(encoding.values(units)).epoch_s())
    known = [seconds for seconds in found if seconds is not None]
    return statistics.median(known) if known else None
