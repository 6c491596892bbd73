"""What predictions are worth: accuracy over seeds with an interval, per class, and how sure they are. Numpy only."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

Floats = NDArray[np.float64]
Counts = NDArray[np.int64]


@dataclass(frozen=True)
class Spread:
    """A figure over seeds.

    Attributes:
        values: one of each seed.
        mean: their mean.
        std: sample standard deviation (n - 1); None for one value.
        ci95: 95 % confidence interval of the mean by Student's t; None for one value.
    """

    values: tuple[float, ...]
    mean: float
    std: float | None
    ci95: tuple[float, float] | None


@dataclass(frozen=True)
class Paired:
    """One configuration against another, seed by seed.

    Attributes:
        difference: of the first minus the second, over seeds.
        confidence: 1 - p of the two-sided paired t-test; None for one seed, or where all differences are equal. It
            is not too high where the first was chosen as the best of several by these figures, and the second is the
            runner-up (Hung and Fithian 2019, arXiv 1610.03944).
    """

    difference: Spread
    confidence: float | None


@dataclass(frozen=True)
class PerClass:
    """One class's figures: precision, recall and F1 in [0, 1] (0 where undefined), support in pictures."""

    precision: float
    recall: float
    f1: float
    support: int


@dataclass(frozen=True)
class ClassSpread:
    """One class's figures over seeds; support in pictures."""

    precision: Spread
    recall: Spread
    f1: Spread
    support: int


@dataclass(frozen=True)
class Calibration:
    """Confidence against accuracy in equal bins of confidence.

    Attributes:
        edges: (B + 1,) of the bins.
        confidence, accuracy: (B,) mean of each bin; nan where it is empty.
        count: (B,) pictures.
        ece: expected calibration error: mean |accuracy - confidence|, weighted by count (Guo et al. 2017).
    """

    edges: Floats
    confidence: Floats
    accuracy: Floats
    count: Counts
    ece: float


def spread(values: Sequence[float]) -> Spread:
    """Sum up a figure over seeds.

    Raises:
        ValueError: there are no values.
    """
    if not values:
        raise ValueError("no values")
    x = np.asarray(values, dtype=np.float64)
    mean = float(x.mean())
    if len(x) == 1:
        return Spread(tuple(map(float, x)), mean, None, None)
    std = float(x.std(ddof=1))
    half = float(stats.t.ppf(0.975, len(x) - 1)) * std / len(x) ** 0.5
    return Spread(tuple(map(float, x)), mean, std, (mean - half, mean + half))


def share_spread(values: Sequence[float]) -> Spread:
    """Sum up a share over seeds, such as an accuracy: its interval ends at 0 and 1.

    Raises:
        ValueError: there are no values.
    """
    figure = spread(values)
    if figure.ci95 is None:
        return figure
    return dataclasses.replace(figure, ci95=(max(0.0, figure.ci95[0]), min(1.0, figure.ci95[1])))


def next_value_ci95(figure: Spread) -> tuple[float, float] | None:
    """Return the 95 % prediction interval, by Student's t, of one more value like these; None for one value."""
    if figure.std is None:
        return None
    n = len(figure.values)
    half = float(stats.t.ppf(0.975, n - 1)) * figure.std * (1 + 1 / n) ** 0.5
    return figure.mean - half, figure.mean + half


def paired(first: Sequence[float], second: Sequence[float]) -> Paired:
    """Compare two configurations that were trained with the same seeds, in the same order."""
    difference = spread([a - b for a, b in zip(first, second, strict=True)])
    if not difference.std:
        return Paired(difference, None)
    return Paired(difference, 1 - float(stats.ttest_rel(first, second).pvalue))


def softmax(scores_NK: NDArray[np.float32]) -> Floats:
    """Return probabilities (N, K) from unnormalised scores."""
    shifted = np.exp(scores_NK.astype(np.float64) - scores_NK.max(axis=1, keepdims=True))
    return np.asarray(shifted / shifted.sum(axis=1, keepdims=True))


def accuracy(scores_NK: NDArray[np.float32], labels_N: Counts) -> float:
    """Return the share of pictures whose highest score is their label's; a tie goes to the lowest class."""
    return float((scores_NK.argmax(axis=1) == labels_N).mean())


def confusion_matrix(scores_NK: NDArray[np.float32], labels_N: Counts) -> Counts:
    """Return (K, K) counts; row = true class, column = predicted; sums to N."""
    n_classes = scores_NK.shape[1]
    pairs = labels_N * n_classes + scores_NK.argmax(axis=1)
    return np.bincount(pairs, minlength=n_classes**2).reshape(n_classes, n_classes)


def per_class(confusion_KK: Counts) -> list[PerClass]:
    """Return each class's figures from a confusion matrix."""
    hits = np.diag(confusion_KK).astype(np.float64)
    predicted, support = confusion_KK.sum(axis=0), confusion_KK.sum(axis=1)
    precision = np.divide(hits, predicted, out=np.zeros_like(hits), where=predicted > 0)
    recall = np.divide(hits, support, out=np.zeros_like(hits), where=support > 0)
    total = precision + recall
    f1 = np.divide(2 * precision * recall, total, out=np.zeros_like(hits), where=total > 0)
    return [
        PerClass(float(p), float(r), float(f), int(n))
        for p, r, f, n in zip(precision, recall, f1, support, strict=True)
    ]


def class_spreads(scores_SNK: Sequence[NDArray[np.float32]], labels_N: Counts) -> list[ClassSpread]:
    """Return each class's figures over seeds; one (N, K) array of scores for each seed."""
    of_seeds = [per_class(confusion_matrix(scores_NK, labels_N)) for scores_NK in scores_SNK]
    return [
        ClassSpread(
            share_spread([c.precision for c in of_class]),
            share_spread([c.recall for c in of_class]),
            share_spread([c.f1 for c in of_class]),
            of_class[0].support,
        )
        for of_class in zip(*of_seeds, strict=True)
    ]


def calibration(scores_NK: NDArray[np.float32], labels_N: Counts, n_bins: int = 15) -> Calibration:
    """Compare how sure predictions are with how often they are right."""
    confidence_N = softmax(scores_NK).max(axis=1)
    right_N = (scores_NK.argmax(axis=1) == labels_N).astype(np.float64)
    edges = np.linspace(0, 1, n_bins + 1)
    bins = np.clip(np.ceil(confidence_N * n_bins).astype(int) - 1, 0, n_bins - 1)
    count = np.bincount(bins, minlength=n_bins)
    with np.errstate(invalid="ignore"):
        confidence = np.bincount(bins, confidence_N, n_bins) / count
        right = np.bincount(bins, right_N, n_bins) / count
    filled = count > 0
    ece = float((np.abs(right - confidence)[filled] * count[filled]).sum() / len(labels_N))
    return Calibration(edges, confidence, right, count, ece)
