"""The metrics of a modular-addition configuration over seeds, as one JSON object."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fmnist_tune.document.blocks import Block, Finding
from fmnist_tune.evaluation import MIN_FOR_INTERVAL, share_spread, spread
from fmnist_tune.retrain.metrics import spread_json
from fmnist_tune.study.results import spread_text
from fmnist_tune.tasks.modular_addition.config import ModularConfig
from fmnist_tune.tasks.modular_addition.data import leak, split_pairs
from fmnist_tune.tasks.modular_addition.outcome import steps_to_memorise, steps_to_solve
from fmnist_tune.training.results import EpochResult
from fmnist_tune.units import percent


def pair_metrics(config: ModularConfig, histories: Sequence[Sequence[EpochResult]]) -> dict[str, Any]:
    """Return figures over seeds; there is no test set, and all pairs not trained on are for validation.

    Args:
        config: what was trained.
        histories: every epoch of each seed.

    Returns:
        val_accuracy at the end, steps_to_memorise and steps_to_solve (over the seeds that got there; `values` has null
        for the others), pairs, and leak: the share of the validation pairs that are in the training set.
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
    """Return steps as a figure over the seeds that got there; figures are None without any."""
    known = [n for n in steps if n is not None]
    figure = spread_json(spread(known)) if known else {"mean": None, "std": None, "ci95": None}
    return {**figure, "values": list(steps)}


def steps_text(figure: Mapping[str, Any]) -> str:
    """Return steps over seeds from `metrics.json` as text, with how many seeds got there."""
    values = figure["values"]
    n_there = sum(value is not None for value in values)
    if not n_there:
        return f"never reached (0 of {len(values)} seeds)"
    text = f"after {figure['mean']:,.0f} steps ({n_there} of {len(values)} seeds"
    if figure["ci95"] is not None and n_there >= MIN_FOR_INTERVAL:
        low, high = figure["ci95"]
        text += f"; 95 % interval of the mean {max(0, low):,.0f} to {high:,.0f}"
    return f"{text})"


def details(metrics: Mapping[str, Any]) -> list[Block]:
    """Return the details of metrics.json that `retrain` shows besides the result."""
    pairs = metrics["pairs"]
    blocks: list[Block] = [
        f"trained on {pairs['train']:,} pairs, validated on {pairs['val']:,}",
        f"99 % training accuracy {steps_text(metrics['steps_to_memorise'])}",
        f"validation accuracy at the end {spread_text(metrics['val_accuracy'])}",
    ]
    if metrics["leak"]:
        leak = percent(metrics["leak"], 1)
        text = f"{leak} of the validation pairs are in the training set: the accuracy is of no use"
        blocks.append(Finding(text, is_warning=True))
    return blocks
