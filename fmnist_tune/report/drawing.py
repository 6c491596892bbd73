"""The style of the report's figures; Matplotlib without pyplot, so no global state is changed."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from typing import Any, ParamSpec

import matplotlib
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogFormatter, MaxNLocator

from fmnist_tune.document.blocks import Plot

P = ParamSpec("P")
DPI = 180  # with PNG_SCALE, an inch is 130 pixels of a wide page
WIDTH = 5.0  # inches: at a phone's width, text of 9 points is still 8 pixels high
STEPS = (1, 2, 5, 10)
BLUE, ORANGE, GREEN, RED, GREY, INK = "#2a6fb0", "#e08a1e", "#2f8f5b", "#c8362f", "#969ca6", "#2b2f36"
PURPLE, OLIVE, TEAL, PALE_TEAL, SLATE = "#8456b0", "#7d7a1c", "#1b7f79", "#93cbc6", "#5d6b7e"
# Each colour has one meaning in a report: a trial state; orange for the best trial; green and red also for right and
# wrong; teal for the retrained model; slate and ink for anything else.
STATE_COLOURS = {"complete": BLUE, "pruned": GREY, "failed": RED, "running": OLIVE, "waiting": PURPLE}
STATE_MARKERS = {"complete": "o", "pruned": "o", "failed": "X", "running": "s", "waiting": "s"}
# Least important first, so that the important ones are on top.
STATES = ("pruned", "waiting", "running", "failed", "complete")


def new_figure(width: float, height: float, *, ground: str = "white") -> Figure:
    """Return an empty figure of this size in inches."""
    figure = Figure(figsize=(width, height), dpi=DPI, layout="constrained", facecolor=ground)
    FigureCanvasAgg(figure)
    return figure


def styled(axes: Any, *, grid: str = "y") -> Any:
    """Reduce the frame of axes to two thin lines and a pale grid along `grid` (x, y, both or none)."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color("#c6cad1")
    axes.tick_params(colors=INK, labelsize=9, length=3, color="#c6cad1")
    axes.set_axisbelow(True)
    if grid != "none":
        axes.grid(axis=grid, color="#e8eaee", linewidth=0.8)
    return axes


def percent_axis(axis: Any, *, n_ticks: int = 6) -> None:
    """Show fractions on an axis as percentages."""
    axis.set_major_locator(MaxNLocator(n_ticks, steps=STEPS))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:.4g}%"))


def whole_axis(axis: Any, *, n_ticks: int = 8) -> None:
    """Show only whole numbers on an axis."""
    axis.set_major_locator(MaxNLocator(n_ticks, steps=STEPS, integer=True))


def limit_values(axes: Any, floor: float, values: Sequence[float], *, is_share: bool) -> None:
    """Let the y axis run from `floor` to just above the highest value; shares are shown in percent."""
    top = max(values, default=1.0)
    margin = max(0.08 * (top - floor), 0.002 * (1.0 if is_share else abs(top) or 1.0))
    axes.set_ylim(floor - margin, min(top + margin, 1.0 + 0.3 * margin) if is_share else top + margin)
    if is_share:
        percent_axis(axes.yaxis)


def short(path: str) -> str:
    """Return a parameter's path without its section."""
    return path.removeprefix("training.").removeprefix("model.").removeprefix("data.")


def log_axis(axis: Any) -> None:
    """Make an axis logarithmic, with plain numbers as labels."""
    axis.axes.set(**{f"{axis.axis_name}scale": "log"})
    axis.set_major_formatter(LogFormatter())
    axis.set_minor_formatter(LogFormatter())


def png(draw: Callable[P, Figure], *arguments: P.args, **named: P.kwargs) -> bytes:
    """Return a function's figure as a PNG file, with Matplotlib's defaults whatever the user's settings.

    A dollar sign in a text is literal and does not start a formula.
    """
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams["text.parse_math"] = False
        buffer = io.BytesIO()
        draw(*arguments, **named).savefig(buffer, format="png")
    return buffer.getvalue()


def plot_of(file: str, alt: str, draw: Callable[P, Figure], *arguments: P.args, **named: P.kwargs) -> Plot:
    """Return a figure as a plot; if drawing fails, the report keeps its numbers."""
    try:
        return Plot(file, alt, png(draw, *arguments, **named))
    except Exception as error:
        return Plot(file, alt, error=f"{type(error).__name__}: {error}")
