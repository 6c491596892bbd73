"""`compare`."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

from rich.text import Text

from fmnist_tune.cli import EXIT_OK
from fmnist_tune.cli.inputs import refuse_overwriting
from fmnist_tune.cli.store import load_record, plot_path, stdout, storage_url, study_paths
from fmnist_tune.document.terminal import View
from fmnist_tune.study.comparison import ComparedStudy, check_names, comparison_table, incomparable
from fmnist_tune.study.layout import make_folder
from fmnist_tune.study.url import without_secrets

PLOT = "compare.png"


def compare(arguments: argparse.Namespace, started: float) -> int:
    """Show studies side by side."""
    names = arguments.studies
    check_names(names)
    plot = plot_path(arguments.output, study_paths(arguments, names[0]).folder / PLOT)
    if arguments.output is not None:
        refuse_overwriting(plot, arguments)
    records = [load_record(arguments, name) for name in names]
    studies = [ComparedStudy.of(record, is_running=record.is_running) for record in records]
    reasons = incomparable(records)
    no_plot = "the studies cannot be compared" if reasons else ""
    if not any(study.progress for study in studies):
        no_plot = "no study has trained an epoch yet"
    no_plot = no_plot or _draw(studies, plot)
    if arguments.json:
        result = {
            "storage": without_secrets(storage_url(arguments)),
            "comparable": not reasons,
            "reasons": reasons,
            "studies": [study.to_json() for study in studies],
            "plot": None if no_plot else str(plot),
        }
        print(json.dumps(result))
        return EXIT_OK
    console = stdout()
    console.print(View(comparison_table(studies)), crop=False)
    for reason in reasons:
        console.print(Text(f"not comparable: {reason}", style="yellow"))
    console.print(Text(f"no plot: {no_plot}" if no_plot else f"plot: {plot}"), soft_wrap=True)
    return EXIT_OK


def _draw(studies: Sequence[ComparedStudy], path: Path) -> str:
    """Write the plot; return why it could not be drawn, or an empty string."""
    from fmnist_tune.report.command_figures import comparison_figure  # matplotlib takes a second
    from fmnist_tune.report.drawing import plot_of

    plot = plot_of(path.name, "", comparison_figure, studies)
    if plot.error:
        return f"it could not be drawn: {plot.error}"
    make_folder(path.parent)
    try:
        path.write_bytes(plot.png)
    except OSError as error:
        return f"{path}: cannot be written: {error.strerror}"
    return ""
