"""Figures of commands other than `report`: studies side by side, and a learning-rate range test."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from matplotlib import colormaps
from matplotlib.figure import Figure

from fmnist_tune.report.drawing import (
    BLUE,
    GREEN,
    GREY,
    INK,
    ORANGE,
    limit_values,
    log_axis,
    new_figure,
    styled,
    whole_axis,
)  # fmt: skip
from fmnist_tune.report.study_info import floor_of
from fmnist_tune.study.comparison import ComparedStudy

if TYPE_CHECKING:
    from fmnist_tune.training.lr_range import LrRange  # imports torch

COLOURS = colormaps["tab10"].colors  # type: ignore[attr-defined]  # a ListedColormap, missing in the stubs
DASHES = ("-", "--", ":", "-.")


def comparison_figure(studies: Sequence[ComparedStudy]) -> Figure:
    """Draw each study's best so far over epochs and over hours of training; studies without a value are left out.

    Args:
        studies: at least one has a value; all have the same objective.
    """
    figure = new_figure(9.6, 4.2)
    over_epochs, over_time = figure.subplots(1, 2, sharey=True)
    drawn = [study for study in studies if study.progress]
    unit, seconds = ("hours", 3600.0) if max(study.train_s for study in drawn) >= 3600 else ("minutes", 60.0)
    for i, study in enumerate(drawn):
        colour, dash = COLOURS[i % len(COLOURS)], DASHES[i // len(COLOURS) % len(DASHES)]
        values = [step.value for step in study.progress]
        line = {"where": "post", "color": colour, "linestyle": dash, "lw": 1.8}
        epochs = [*(step.epochs for step in study.progress), study.epochs]
        over_epochs.step(epochs, [*values, values[-1]], label=study.name, **line)
        times = [*(step.train_s / seconds for step in study.progress), study.train_s / seconds]
        over_time.step(times, [*values, values[-1]], **line)
        for axes, xs in ((over_epochs, epochs), (over_time, times)):  # makes a study of one trial visible
            axes.plot(xs[-1], values[-1], "o", color=colour, ms=4)
    for axes in (over_epochs, over_time):
        styled(axes)
    all_values = [step.value for study in drawn for step in study.progress]
    limit_values(over_epochs, floor_of(all_values), all_values, is_share=drawn[0].objective.is_share)
    whole_axis(over_epochs.xaxis)
    over_epochs.set(xlabel="epochs, of all trials", ylabel=f"highest {drawn[0].objective.label} so far")
    over_time.set(xlabel=f"{unit} of training and validation, of all trials")
    legend = figure.legend(loc="outside lower center", ncols=2 if len(drawn) > 1 else 1, frameon=False, fontsize=9)
    for text in legend.get_texts():
        text.set_color(INK)
    return figure


def lr_range_figure(found: LrRange, mode: str, title: str) -> Figure:
    """Draw raw and smoothed loss over the rate, and mark the notable rates.

    Args:
        found: the sweep's result.
        mode: exponential for a logarithmic axis of rates, linear for a linear one.
        title: above the plot.
    """
    figure = new_figure(7.5, 4.2)
    axes = styled(figure.add_subplot(), grid="both")
    axes.plot(found.rates, found.losses, color=GREY, linewidth=0.9, label="loss")
    axes.plot(found.rates, found.smoothed, color=BLUE, linewidth=2, label="smoothed")
    marks = [("lowest", found.lowest, ORANGE)]
    if found.steepest is not None:
        marks.insert(0, ("steepest descent: suggested", found.steepest, GREEN))
    for what, i, colour in marks:
        label = f"{what}, {found.rates[i]:.3g}"
        axes.axvline(found.rates[i], color=colour, linestyle="--", linewidth=1.2, label=label)
    if mode == "exponential":
        log_axis(axes.xaxis)
    low, high = min(found.smoothed), max(found.smoothed[: found.lowest + 1])
    margin = 0.15 * (high - low) or 0.1
    axes.set_ylim(low - margin, high + 2 * margin)  # a diverging loss would flatten the rest
    axes.set_xlabel("learning rate")
    axes.set_ylabel("training loss")
    axes.set_title(title, loc="left", fontsize=11)
    axes.legend(frameon=False, fontsize=9)
    return figure
