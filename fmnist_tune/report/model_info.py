"""The numbers behind the report's plots of a retrained model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fmnist_tune.evaluation import (
    Calibration,
    ClassSpread,
    Counts,
    Floats,
    SeedStats,
    accuracy,
    calibration,
    class_spreads,
    confusion_matrix,
    share_spread,
    softmax,
)

Scores = NDArray[np.float32]

MIN_PER_BIN = 30  # images; with fewer, the accuracy is off by 18 points or more, one time in twenty


@dataclass(frozen=True)
class ConfusionInfo:
    """Confusion matrix, the mean over seeds.

    Attributes:
        names: of the classes.
        counts_KK: row = true class, column = predicted; sums to the number of images.
        shares_KK: of the true class; a row sums to 1, or to 0 for a class without images.
    """

    names: tuple[str, ...]
    counts_KK: Floats
    shares_KK: Floats

    def most_confused(self) -> tuple[str, str, float]:
        """Return the true and the predicted class of the most frequent error, and its share of the true class."""
        mistakes_KK = self.shares_KK * (1 - np.eye(len(self.shares_KK)))
        true, predicted = np.unravel_index(int(mistakes_KK.argmax()), mistakes_KK.shape)
        return self.names[true], self.names[predicted], float(mistakes_KK[true, predicted])


@dataclass(frozen=True, kw_only=True)
class ClassFigures(ClassSpread):
    """A class's figures over seeds, with its name."""

    name: str


@dataclass(frozen=True)
class ReliabilityInfo:
    """Confidence against accuracy.

    Attributes:
        pooled: over the predictions of all seeds.
        is_sparse: (B,) whether a bin has predictions, but for fewer than 30 images per seed.
        ece: of each seed.
    """

    pooled: Calibration
    is_sparse: NDArray[np.bool_]
    ece: SeedStats


@dataclass(frozen=True)
class PredictedImage:
    """A test image and its prediction: `image_HW` uint8, (H, W) or (H, W, C); confidence in [0, 1]."""

    index: int
    true: str
    predicted: str
    confidence: float
    image_HW: NDArray[np.uint8]


@dataclass(frozen=True)
class ClassesInfo:
    """Training images of each class, and how many of them the configuration keeps (`data.keep`)."""

    names: tuple[str, ...]
    counts: tuple[int, ...]
    kept: tuple[int, ...]

    @property
    def is_even(self) -> bool:
        """Whether all classes have equally many images, and all are kept."""
        return len({*self.counts, *self.kept}) == 1


@dataclass(frozen=True)
class RobustnessInfo:
    """Accuracy of the model on changed test images.

    Attributes:
        n_classes: number of classes.
        clean: accuracy on the unchanged images (strength 0).
        accuracies: by corruption, at strengths 1 to 5.
    """

    n_classes: int
    clean: float
    accuracies: Mapping[str, tuple[float, ...]]


def accuracy_over_seeds(scores: Sequence[Scores], labels_N: Counts) -> SeedStats:
    """Return the accuracy over seeds."""
    return share_spread([accuracy(scores_NK, labels_N) for scores_NK in scores])


def confusion(scores: Sequence[Scores], labels_N: Counts, names: tuple[str, ...]) -> ConfusionInfo:
    """Return the mean confusion matrix over seeds."""
    counts_KK = np.mean([confusion_matrix(scores_NK, labels_N) for scores_NK in scores], axis=0)
    support_K1 = counts_KK.sum(axis=1, keepdims=True)
    return ConfusionInfo(names, counts_KK, counts_KK / np.maximum(support_K1, 1))


def class_figures(scores: Sequence[Scores], labels_N: Counts, names: tuple[str, ...]) -> tuple[ClassFigures, ...]:
    """Return precision, recall and F1 of every class over seeds."""
    spreads = class_spreads(scores, labels_N)
    return tuple(ClassFigures(name=name, **vars(spread)) for name, spread in zip(names, spreads, strict=True))


def reliability(scores: Sequence[Scores], labels_N: Counts) -> ReliabilityInfo:
    """Return the agreement of confidence and accuracy."""
    pooled = calibration(np.concatenate(scores), np.tile(labels_N, len(scores)))
    is_sparse = (pooled.count > 0) & (pooled.count < MIN_PER_BIN * len(scores))
    return ReliabilityInfo(
        pooled, is_sparse, share_spread([calibration(scores_NK, labels_N).ece for scores_NK in scores])
    )


def confidently_wrong(
    scores_NK: Scores, images_NHW: NDArray[np.uint8], labels_N: Counts, names: tuple[str, ...], n: int
) -> tuple[PredictedImage, ...]:
    """Return the n misclassified images of highest confidence, highest first, ties in the file's order."""
    wrong = np.flatnonzero(scores_NK.argmax(axis=1) != labels_N)
    order = wrong[np.argsort(-softmax(scores_NK[wrong]).max(axis=1), kind="stable")] if len(wrong) else wrong
    return _predicted(order[:n], scores_NK, images_NHW, labels_N, names)


def samples(
    scores_NK: Scores, images_NHW: NDArray[np.uint8], labels_N: Counts, names: tuple[str, ...], n_per_class: int
) -> tuple[PredictedImage, ...]:
    """Return the first n images of each class in the file's order: a fixed rule, without cherry-picking."""
    chosen = [np.flatnonzero(labels_N == k)[:n_per_class] for k in range(len(names))]
    return _predicted(np.concatenate(chosen), scores_NK, images_NHW, labels_N, names)


def class_counts(labels_N: Counts, names: tuple[str, ...], keep: Mapping[int, float]) -> ClassesInfo:
    """Count the training images by class; `keep` is the configuration's `data.keep`."""
    counts = tuple(int(n) for n in np.bincount(labels_N, minlength=len(names)))
    kept = tuple(max(1, round(n * keep[k])) if k in keep else n for k, n in enumerate(counts))
    return ClassesInfo(names, counts, kept)


def robustness(rows: Sequence[Mapping[str, str]], n_classes: int, clean: float) -> RobustnessInfo:
    """Return the figures over all classes from the rows of robustness.csv, without the unchanged images.

    Raises:
        KeyError, ValueError: a column is missing, or a number is malformed.
    """
    rows = [r for r in rows if int(r["strength"]) > 0]
    overall = sorted((r for r in rows if r["class"] == "all"), key=lambda r: int(r["strength"]))
    accuracies: dict[str, tuple[float, ...]] = {r["corruption"]: () for r in rows}
    for row in overall:
        accuracies[row["corruption"]] += (float(row["accuracy"]),)
    return RobustnessInfo(n_classes, clean, accuracies)


def _predicted(
    indices: Counts, scores_NK: Scores, images_NHW: NDArray[np.uint8], labels_N: Counts, names: tuple[str, ...]
) -> tuple[PredictedImage, ...]:
    if not len(indices):
        return ()
    probabilities = softmax(scores_NK[indices])
    return tuple(
        PredictedImage(int(i), names[labels_N[i]], names[p.argmax()], float(p.max()), images_NHW[i])
        for i, p in zip(indices, probabilities, strict=True)
    )
