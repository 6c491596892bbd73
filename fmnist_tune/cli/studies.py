"""`studies`, `show` and `export`."""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

from optuna.trial import TrialState
from rich.text import Text

from fmnist_tune.cli import EXIT_OK, say
from fmnist_tune.cli.inputs import choose_trial, refuse_overwriting
from fmnist_tune.cli.store import load_record, stdout, storage_url
from fmnist_tune.document.terminal import View
from fmnist_tune.errors import UserError
from fmnist_tune.study.comparison import studies_table, study_row
from fmnist_tune.study.database import open_database, study_names
from fmnist_tune.study.findings import next_commands, study_section, trial_section
from fmnist_tune.study.folder import missing_files
from fmnist_tune.study.layout import StudyPaths, write_atomically
from fmnist_tune.study.recipes import recipe_of
from fmnist_tune.study.record import StudyRecord
from fmnist_tune.study.retraining import retraining_status
from fmnist_tune.study.sampling import values_of
from fmnist_tune.study.summary import model_json, study_json, summarize, trials_json
from fmnist_tune.study.trial_data import metadata_of
from fmnist_tune.study.trial_table import TrialTable, trial_rows
from fmnist_tune.study.url import without_secrets


def studies(arguments: argparse.Namespace, started: float) -> int:
    """List the studies."""
    storage = open_database(storage_url(arguments), create=False)
    found, rows, notes = [], [], []
    for name in sorted(study_names(storage)):
        try:
            paths = StudyPaths(arguments.studies_dir, name, arguments.storage)
            record = StudyRecord.load(storage, paths)
        except UserError as error:
            notes.append(f"left out: {error}")
            continue
        is_running = record.is_running
        missing = "" if is_running else missing_files(record)
        rows.append(study_row(record, is_running=is_running))
        found.append(
            {
                "study": name,
                "target": record.quota.n_target,
                "recipe": record.is_recipe,
                "active": is_running,
                "missing": missing or None,
                **study_json(record, is_running=is_running),
            }
        )
        notes += [missing] if missing else []
    if arguments.json:
        print(json.dumps({"storage": without_secrets(storage_url(arguments)), "studies": found}))
        return EXIT_OK
    if rows:
        stdout().print(View(studies_table(rows)), crop=False)
    else:
        print("no studies yet")
    for text in notes:
        say(text)
    return EXIT_OK


def show(arguments: argparse.Namespace, started: float) -> int:
    """Show a study."""
    record = load_record(arguments)
    if arguments.trial is not None:
        return _show_trial(record, arguments)
    is_running = record.is_running
    missing = "" if is_running else missing_files(record)
    if arguments.csv:
        from fmnist_tune.study.frames import trials_frame  # pandas takes half a second

        print(trials_frame(record, is_running=is_running).to_csv(index=False), end="")
        return EXIT_OK
    if arguments.json:
        result = {
            "study": record.paths.name,
            "storage": without_secrets(storage_url(arguments)),
            "wall_s": round(time.monotonic() - started, 3),
            "workers": None,
            "epochs": 0,
            "train_s": 0.0,
            "ended_by": None,
            "active": is_running,
            "disk_bytes": record.paths.disk_bytes(),
            "missing": missing or None,
            **study_json(record, is_running=is_running),
            **model_json(record),
            "all": trials_json(record.trials, record.space, is_running=is_running),
        }
        print(json.dumps(result))
        return EXIT_OK
    console = stdout()
    summary = summarize(record, is_running=is_running)
    if not record.is_recipe:
        shares = summary.importances.shares if summary.importances is not None else {}
        table = TrialTable.of(record, is_running=is_running, shares=shares, is_wide=arguments.wide)
        console.print(table, soft_wrap=arguments.wide)
    is_waiting = not (record.is_recipe or record.is_finished or is_running)
    goes_on = next_commands(record)[:1] if is_waiting else []
    document = study_section(summary, retraining_status(record, is_running=is_running), goes_on)
    console.print("", View(document), sep="\n", crop=False)
    if missing:
        console.print(Text(missing, style="yellow"), soft_wrap=True)
    console.print(
        f"files: {record.paths.disk_bytes() / 1e6:.1f} MB in {record.paths.folder}",
        style="dim",
        soft_wrap=True,
    )
    return EXIT_OK


def _show_trial(record: StudyRecord, arguments: argparse.Namespace) -> int:
    """Show a trial of a study."""
    if record.is_recipe:
        raise UserError(f"--trial {arguments.trial}: study {record.paths.name!r} is a recipe's; it has no trials")
    trial, is_running = choose_trial(record, arguments.trial), record.is_running
    if arguments.json:
        (found,) = trials_json([trial], record.space, is_running=is_running)
        print(json.dumps({"study": record.paths.name, "storage": without_secrets(storage_url(arguments)), **found}))
        return EXIT_OK
    (row,) = trial_rows([trial], record.space, is_running=is_running)
    searched = {p.path: str(p.domain) for p in record.space.parameters}
    stdout().print(View(trial_section(row, searched, record.objective)), crop=False)
    return EXIT_OK


def export(arguments: argparse.Namespace, started: float) -> int:
    """Print a trial as a recipe."""
    record = load_record(arguments)
    trial = choose_trial(record, arguments.trial)
    if trial.state == TrialState.FAIL:
        reason = metadata_of(trial).get("reason", "unknown")
        say(f"warning: trial {trial.number} failed: {reason}")
    recipe = recipe_of(record, trial)
    if arguments.json:
        recipe = json.dumps(record.space.recipe(values_of(trial.params, record.space))) + "\n"
    if arguments.output is None:
        print(recipe, end="")
        return EXIT_OK
    output: Path = arguments.output
    if output.is_dir():
        raise UserError(f"--output {output}: a directory; name a file, such as {output / 'recipe.yaml'}")
    refuse_overwriting(output, arguments)
    try:
        if output.exists() and not output.is_file():
            output.write_text(recipe, encoding="utf-8")  # a device or a pipe, which must not be replaced
        else:
            write_atomically(output.resolve(), recipe)
    except OSError as error:
        raise UserError(f"--output {output}: cannot be written: {error.strerror}") from None
    return EXIT_OK
