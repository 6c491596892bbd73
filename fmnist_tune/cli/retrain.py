"""`retrain` and `train`."""

from __future__ import annotations

import argparse
import json
from typing import Any

from fmnist_tune.cli import EXIT_INTERRUPTED, EXIT_OK
from fmnist_tune.cli.inputs import load_recipe
from fmnist_tune.cli.store import load_record, stderr, stdout
from fmnist_tune.document.blocks import Block, Code, Section
from fmnist_tune.document.terminal import View
from fmnist_tune.errors import UserError
from fmnist_tune.retrain.run import open_recipe
from fmnist_tune.retrain.run import retrain as run_retrain
from fmnist_tune.retrain.top_k import confirmation_json, confirmation_section
from fmnist_tune.search.run import RunOptions
from fmnist_tune.study.record import StudyRecord
from fmnist_tune.study.results import result_section
from fmnist_tune.tasks.task import Task


def retrain(arguments: argparse.Namespace, started: float) -> int:
    """Retrain a study's winner."""
    record = load_record(arguments)
    if record.is_running:
        raise UserError(f"study {record.paths.name!r} is still running; wait for its end, or stop it")
    if record.is_recipe and (arguments.trial is not None or arguments.top is not None):
        raise UserError(f"study {record.paths.name!r} is a recipe's; it has no trials for --trial or --top")
    return _run(arguments, record, _options(arguments), started)


def train(arguments: argparse.Namespace, started: float) -> int:
    """Train a recipe."""
    space = load_recipe(arguments)
    options = _options(arguments)
    record = open_recipe(space, options, name_given=arguments.study is not None)
    name = space.settings.study
    notes = []
    if record.paths.name != name:
        notes.append(f"a search has the name {name}: this training is kept in the study {record.paths.name}")
    config = space.config({})
    if space.task.has_test and config.early_stopping is not None:
        notes.append(
            f"training.early_stopping has nothing to stop by: the validation split is trained on too, for all "
            f"{config.training.epochs} epochs"
        )
    for text in notes:
        stderr(arguments).print(text, style="yellow", soft_wrap=True)
    return _run(arguments, record, options, started)


def _options(arguments: argparse.Namespace) -> RunOptions:
    return RunOptions(
        arguments.studies_dir, arguments.storage, arguments.data_dir, arguments.address, arguments.workers
    )


def _run(arguments: argparse.Namespace, record: StudyRecord, options: RunOptions, started: float) -> int:
    console = stderr(arguments)
    result = run_retrain(
        record,
        options,
        command=arguments.command,
        trial=getattr(arguments, "trial", None),
        n_seeds=arguments.seeds,
        top=getattr(arguments, "top", None),
        console=console,
        started=started,
    )
    if result is None:
        console.print("interrupted; the same command goes on", style="yellow")
        return EXIT_INTERRUPTED
    if arguments.json:
        out: dict[str, Any] = dict(result.metrics)
        if result.confirmation is not None:
            out["confirmation"] = confirmation_json(result.confirmation, record.objective)
        print(json.dumps(out))
        return EXIT_OK
    metrics, blocks = result.metrics, list[Block]([f"{arguments.command}ed"])
    if result.confirmation is not None:
        blocks.append(confirmation_section(result.confirmation, record.objective))
    uses = record.retraining.test_uses
    blocks.append(result_section(record.space.task, metrics, uses, len(record.trials), is_full=True))
    commands = [record.paths.command("report")]
    if type(record.space.task).predictor is not Task.predictor:
        commands.append(record.paths.command("predict", "IMAGE.png"))
    blocks.append(Section("next", (Code("\n".join(commands)),)))
    stdout().print("", View(Section(f"study {record.paths.name}", blocks)), sep="\n", crop=False)
    return EXIT_OK
