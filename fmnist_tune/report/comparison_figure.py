"""The best so far of several studies."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib import colormaps
from matplotlib.figure import Figure

from fmnist_tune.report.drawing import INK, limit_accuracy, new_figure, styled, whole_axis
from fmnist_tune.report.study_info import floor_of
from fmnist_tune.study.comparison import ComparedStudy

COLOURS = colormaps["tab10"].colors  # type: ignore[attr-defined]  # a ListedColormap, which the stubs do not know
DASHES = ("-", "--", ":", "-.")


def comparison_figure(studies: Sequence[ComparedStudy]) -> Figure:
    """Draw each study's best so far over epochs and over hours of training; those without a value are left out.

    Args:
        studies: at least one has made progress; all have the same objective.
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
        for axes, xs in ((over_epochs, epochs), (over_time, times)):  # a study of one trial would not be seen otherwise
            axes.plot(xs[-1], values[-1], "o", color=colour, ms=4)
    for axes in (over_epochs, over_time):
        styled(axes)
    all_values = [step.value for study in drawn for step in study.progress]
    limit_accuracy(over_epochs, floor_of(all_values), all_values)
    whole_axis(over_epochs.xaxis)
    over_epochs.set(xlabel="epochs, of all trials", ylabel=f"highest {drawn[0].objective.label} so far")
    over_time.set(xlabel=f"{unit} of training and validation, of all trials")
    legend = figure.legend(loc="outside lower center", ncols=2 if len(drawn) > 1 else 1, frameon=False, fontsize=9)
    for text in legend.get_texts():
        text.set_color(INK)
    return figure
