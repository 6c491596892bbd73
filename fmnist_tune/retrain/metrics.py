"""What a retraining gave, as one JSON object: what `retrain --json` prints and `metrics.json` keeps."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fmnist_tune.evaluation import SeedStats, accuracy, calibration, class_spreads, share_spread


def spread_json(figure: SeedStats) -> dict[str, Any]:
    """Return a figure over seeds as JSON."""
    return {**dataclasses.asdict(figure), "values": list(figure.values)}


def evaluate(
    scores_SNK: Sequence[NDArray[np.float32]], labels_N: NDArray[np.int64], class_names: Sequence[str]
) -> dict[str, Any]:
    """Evaluate every seed's test scores.

    Args:
        scores_SNK: one (N, K) array for each seed.
        labels_N: of the test images.
        class_names: of the K classes.

    Returns:
        test_accuracy, per_class (`ClassSpread.to_json`) and calibration.
    """
    spreads = class_spreads(scores_SNK, labels_N)
    classes = {name: spread.to_json() for name, spread in zip(class_names, spreads, strict=True)}
    return {
        "test_accuracy": spread_json(share_spread([accuracy(scores, labels_N) for scores in scores_SNK])),
        "per_class": classes,
        "calibration": {"ece": spread_json(share_spread([calibration(scores, labels_N).ece for scores in scores_SNK]))},
    }
