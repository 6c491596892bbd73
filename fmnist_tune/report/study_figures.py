"""The report's figures of a search."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.collections import LineCollection
from matplotlib.colors import ListedColormap, Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, NullFormatter

from fmnist_tune.config.domain import ChoiceDomain, IntDomain
from fmnist_tune.document.blocks import clipped
from fmnist_tune.report.drawing import (
    INK,
    ORANGE,
    RED,
    SLATE,
    STATE_COLOURS,
    STATE_MARKERS,
    STATES,
    WIDTH,
    limit_values,
    new_figure,
    short,
    styled,
    whole_axis,
)
from fmnist_tune.report.study_info import CurvesInfo, HistoryInfo, ParallelInfo, Point, Slice, floor_of
from fmnist_tune.study.importances import Importances, MainEffects
from fmnist_tune.study.summary import on_screen
from fmnist_tune.tasks.objective import Objective

ACCURACY = Objective()
UNUSED_AT = -0.16
MAX_LABELS, LABEL_LENGTH = 8, 14  # of choices below an axis; with more, only some are labelled
CHARACTERS = 22, 48  # room for labels in a row: at half width, at full width
LEGEND_COLUMNS = 4
# Short curves on top, where long ones do not hide them.
CURVE_ORDER = ("complete", "pruned", "waiting", "running", "failed")
FEW_STEPS = 12
MAX_SHOWN = 12  # parameters, the most important ones
PAPER = {"boxstyle": "round,pad=0.12", "fc": "white", "ec": "none", "alpha": 0.75}
SCALE = ListedColormap(colormaps["viridis_r"](np.linspace(0.3, 1, 256)))  # green to violet: its yellow is too pale
SHADES = (SLATE, "#b3bcc9")  # of two measures side by side
GOLDEN = 0.6180339887498949  # spreads points of one choice evenly and deterministically


def history_figure(info: HistoryInfo, objective: Objective = ACCURACY) -> Figure:
    """Draw the objective over trial number, with the best so far."""
    figure = new_figure(WIDTH, 3.4)
    axes = styled(figure.add_subplot())
    floor = floor_of([p.value for p in info.points])
    _scatter(axes, info.points, floor)
    if info.failed:  # at the bottom, since they have no accuracy
        at_bottom = axes.get_xaxis_transform()
        axes.plot(info.failed, [0.03] * len(info.failed), "X", color=RED, ms=5, mew=0, transform=at_bottom, zorder=4)
    handles = _state_handles([*info.points, *(Point(n, 0.0, "failed", n) for n in info.failed)])
    if info.best_so_far:
        numbers, best = zip(*info.best_so_far, strict=True)
        last = max(*(p.number for p in info.points), *info.failed, numbers[-1])
        axes.step([*numbers, last], [*best, best[-1]], where="post", color=INK, lw=1.4, zorder=3)
        handles.append(Line2D([], [], color=INK, lw=1.4, label="best so far"))
    if any(p.value < floor for p in info.points):
        handles.append(_handle("v", SLATE, 5, "below the axis"))
    limit_values(axes, floor, [p.value for p in info.points], is_share=objective.is_share)
    whole_axis(axes.xaxis)
    axes.set(xlabel="trial", ylabel=objective.label)
    _legend(figure, handles)
    return figure


def importances_figure(first: Importances | MainEffects, *others: Importances | MainEffects) -> Figure:
    """Draw each parameter's shares, the largest of the first on top."""
    infos = (first, *others)
    paths = list(first.shares)[:MAX_SHOWN]
    figure = new_figure(WIDTH, 0.9 + (0.3 if len(infos) == 1 else 0.42) * len(paths))
    axes = styled(figure.add_subplot(), grid="x")
    height = 0.62 if len(infos) == 1 else 0.4
    for i, info in enumerate(infos):
        shares = [info.shares.get(path, 0.0) for path in paths]
        places = [y + height * (i - (len(infos) - 1) / 2) for y in range(len(paths))]
        bars = axes.barh(places, shares, color=SHADES[i], height=0.95 * height, label=info.name)
        axes.bar_label(bars, [f"{share:.0%}" for share in shares], padding=4, fontsize=9, color=INK)
    axes.set_yticks(range(len(paths)), [clipped(short(path), CHARACTERS[0]) for path in paths])
    axes.invert_yaxis()
    axes.set_xlim(0, min(1.0, max(share for info in infos for share in info.shares.values())) * 1.15)
    if len(infos) > 1:
        figure.legend(loc="outside upper center", ncols=len(infos), fontsize=9, frameon=False)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:.0f}%"))
    return figure


def slices_figure(slices: Sequence[Slice], objective: Objective = ACCURACY) -> Figure:
    """Draw one small plot for each parameter."""
    values = [point.value for piece in slices for point in piece.points]
    n_columns = min(2, len(slices))
    n_rows = math.ceil(len(slices) / n_columns)
    figure = new_figure(WIDTH, 2.0 * n_rows + 0.4)
    grid = list(figure.subplots(n_rows, n_columns, squeeze=False, sharey=True).flat)
    for axes, piece in zip(grid, slices, strict=False):
        _slice(styled(axes), piece, floor_of(values))
    for axes in grid[len(slices) :]:
        axes.set_visible(False)
    limit_values(grid[0], floor_of(values), values, is_share=objective.is_share)
    figure.supylabel(objective.label, fontsize=9, color=INK)
    handles = _state_handles([p for s in slices for p in s.points])
    _legend(figure, [*handles, _handle("*", ORANGE, 10, "best trial")])
    return figure


