"""`find-lr`."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from rich.table import Table

from fmnist_tune.cli import EXIT_OK, EXIT_USER, say
from fmnist_tune.cli.inputs import load_recipe_or_trial, refuse_overwriting
from fmnist_tune.cli.store import check_writable, plot_path, stderr, stdout
from fmnist_tune.config import SearchSpace
from fmnist_tune.errors import UserError
from fmnist_tune.models.check import check_models
from fmnist_tune.search.screen import Work
from fmnist_tune.study.layout import StudyPaths, make_folder, write_atomically
from fmnist_tune.training.lr_range import LrRange, Sweep, read_lr_range, sweep_losses

N_ROWS = 20
PLOT = "lr_range.png"


def find_lr(arguments: argparse.Namespace, started: float) -> int:
    """Sweep the learning rate of a recipe, or of a study's trial."""
    sweep = _sweep(arguments)
    space = load_recipe_or_trial(arguments)
    study = space.settings.study
    plot = _plot_path(arguments, study)
    from fmnist_tune.report.command_figures import lr_range_figure  # Matplotlib creates a folder for its cache
    from fmnist_tune.report.drawing import plot_of

    losses = _train(space, sweep, arguments, plot, started)
    if len(losses) < 2:
        raise UserError(
            f"--from {sweep.low:g}: the loss is not a finite number from the start, or diverges at once; begin lower"
        )
    found = read_lr_range(sweep, losses)
    out = {
        "study": study,
        "mode": sweep.mode,
        "rates": found.rates,
        "losses": found.losses,
        "smoothed": found.smoothed,
        "suggested": None if found.steepest is None else found.rates[found.steepest],
        "lowest": found.rates[found.lowest],
        "diverged": found.diverged,
        "notes": _notes(found),
    }
    if not arguments.json:
        _print(found)
    numbers = _write(plot.with_suffix(".json"), json.dumps(out).encode())  # before drawing, which may fail
    drawn = plot_of(plot.name, "", lr_range_figure, found, sweep.mode, f"Learning-rate range test of {study}")
    if drawn.error:
        say(f"warning: {plot}: could not be drawn: {drawn.error}")
        plot.unlink(missing_ok=True)  # from an earlier sweep
    written = None if drawn.error else _write(plot, drawn.png)
    if arguments.json:
        print(json.dumps(out | {"plot": written, "numbers": numbers}))
    else:
        for what, name in (("plot", written), ("numbers", numbers)):
            if name is not None:
                stdout().print(f"{what}: {name}", soft_wrap=True)
    return EXIT_OK if numbers and (written or drawn.error) else EXIT_USER


def _write(path: Path, content: bytes) -> str | None:
    """Write a file; return its name, or None, with a message, if it cannot be written."""
    try:
        write_atomically(path, content)
    except OSError as error:
        say(f"{path}: cannot be written: {error.strerror}")
        return None
    return str(path)


def _print(found: LrRange) -> None:
    screen = stdout()
    screen.print(_table(found))
    step = _row_step(found)
    if step > 1:
        text = f"of {len(found.rates)} rates one in {step} is shown; --json has all"
        screen.print(text, style="dim", soft_wrap=True)
    for line in (*_suggestions(found), *_notes(found)):
        screen.print(line, soft_wrap=True)


def _sweep(arguments: argparse.Namespace) -> Sweep:
    try:
        return Sweep(arguments.low, arguments.high, arguments.steps, arguments.batches_per_step, arguments.mode)
    except ValueError as error:
        raise UserError(
            f"--from {arguments.low:g} --to {arguments.high:g} --steps {arguments.steps}: {error}"
        ) from None


def _plot_path(arguments: argparse.Namespace, study: str) -> Path:
    """Return the plot's path; its numbers go beside it.

    Raises:
        UserError: they cannot be written there, or exist already, or the name is not a PNG file's.
    """
    path = plot_path(arguments.output, StudyPaths(arguments.studies_dir, study).folder / PLOT)
    numbers = path.with_suffix(".json")
    if arguments.output is not None:
        for file in (path, numbers):
            refuse_overwriting(file, arguments)
    check_writable(numbers)
    return path


def _train(space: SearchSpace, sweep: Sweep, arguments: argparse.Namespace, plot: Path, started: float) -> list[float]:
    check_models([space.config({})], space.source)
    with Work(stderr(arguments), started) as work:
        run = space.task.lr_range_run(space, arguments.data_dir, work.phase, arguments.seed)
        make_folder(plot.parent)
        losses = []
        for loss in sweep_losses(run, sweep):
            losses.append(loss)
            work.step(f"rate {len(losses)} of {sweep.steps}", len(losses) / sweep.steps)
        return losses


def _table(found: LrRange) -> Table:
    table = Table("learning rate", "loss", "smoothed")
    for i in range(0, len(found.rates), _row_step(found)):
        table.add_row(f"{found.rates[i]:.3g}", f"{found.losses[i]:.4f}", f"{found.smoothed[i]:.4f}")
    return table


def _row_step(found: LrRange) -> int:
    """Return n, where the table shows every n-th rate."""
    return max(1, len(found.rates) // N_ROWS)


def _suggestions(found: LrRange) -> list[str]:
    lowest = found.rates[found.lowest]
    cautious = (
        f"the smoothed loss is lowest at {lowest:.3g}; a tenth of that, {lowest / 10:.3g}, is the cautious choice"
    )
    if found.steepest is None:
        return [f"suggested: none, since the smoothed loss never falls; {cautious}"]
    rate = found.rates[found.steepest]
    return [
        f"suggested: training.optimizer.lr: {rate:.3g}, where the smoothed loss falls most steeply over log lr",
        cautious,
    ]


def _notes(found: LrRange) -> list[str]:
    notes = []
    if found.diverged:
        notes.append(f"the loss diverged after {found.rates[-1]:.3g}, and the sweep ended there")
    elif found.lowest == len(found.rates) - 1:
        notes.append("the loss was still falling at the last rate: a higher --to would show where that ends")
    if found.steepest == 0:
        notes.append("the loss fell most at the first rate: a lower --from would show where that begins")
    return notes
