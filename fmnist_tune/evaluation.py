"""Evaluation of predictions: accuracy over seeds with intervals, per-class figures and calibration; also as text."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fmnist_tune.units import percent

Floats = NDArray[np.float64]
Counts = NDArray[np.int64]

MIN_FOR_INTERVAL = 3  # seeds; with two, Student's t interval is 12.7 standard errors on either side: meaningless


@dataclass(frozen=True)
class SeedStats:
    """A figure over seeds.

    Attributes:
        values: one for each seed.
        mean: of the values.
        std: sample standard deviation (n - 1); None for one value.
        ci95: 95 % confidence interval of the mean by Student's t; None for one value.
    """

    values: tuple[float, ...]
    mean: float
    std: float | None
    ci95: tuple[float, float] | None

    @classmethod
    def from_json(cls, figure: Mapping[str, Any]) -> SeedStats:
        """Return a figure over seeds from `metrics.json`."""
        ci95 = figure.get("ci95")
        return cls(tuple(figure["values"]), figure["mean"], figure.get("std"), None if ci95 is None else tuple(ci95))

    @property
    def extent(self) -> tuple[float, float] | None:
        """The range shown with the mean: the interval, for two seeds both values, for one nothing."""
        return self.ci95 if len(self.values) >= MIN_FOR_INTERVAL else _ends(self.values)

    def certainty(self) -> str:
        """Return the uncertainty of the mean of this share as text."""
        n = len(self.values)
        if n == 1:
            return "one seed, no interval"
        if self.extent is None:
            return f"{n} seeds, no interval"
        low, high = (percent(end) for end in self.extent)
        if n < MIN_FOR_INTERVAL:
            return f"two seeds, {low} and {high}: too few for an interval"
        return f"95 % interval of the mean {low} to {high}, {n} seeds"


@dataclass(frozen=True)
class Paired:
    """One configuration against another, seed by seed.

    Attributes:
        difference: of the first minus the second, over seeds.
        confidence: 1 - p of the two-sided paired t-test; None for one seed, or if all differences are equal. It stays
            valid if the first was chosen as the best of several by these figures, and the second is the runner-up (Hung
            and Fithian 2019, arXiv 1610.03944).
    """

    difference: SeedStats
    confidence: float | None


@dataclass(frozen=True)
class PerClass:
    """A class's figures; support in images.

    Attributes:
        precision: in [0, 1]; None if the class was never predicted.
        recall, f1: in [0, 1]; None if the class has no images.
    """

    precision: float | None
    recall: float | None
    f1: float | None
    support: int


@dataclass(frozen=True)
class ClassSpread:
    """A class's figures over the seeds where they are defined, None if for no seed; support in images."""

    precision: SeedStats | None
    recall: SeedStats | None
    f1: SeedStats | None
    support: int

    @classmethod
    def from_json(cls, figures: Mapping[str, Any], n_seeds: int) -> ClassSpread:
        """Return a class's figures from `metrics.json`; older files have only the means of all but recall."""
        support = figures.get("support", 0)
        names = ("precision", "recall", "f1") if support else ("precision",)
        known = {name: _stored_spread(figures, name, n_seeds) for name in names}
        return cls(known["precision"], known.get("recall"), known.get("f1"), support)

    def to_json(self) -> dict[str, Any]:
        """Return the figures for `metrics.json`: means, the seeds' values, and the interval of recall."""
        found = {"precision": self.precision, "recall": self.recall, "f1": self.f1}
        return {
            **{name: None if figure is None else figure.mean for name, figure in found.items()},
            "support": self.support,
            "recall_ci95": None if self.recall is None else self.recall.ci95,
            **{f"{name}_values": [] if figure is None else list(figure.values) for name, figure in found.items()},
        }


def _stored_spread(figures: Mapping[str, Any], name: str, n_seeds: int) -> SeedStats | None:
    """Return a class's figure from `metrics.json`; None if it is undefined for every seed."""
    mean, values, ci95 = figures[name], figures.get(f"{name}_values"), figures.get(f"{name}_ci95")
    if values or mean is None:
        return share_spread(values) if values else None
    known = (mean,) * (1 if ci95 is None else n_seeds)
    return SeedStats(known, mean, None, None if ci95 is None else tuple(ci95))


@dataclass(frozen=True)
class Calibration:
    """Confidence against accuracy, in bins of confidence of equal width.

    Attributes:
        edges: (B + 1,) of the bins.
        confidence, accuracy: (B,) mean of each bin; nan for an empty one.
        count: (B,) images.
        ece: expected calibration error: mean |accuracy - confidence|, weighted by count (Guo et al. 2017).
    """

    edges: Floats
    confidence: Floats
    accuracy: Floats
    count: Counts
    ece: float


