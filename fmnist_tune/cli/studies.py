"""`studies`, `show` and `export`."""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import TrialState
from rich.table import Table

from fmnist_tune.cli import EXIT_OK, say
from fmnist_tune.cli.store import load_record, stdout, storage_url
from fmnist_tune.errors import UserError
from fmnist_tune.study.database import open_database
from fmnist_tune.study.layout import StudyPaths, write_atomically
from fmnist_tune.study.record import StudyRecord
from fmnist_tune.study.render import retraining_cell, study_json, summary_view, trials_json, trials_table
from fmnist_tune.study.retraining import retraining_status
from fmnist_tune.study.sampling import values_of
from fmnist_tune.study.summary import summarize
from fmnist_tune.study.url import without_secrets


def studies(arguments: argparse.Namespace, started: float) -> int:
    """List the studies."""

    storage = open_database(storage_url(arguments), create=False)
    rows = []
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    for column in ("study", "trials", "complete", "pruned", "failed", "running", "waiting", "best", "trial"):
        table.add_column(column, justify="left" if column == "study" else "right")
    table.add_column("retrained")
    skipped = []
    for name in sorted(optuna.get_all_study_names(storage)):
        try:
            paths = StudyPaths(arguments.studies_dir, name, arguments.storage)
            record = StudyRecord.load(storage, paths)
        except UserError as error:
            skipped.append(str(error))
            continue
        driven = record.is_driven
        facts = study_json(record, is_driven=driven)
        rows.append({"study": name, "target": record.n_target, "recipe": record.is_recipe, "active": driven, **facts})
        cells = ["recipe", *[""] * 7] if record.is_recipe else _counts(record, facts)
        table.add_row(name, *cells, retraining_cell(record, retraining_status(record, is_driven=driven)))
    if arguments.json:
        print(json.dumps({"storage": without_secrets(storage_url(arguments)), "studies": rows}))
        return EXIT_OK
    stdout().print(table)
    for text in skipped:
        say(f"left out: {text}")
    return EXIT_OK


def _counts(record: StudyRecord, facts: dict[str, Any]) -> list[str]:
    trials, best = facts["trials"], facts["best"]
    counts = [str(trials[state]) for state in ("complete", "pruned", "failed", "running", "waiting")]
    value = [record.objective.text(best["value"]), str(best["number"])] if best else ["-", "-"]
    return [f"{trials['total']}/{record.n_target}", *counts, *value]


def show(arguments: argparse.Namespace, started: float) -> int:
    """Show a study."""
    record = load_record(arguments)
    driven = record.is_driven
    if arguments.json:
        result = {
            "study": record.paths.name,
            "storage": without_secrets(storage_url(arguments)),
            "wall_s": round(time.monotonic() - started, 3),
            "workers": None,
            "epochs": 0,
            "train_s": 0.0,
            "active": driven,
            "disk_bytes": record.paths.disk_bytes(),
            **study_json(record, is_driven=driven),
            "all": trials_json(record, is_driven=driven),
        }
        print(json.dumps(result))
        return EXIT_OK
    console = stdout()
    if not record.is_recipe:
        console.print(trials_table(record, is_driven=driven))
    is_waiting = not (record.is_recipe or record.is_finished or driven)
    goes_on = [record.paths.command("resume")] if is_waiting else []
    summary = summarize(record, is_driven=driven)
    console.print(summary_view(summary, goes_on, retraining_status(record, is_driven=driven)))
    console.print(
        f"files: {record.paths.disk_bytes() / 1e6:.1f} MB in {record.paths.folder}",
        style="dim",
    )
    return EXIT_OK


def export(arguments: argparse.Namespace, started: float) -> int:
    """Print a trial as a recipe."""
    record = load_record(arguments)
    if arguments.trial is None:
        trial = record.best
        if trial is None:
            raise UserError(
                f"study {record.paths.name!r}: no trial has been trained to its end yet; --trial N exports any other"
            )
    else:
        trials = record.trials
        if arguments.trial >= len(trials):
            raise UserError(
                f"--trial {arguments.trial}: study {record.paths.name!r} has trials 0 to {len(trials) - 1}"
                if trials
                else f"study {record.paths.name!r} has no trials yet"
            )
        trial = trials[arguments.trial]
    if trial.state == TrialState.FAIL:
        reason = trial.user_attrs.get("reason", "unknown")
        say(f"warning: trial {trial.number} failed: {reason}")
    recipe = record.recipe_of(trial)
    if arguments.json:
        recipe = json.dumps(record.space.recipe(values_of(trial.params, record.space))) + "\n"
    if arguments.output is None:
        print(recipe, end="")
        return EXIT_OK
    output: Path = arguments.output
    if output.is_dir():
        raise UserError(f"--output {output}: a directory; name a file, such as {output / 'recipe.yaml'}")
    try:
        write_atomically(output, recipe)
    except OSError as error:
        raise UserError(f"--output {output}: cannot be written: {error.strerror}") from None
    return EXIT_OK
