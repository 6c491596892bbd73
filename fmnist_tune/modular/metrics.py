"""What a modular-addition configuration gave over seeds, as one JSON object."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fmnist_tune.config.modular import ModularConfig
from fmnist_tune.evaluation import share_spread, spread
from fmnist_tune.modular.data import leak, split_pairs
from fmnist_tune.modular.outcome import steps_to_memorise, steps_to_solve
from fmnist_tune.retrain.metrics import spread_json
from fmnist_tune.training.results import EpochResult


def pair_metrics(config: ModularConfig, histories: Sequence[Sequence[EpochResult]]) -> dict[str, Any]:
    """Return figures over seeds; there is no test set, validation pairs are all that were not trained on.

    Args:
        config: what was trained.
        histories: every epoch of each seed.

    Returns:
        val_accuracy at the end, steps_to_memorise and steps_to_solve (over the seeds that did; `values` has null for
        the others), pairs, and leak: the share of the validation pairs that are in the training set.
    """
    train, val = split_pairs(config.data)
    return {
        "val_accuracy": spread_json(share_spread([history[-1].val_accuracy for history in histories])),
        "steps_to_memorise": steps_over_seeds([steps_to_memorise(config, history) for history in histories]),
        "steps_to_solve": steps_over_seeds([steps_to_solve(config, history) for history in histories]),
        "pairs": {"train": len(train.y_N), "val": len(val.y_N)},
        "leak": leak(train, val),
    }


def steps_over_seeds(steps: Sequence[int | None]) -> dict[str, Any]:
    """Return steps as a figure over those seeds that got there; None where there is none."""
    known = [n for n in steps if n is not None]
    figure = spread_json(spread(known)) if known else {"mean": None, "std": None, "ci95": None}
    return {**figure, "values": list(steps)}