def _t_quantile(degrees: int) -> float:
    """Return the 97.5 % quantile of Student's t."""
    from scipy import stats  # takes a second, and a search has no use for it

    return float(stats.t.ppf(0.975, degrees))


def spread(values: Sequence[float]) -> SeedStats:
    """Summarise a figure over seeds.

    Raises:
        ValueError: there are no values.
    """
    if not values:
        raise ValueError("no values")
    x = np.asarray(values, dtype=np.float64)
    mean = float(x.mean())
    if len(x) == 1:
        return SeedStats(tuple(map(float, x)), mean, None, None)
    std = float(x.std(ddof=1))
    half = _t_quantile(len(x) - 1) * std / len(x) ** 0.5
    return SeedStats(tuple(map(float, x)), mean, std, (mean - half, mean + half))


def share_spread(values: Sequence[float]) -> SeedStats:
    """Summarise a share over seeds, such as an accuracy: its interval is clipped to [0, 1].

    Raises:
        ValueError: there are no values.
    """
    figure = spread(values)
    if figure.ci95 is None:
        return figure
    return dataclasses.replace(figure, ci95=(max(0.0, figure.ci95[0]), min(1.0, figure.ci95[1])))


def next_value_ci95(figure: SeedStats) -> tuple[float, float] | None:
    """Return the 95 % prediction interval, by Student's t, of one further value; None for one value."""
    if figure.std is None:
        return None
    n = len(figure.values)
    half = _t_quantile(n - 1) * figure.std * (1 + 1 / n) ** 0.5
    return figure.mean - half, figure.mean + half


def paired(first: Sequence[float], second: Sequence[float]) -> Paired:
    """Compare two configurations trained with the same seeds, in the same order."""
    difference = spread([a - b for a, b in zip(first, second, strict=True)])
    if difference.std is None or difference.std < 1e-12:  # equal except for rounding
        return Paired(difference, None)
    from scipy import stats  # takes a second, and a search has no use for it

    return Paired(difference, 1 - float(stats.ttest_rel(first, second).pvalue))


def softmax(scores_NK: NDArray[np.float32]) -> Floats:
    """Return probabilities (N, K) from unnormalised scores."""
    shifted = np.exp(scores_NK.astype(np.float64) - scores_NK.max(axis=1, keepdims=True))
    return np.asarray(shifted / shifted.sum(axis=1, keepdims=True))


def accuracy(scores_NK: NDArray[np.float32], labels_N: Counts) -> float:
    """Return the share of images whose highest score is that of their label; a tie goes to the lowest class."""
    return float((scores_NK.argmax(axis=1) == labels_N).mean())


def confusion_matrix(scores_NK: NDArray[np.float32], labels_N: Counts) -> Counts:
    """Return (K, K) counts; row = true class, column = predicted; sums to N."""
    n_classes = scores_NK.shape[1]
    pairs = labels_N * n_classes + scores_NK.argmax(axis=1)
    return np.bincount(pairs, minlength=n_classes**2).reshape(n_classes, n_classes)


def per_class(confusion_KK: Counts) -> list[PerClass]:
    """Return each class's figures from a confusion matrix."""
    return [
        PerClass(
            _share(hits, predicted),
            _share(hits, support),
            _share(2 * hits, predicted + support) if support else None,
            support,
        )
        for hits, predicted, support in zip(
            np.diag(confusion_KK).tolist(),
            confusion_KK.sum(axis=0).tolist(),
            confusion_KK.sum(axis=1).tolist(),
            strict=True,
        )
    ]


def class_spreads(scores_SNK: Sequence[NDArray[np.float32]], labels_N: Counts) -> list[ClassSpread]:
    """Return each class's figures over seeds; one (N, K) array of scores for each seed."""
    of_seeds = [per_class(confusion_matrix(scores_NK, labels_N)) for scores_NK in scores_SNK]
    return [
        ClassSpread(
            _defined_spread([c.precision for c in of_class]),
            _defined_spread([c.recall for c in of_class]),
            _defined_spread([c.f1 for c in of_class]),
            of_class[0].support,
        )
        for of_class in zip(*of_seeds, strict=True)
    ]


def share_text(share: float | None, digits: int) -> str:
    """Return a share in [0, 1] as a percentage; an undefined one (None) is a dash."""
    return "-" if share is None else percent(share, digits)


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None


def _defined_spread(values: Sequence[float | None]) -> SeedStats | None:
    defined = [value for value in values if value is not None]
    return share_spread(defined) if defined else None


def _ends(values: Sequence[float]) -> tuple[float, float] | None:
    return (min(values), max(values)) if len(values) > 1 else None


def calibration(scores_NK: NDArray[np.float32], labels_N: Counts, n_bins: int = 15) -> Calibration:
    """Compare the confidence of predictions with their accuracy."""
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