def curves_figure(info: CurvesInfo, objective: Objective = ACCURACY) -> Figure:
    """Draw the figure of every trial's curve over epochs."""
    figure = new_figure(WIDTH, 3.6)
    axes = styled(figure.add_subplot())
    n = len(info.curves)
    alpha = 0.8 if n <= 40 else 0.45 if n <= 200 else 0.25
    for order, state in enumerate(CURVE_ORDER):
        lines = [list(zip(c.epochs, c.values, strict=True)) for c in info.curves if c.state == state]
        if not lines:
            continue
        axes.add_collection(
            LineCollection(lines, colors=STATE_COLOURS[state], linewidths=1.0, alpha=alpha, zorder=2 + order)
        )
        # The last epoch as a dot, which makes a trial of one epoch visible.
        ends = [line[-1] for line in lines]
        axes.scatter(
            *zip(*ends, strict=True), s=9, color=STATE_COLOURS[state], alpha=min(1.0, 2 * alpha), zorder=3 + order
        )
    best = next((c for c in info.curves if c.number == info.best), None)
    if best is not None:
        axes.plot(best.epochs, best.values, color=ORANGE, lw=2.4, marker="o", ms=4, zorder=20)
    last = max(c.epochs[-1] for c in info.curves)
    first = min(1.0, *(c.epochs[0] for c in info.curves))
    axes.set_xlim(first - 0.2, max(last, 2) + 0.2)
    values = [v for c in info.curves for v in c.values]
    limit_values(axes, floor_of(values), values, is_share=objective.is_share or not objective.is_on_curve)
    whole_axis(axes.xaxis, n_ticks=10)
    axes.set(xlabel="epoch", ylabel=objective.curve_name)
    present = [s for s in STATES[::-1] if any(c.state == s for c in info.curves)]
    handles = [Line2D([], [], color=STATE_COLOURS[s], label=on_screen(s)) for s in present]
    if best is not None:
        handles.insert(0, Line2D([], [], color=ORANGE, lw=2.4, marker="o", ms=4, label=f"best (trial {best.number})"))
    axes.legend(handles=handles, loc="lower right", fontsize=9, framealpha=0.9, edgecolor="none")
    return figure


