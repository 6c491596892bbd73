"""The figure of a learning-rate range test."""

from __future__ import annotations

from matplotlib.figure import Figure

from fmnist_tune.report.drawing import BLUE, GREEN, GREY, ORANGE, log_axis, new_figure, styled
from fmnist_tune.training.lr_range import LrRange


def lr_range_figure(found: LrRange, mode: str, title: str) -> Figure:
    """Draw raw and smoothed loss over the rate, and the rates that stand out.

    Args:
        found: what the sweep showed.
        mode: exponential for a logarithmic axis of rates, linear for a plain one.
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
    axes.set_ylim(low - margin, high + 2 * margin)  # a loss that diverges would flatten all the rest
    axes.set_xlabel("learning rate")
    axes.set_ylabel("training loss")
    axes.set_title(title, loc="left", fontsize=11)
    axes.legend(frameon=False, fontsize=9)
    return figure
