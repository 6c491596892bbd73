"""The report's figures of a retrained model."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import PercentFormatter

from fmnist_tune.report.drawing import (
    GREEN,
    INK,
    PALE_TEAL,
    RED,
    SLATE,
    TEAL,
    WIDTH,
    new_figure,
    percent_axis,
    styled,
)
from fmnist_tune.report.model_info import (
    MIN_PER_BIN,
    ClassesInfo,
    ClassFigures,
    ConfusionInfo,
    PredictedImage,
    ReliabilityInfo,
    RobustnessInfo,
)

# Tol's bright and muted sets, with markers, so that nine lines are distinguishable without colour vision.
LINES = ("#4477aa", "#ee6677", "#228833", "#aa8800", "#66ccee", "#aa3377", "#777777", "#332288", "#cc6600", "#117733")
MARKERS = "osD^vP*X<>"
THIN_BIN = 0.01
SHARES = LinearSegmentedColormap.from_list("shares", ["white", TEAL, "#0d3f3c"])


def confusion_figure(info: ConfusionInfo) -> Figure:
    """Draw the confusion matrix: counts, and below them the percentage of the true class."""
    figure = new_figure(WIDTH, 4.9)
    axes = figure.add_subplot()
    digits = 0 if np.array_equal(info.counts_KK, info.counts_KK.round()) else 1
    # The square root keeps errors of a few percent visible beside the diagonal.
    axes.imshow(np.sqrt(info.shares_KK), cmap=SHARES, vmin=0, vmax=1)
    for true, row in enumerate(info.counts_KK):
        for predicted, count in enumerate(row if row.any() else ()):
            share = info.shares_KK[true, predicted]
            colour = "white" if share > 0.4 else INK if count else "#b9bec7"
            text = f"{count:.{digits}f}"
            axes.text(predicted, true - 0.12, text, ha="center", va="center", fontsize=7.5, color=colour)
            if count:
                shown = f"{share:.0%}" if share >= 0.0995 else f"{share:.1%}"
                axes.text(predicted, true + 0.25, shown, ha="center", va="center", fontsize=5.5, color=colour)
    names = list(info.names)
    axes.set_xticks(range(len(names)), names, rotation=40, ha="right", fontsize=9, color=INK)
    axes.set_yticks(range(len(names)), names, fontsize=9, color=INK)
    for untested in np.flatnonzero(info.counts_KK.sum(axis=1) == 0).tolist():
        axes.text(len(names) / 2 - 0.5, untested, "no test images", ha="center", va="center", fontsize=8, color=SLATE)
    axes.set(xlabel="predicted", ylabel="true")
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    return figure


def per_class_figure(info: Sequence[ClassFigures]) -> Figure:
    """Draw recall and F1 of each class with their 95% intervals."""
    figure = new_figure(WIDTH, 4.6)
    axes = styled(figure.add_subplot(), grid="x")
    for offset, colour, label, spreads in (
        (-0.19, TEAL, "recall", [c.recall for c in info]),
        (0.19, PALE_TEAL, "F1", [c.f1 for c in info]),
    ):
        known = [(at + offset, s) for at, s in enumerate(spreads) if s is not None]
        axes.barh([at for at, _ in known], [s.mean for _, s in known], height=0.36, color=colour, label=label)
        for at, s in known:
            low, high = s.extent or (s.mean, s.mean)
            if s.extent is not None:
                axes.errorbar(
                    [s.mean], [at], xerr=[[s.mean - low], [high - s.mean]], fmt="none", ecolor=INK, elinewidth=1,
                    capsize=2.5,
                )  # fmt: skip
            axes.text(high + 0.01, at, f"{s.mean:.1%}", va="center", fontsize=7.5, color=INK)
    for at, c in enumerate(info):
        if c.recall is None:
            axes.text(0.01, at, "no test images", va="center", fontsize=8, color=SLATE)
    axes.set_yticks(range(len(info)), [c.name for c in info])
    axes.set_ylim(len(info) - 0.5, -0.5)
    axes.set_xlim(0, 1.12)
    axes.set_xticks(np.linspace(0, 1, 6))
    axes.xaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1.0), ncols=2, fontsize=9, frameon=False, borderpad=0.2)
    return figure


def reliability_figure(info: ReliabilityInfo) -> Figure:
    """Draw accuracy against confidence, and the distribution of confidence."""
    figure = new_figure(WIDTH, 5.0)
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(3.2, 1))
    pooled = info.pooled
    left, width = pooled.edges[:-1], np.diff(pooled.edges)
    styled(upper)
    filled = pooled.count > 0
    is_thin = ~info.is_sparse & (pooled.count < THIN_BIN * pooled.count.sum())
    for here, style in (
        (filled & ~info.is_sparse & ~is_thin, {"color": TEAL, "edgecolor": "white", "label": "accuracy"}),
        (
            filled & is_thin,
            {"color": PALE_TEAL, "edgecolor": "white", "label": f"of less than {THIN_BIN:.0%} of the images"},
        ),
        (
            info.is_sparse,
            {"facecolor": "none", "edgecolor": TEAL, "ls": ":", "label": f"of fewer than {MIN_PER_BIN} images"},
        ),
    ):
        if here.any():
            upper.bar(left[here], pooled.accuracy[here], width[here], align="edge", **style)
    sure = pooled.confidence[filled]
    upper.hlines(sure, left[filled], pooled.edges[1:][filled], color=INK, lw=2.0, label="mean confidence", zorder=3)
    upper.plot([0, 1], [0, 1], "--", color="#666b75", lw=1, label="perfectly calibrated")
    upper.set(xlim=(0, 1), ylim=(0, 1.02), ylabel="accuracy")
    upper.legend(loc="upper left", fontsize=8.5, framealpha=0.9, edgecolor="none")
    ece = info.ece
    text = f"ECE {ece.mean:.2%}" + ("" if ece.std is None else f" ± {ece.std:.2%} over {len(ece.values)} seeds")
    upper.text(0.98, 0.03, text, transform=upper.transAxes, ha="right", fontsize=9, color=INK,
               bbox={"boxstyle": "round,pad=0.3", "fc": "white", "ec": "none", "alpha": 0.9})  # fmt: skip
    percent_axis(upper.yaxis)
    styled(lower)
    lower.bar(left, pooled.count / max(1, pooled.count.sum()), width, align="edge", color=SLATE, edgecolor="white")
    lower.set(xlabel="confidence", ylabel="share of\npredictions")
    percent_axis(lower.yaxis, n_ticks=3)
    percent_axis(lower.xaxis)
    return figure


def images_figure(images: Sequence[PredictedImage], n_columns: int) -> Figure:
    """Draw images with their class, the prediction and its confidence; green if correct."""
    n_columns = min(n_columns, len(images))
    n_rows = math.ceil(len(images) / n_columns)
    is_all_right = all(p.true == p.predicted for p in images)
    text_height = 0.2 if is_all_right else 0.34
    size = WIDTH / n_columns
    figure = new_figure(WIDTH, 0.95 * size * (1 + text_height) * n_rows, ground="none")
    axes = figure.add_subplot()  # one for all, since each takes as long as a whole plot
    for i, image in enumerate(images):
        x, y = i % n_columns, (1 + text_height) * (i // n_columns)
        axes.imshow(image.image_HW, cmap="gray", vmin=0, vmax=255, extent=(x + 0.03, x + 0.97, y + 0.97, y + 0.03))
        is_right = image.true == image.predicted
        said = f"{image.predicted} {_sure(image.confidence)}"
        text = said if is_right else f"{said}\ntrue: {image.true}"
        axes.text(x + 0.5, y + 1.0, text, ha="center", va="top", fontsize=8, color=GREEN if is_right else RED)
    axes.set_xlim(0, n_columns)
    axes.set_ylim((1 + text_height) * n_rows, 0)
    axes.set_axis_off()
    return figure


def classes_figure(info: ClassesInfo) -> Figure:
    """Draw the number of training images of each class, and how many of them are used."""
    figure = new_figure(WIDTH, 3.4)
    axes = styled(figure.add_subplot(), grid="x")
    bars = axes.barh(info.names, info.counts, color="#d5d9df" if info.kept != info.counts else SLATE, height=0.65)
    labels = [f"{n:,}" for n in info.counts]
    if info.kept != info.counts:
        axes.barh(info.names, info.kept, color=SLATE, height=0.65)
        labels = [f"{kept:,} of {n:,}" for kept, n in zip(info.kept, info.counts, strict=True)]
        axes.legend(
            handles=[Patch(color=SLATE, label="used (data.keep)"), Patch(color="#d5d9df", label="left out")],
            loc="lower left", bbox_to_anchor=(0, 1.0), ncols=2, fontsize=9, frameon=False,
        )  # fmt: skip
    axes.bar_label(bars, labels, padding=4, fontsize=8.5, color=INK)
    axes.invert_yaxis()
    axes.set_xlim(0, max(info.counts) * (1.2 if info.kept == info.counts else 1.4))
    axes.set_xlabel("training images")
    return figure


def robustness_figure(info: RobustnessInfo) -> Figure:
    """Draw accuracy over strength, one line for each corruption."""
    figure = new_figure(WIDTH, 4.2)
    axes = styled(figure.add_subplot())
    order = sorted(info.accuracies, key=lambda name: -info.accuracies[name][-1])
    for i, name in enumerate(order):
        values = (info.clean, *info.accuracies[name])
        axes.plot(
            range(len(values)), values, color=LINES[i % len(LINES)], marker=MARKERS[i % len(MARKERS)], ms=5, lw=1.6,
            label=name,
        )  # fmt: skip
    axes.axhline(info.clean, color=SLATE, lw=0.9, ls=":", zorder=1)
    axes.axhline(1 / info.n_classes, color=SLATE, lw=0.9, ls=":", zorder=1)
    axes.text(0, 1 / info.n_classes + 0.01, "guessing", fontsize=8, color="#666b75")
    axes.set(xlabel="strength (0: unchanged)", ylabel="test accuracy")
    axes.set_ylim(0, 1)
    axes.set_xticks(range(1 + max(map(len, info.accuracies.values()))))
    percent_axis(axes.yaxis)
    figure.legend(loc="outside upper center", ncols=3, fontsize=8.5, frameon=False)
    return figure


def _sure(confidence: float) -> str:
    return "> 99.9%" if confidence > 0.999 else f"{confidence:.1%}" if confidence >= 0.995 else f"{confidence:.0%}"