def parallel_figure(info: ParallelInfo, objective: Objective = ACCURACY) -> Figure:
    """Draw every trial as a line through its parameters to its value, coloured by value."""
    n = len(info.axes)
    figure = new_figure(WIDTH, 0.62 * (n + 1) + 0.2)
    axes = figure.add_subplot()
    top = info.lines[-1].value
    floor = floor_of([line.value for line in info.lines])
    norm = Normalize(floor, top if top > floor else floor + 0.01, clip=True)
    values = (objective.label, _ends(norm, is_share=objective.is_share), False)
    rows = [*((short(axis.path), axis.ticks, axis.can_be_unused) for axis in info.axes), values]
    for y, (name, ticks, can_be_unused) in enumerate(rows):
        axes.hlines(y, 0, 1, color="#8b919b", lw=0.9, zorder=1)
        axes.text(0, y - 0.2, clipped(name, CHARACTERS[1]), fontsize=8.5, color=INK, va="center", zorder=6, bbox=PAPER)
        longest = min(LABEL_LENGTH, max(len(text) for _, text in ticks))
        for at, text in [
            *_few(ticks, CHARACTERS[1] // (longest + 1)),
            *([(UNUSED_AT, "unused")] if can_be_unused else []),
        ]:
            side = "left" if at <= 0 else "right" if at == 1 else "center"
            axes.text(at, y + 0.22, text, fontsize=7.5, color=SLATE, ha=side, va="center", zorder=6, bbox=PAPER)
    lines = {
        line.number: [
            *((UNUSED_AT if at is None else at, y) for y, at in enumerate(line.positions)),
            (float(norm(line.value)), n),
        ]
        for line in info.lines
    }
    colours = [SCALE(norm(line.value)) for line in info.lines]
    alpha = 0.8 if len(lines) <= 60 else 0.4
    axes.add_collection(LineCollection(list(lines.values()), colors=colours, linewidths=1.1, alpha=alpha))
    if info.best in lines:
        axes.plot(*zip(*lines[info.best], strict=True), color=ORANGE, lw=2.4, marker="o", ms=4, zorder=5)
    axes.set_axis_off()
    axes.set_xlim((UNUSED_AT if any(a.can_be_unused for a in info.axes) else 0) - 0.03, 1.03)
    axes.set_ylim(n + 0.4, -0.45)
    return figure


def _ends(norm: Normalize, *, is_share: bool) -> list[tuple[float, str]]:
    ends = (float(norm.inverse(end)) for end in (0, 1))
    low, high = (f"{100 * end:.4g}%" if is_share else f"{end:.4g}" for end in ends)
    return [(0.0, f"{low} or less"), (1.0, high)]


def _scatter(axes: Any, points: Sequence[Point], floor: float) -> None:
    """Draw points by state; points below the axis as triangles on its edge."""
    size = 22 if len(points) <= 200 else 10
    for order, state in enumerate(STATES):
        here = [p for p in points if p.state == state]
        for marker, part in (
            (STATE_MARKERS[state], [p for p in here if p.value >= floor]),
            ("v", [p for p in here if p.value < floor]),
        ):
            if part:
                y = [max(p.value, floor) for p in part]
                style = {"s": size, "marker": marker, "color": STATE_COLOURS[state], "linewidths": 0, "alpha": 0.85}
                axes.scatter([p.x for p in part], y, zorder=2 + 0.1 * order, **style)


def _state_handles(points: Sequence[Point]) -> list[Line2D]:
    present = {p.state for p in points}
    return [_handle(STATE_MARKERS[s], STATE_COLOURS[s], 5.5, on_screen(s)) for s in reversed(STATES) if s in present]


def _handle(marker: str, colour: str, size: float, label: str) -> Line2D:
    return Line2D([], [], ls="", marker=marker, color=colour, ms=size, mew=0, label=label)


def _slice(axes: Any, piece: Slice, floor: float) -> None:
    points: Sequence[Point] = piece.points
    domain = piece.domain
    if isinstance(domain, ChoiceDomain):
        points = _spread_out(points, 0.5)
        labels = dict(_few([(i, str(v)) for i, v in enumerate(domain.values)], MAX_LABELS))
        crowded = sum(map(len, labels.values())) > CHARACTERS[0]
        axes.set_xticks(
            list(labels), list(labels.values()), rotation=30 if crowded else 0, ha="right" if crowded else "center"
        )
        axes.set_xlim(-0.5, len(domain.values) - 0.5)
    else:
        low, high = domain.low, domain.high
        room = 0.06 * (high - low) or 0.5
        limits = (low - room, high + room)
        if domain.log:
            axes.set_xscale("log")
            room = (high / low) ** 0.06 if high > low else 1.5
            limits = (low / room, high * room)
            axes.set_xticks(_log_ticks(low, high), [f"{v:g}" for v in _log_ticks(low, high)])
            axes.xaxis.set_minor_formatter(NullFormatter())
        elif isinstance(domain, IntDomain):
            if (high - low) / domain.step <= FEW_STEPS:
                points = _spread_out(points, 0.5 * domain.step)
                low, high = low - 0.4 * domain.step, high + 0.4 * domain.step
                limits = (low - 0.1 * domain.step, high + 0.1 * domain.step)
            whole_axis(axes.xaxis, n_ticks=5)
        else:
            axes.locator_params(axis="x", nbins=5)
        axes.set_xlim(limits)
        for end, side in ((low, "lower"), (high, "upper")):
            at_edge = side == piece.edge
            axes.axvline(end, color=ORANGE if at_edge else SLATE, lw=2.2 if at_edge else 0.9, ls=":")
    _scatter(axes, points, floor)
    if piece.best is not None:
        x = next(p.x for p in points if p.number == piece.best.number)
        axes.scatter([x], [piece.best.value], marker="*", s=130, color=ORANGE, edgecolors="white", lw=0.7, zorder=5)
    name = clipped(short(piece.path), CHARACTERS[0])
    at_end = "" if piece.edge is None else f"\nbest at the {piece.edge} end"
    axes.set_title(f"{name}{at_end}", fontsize=8.5, color=INK, weight="bold" if at_end else "normal")


def _few(ticks: Sequence[tuple[float, str]], n: int) -> list[tuple[float, str]]:
    """Return `n` evenly chosen ticks, including the first and the last, with labels cut to a width."""
    n = max(2, min(n, len(ticks)))
    chosen = sorted({round(i * (len(ticks) - 1) / (n - 1)) for i in range(n)})
    return [(ticks[i][0], clipped(ticks[i][1], LABEL_LENGTH)) for i in chosen]


def _spread_out(points: Sequence[Point], width: float) -> list[Point]:
    """Move points of the same x apart, each trial always to the same side."""
    return [Point(p.x + width * (p.number * GOLDEN % 1 - 0.5), p.value, p.state, p.number) for p in points]


def _log_ticks(low: float, high: float) -> list[float]:
    """Return both ends of a range and the powers of ten that are well inside it."""
    decades = [10.0**n for n in range(math.ceil(math.log10(low)), math.floor(math.log10(high)) + 1)]
    room = (high / low) ** 0.2
    return sorted({low, high, *(d for d in decades if low * room <= d <= high / room)})


def _legend(figure: Figure, handles: Sequence[Line2D]) -> None:
    figure.legend(
        handles=handles,
        loc="outside upper center",
        ncols=min(len(handles), LEGEND_COLUMNS),
        frameon=False,
        fontsize=9,
        handletextpad=0.4,
        columnspacing=1.2,
    )
