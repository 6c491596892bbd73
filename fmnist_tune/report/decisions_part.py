"""The report's sections on freeze-thaw's decisions: why trials were begun and continued, and what was predicted."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.figure import Figure

from fmnist_tune.document.blocks import Section, Table, capital
from fmnist_tune.report import study_info
from fmnist_tune.report.drawing import INK, SLATE, WIDTH, new_figure, percent_axis, plot_of, styled
from fmnist_tune.study.decisions import PredictedEnds
from fmnist_tune.study.summary import Summary
from fmnist_tune.study.trial_table import TrialRow
from fmnist_tune.tasks.objective import Objective

DECISION_FILES = ("decisions.csv", "predicted_ends.png")  # that the report of a study with decisions may have
N_EXPLAINED = 5  # trials, the best ones


def decisions_sections(rows: Sequence[TrialRow], objective: Objective) -> list[Section]:
    """Return a table of why the best trials were begun and continued; nothing if that is not known."""
    best = study_info.best_rows(rows, N_EXPLAINED)
    cells = [
        (
            str(row.number),
            f"{round(decision.epoch, 2):g}",
            decision.rule_text,
            decision.gain_text(objective) or "-",
            "-" if decision.end is None else decision.end.text(objective),
        )
        for row in best
        for decision in row.decisions
    ]
    if not cells:
        return []
    text = (
        f"Decisions about the best {len(best)} trials: from epoch 0 a trial was begun, from others it was continued. "
        "All decisions are in `decisions.csv`. Expected gain: the mean by which the best "
        f"{objective.curve_name} until then would be exceeded"
    )
    header = ("trial", "from epoch", "by", "expected gain", "predicted end (90 % interval)")
    return [Section("Why these trials", (text, Table(header, cells, left=header[2:])))]


def ends_sections(summary: Summary) -> list[Section]:
    """Return the plot of predicted against realised ends; nothing for too few of them."""
    ends, objective = summary.predicted_ends, summary.objective
    if ends is None:
        return []
    text = (
        f"{capital(ends.text)}. A trial is trained to its end because it turns out well, so that ends tend to lie "
        "above what was predicted at first. On the dashed line both are the same"
    )
    alt = f"predicted against realised {objective.curve_name} of trials trained to their ends"
    plot = plot_of("predicted_ends.png", alt, predicted_ends_figure, ends, objective)
    return [Section("Predicted and realised ends", (text, plot))]


def predicted_ends_figure(info: PredictedEnds, objective: Objective) -> Figure:
    """Draw realised over predicted ends: with pale intervals at the first decision of the model, dark at the last."""
    figure = new_figure(WIDTH, 4.2)
    axes = styled(figure.add_subplot(), grid="both")
    realised = [trial.realised for trial in info.trials]
    middles = [end.median for trial in info.trials for end in (trial.first, trial.latest)]
    for label, colour, zorder, predicted in (
        ("at the first decision", "#b3bcc9", 2, [trial.first for trial in info.trials]),
        ("at the last decision", SLATE, 3, [trial.latest for trial in info.trials]),
    ):
        medians = [end.median for end in predicted]
        sides = [[end.median - end.low for end in predicted], [end.high - end.median for end in predicted]]
        style = {"fmt": "o", "ms": 5, "mew": 0, "color": colour, "elinewidth": 1.4, "zorder": zorder, "label": label}
        axes.errorbar(medians, realised, xerr=sides, **style)
    low, high = min(realised), max(realised)
    margin = 0.15 * (high - low) or 0.01
    axes.plot([low - margin, high + margin], [low - margin, high + margin], ls="--", color=INK, lw=0.9, zorder=1)
    axes.set_ylim(low - margin, high + margin)
    low, high = min(low, *middles), max(high, *middles)
    room = 0.5 * (high - low) or 0.01
    is_share = objective.is_share or not objective.is_on_curve
    ends = (max(low - room, -0.01), min(high + room, 1.01)) if is_share else (low - room, high + room)
    axes.set_xlim(ends)  # wider intervals are cut
    axes.set(xlabel=f"predicted {objective.curve_name}, with 90% interval", ylabel="realised")
    if is_share:
        percent_axis(axes.xaxis)
        percent_axis(axes.yaxis)
    figure.legend(loc="outside upper center", ncols=2, frameon=False, fontsize=9)
    return figure
