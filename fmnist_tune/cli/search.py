"""`search` and `resume`."""

from __future__ import annotations

import argparse
import json

from optuna.trial import TrialState
from rich.text import Text

from fmnist_tune.cli import EXIT_INTERRUPTED, EXIT_OK
from fmnist_tune.cli.inputs import load_file
from fmnist_tune.cli.store import load_record, stderr, stdout
from fmnist_tune.config import SearchSpace
from fmnist_tune.document.terminal import View
from fmnist_tune.errors import UserError
from fmnist_tune.search.limits import Limits
from fmnist_tune.search.run import RunOptions, run_search
from fmnist_tune.study.findings import next_commands, study_section
from fmnist_tune.study.record import StudyRecord
from fmnist_tune.study.summary import study_json, summarize
from fmnist_tune.study.url import without_secrets
from fmnist_tune.units import clock


def search(arguments: argparse.Namespace, started: float) -> int:
    """Run a search space."""
    overrides = {
        "study": arguments.study,
        "search.sampler.seed": arguments.seed,
        "search.learn_from": arguments.learn_from,
    }
    given = {path: value for path, value in overrides.items() if value is not None}
    space = load_file(arguments, arguments.space, given)
    if not space.parameters:
        raise UserError(
            f"{arguments.space}: nothing is searched in it, every trial would be the same; "
            "mark values with {float: [low, high]}, {int: [low, high]} or {choice: [...]}"
        )
    return _run(arguments, space, started)


def resume(arguments: argparse.Namespace, started: float) -> int:
    """Resume a study."""
    record = load_record(arguments)
    stored = record.space
    if not stored.parameters:
        raise UserError(
            f"study {arguments.study!r} is a recipe's: nothing is searched; "
            f"`{record.paths.command('retrain')}` trains it"
        )
    seed = stored.settings.search.sampler.seed
    if arguments.seed not in (None, seed):
        raise UserError(f"--seed {arguments.seed}: study {arguments.study!r} was begun with seed {seed}, which stays")
    return _run(arguments, stored, started)


def _run(arguments: argparse.Namespace, space: SearchSpace, started: float) -> int:
    options = RunOptions(
        arguments.studies_dir,
        arguments.storage,
        arguments.data_dir,
        arguments.address,
        arguments.workers,
        getattr(arguments, "warm_start", None),
    )
    limits = Limits(arguments.trials, arguments.timeout)
    outcome = run_search(space, options, limits, stderr(arguments), started)
    name = space.settings.study
    if arguments.json:
        result = {
            "study": name,
            "storage": without_secrets(options.url),
            "wall_s": round(outcome.wall_s, 3),
            "startup_s": round(outcome.startup_s, 3),
            "first_step_s": None if outcome.first_step_s is None else round(outcome.first_step_s, 3),
            "workers": outcome.n_workers,
            "epochs": outcome.epochs,
            "train_s": round(outcome.train_s, 3),
            "ended_by": outcome.ending.by,
            **study_json(outcome.record, is_running=False),
        }
        print(json.dumps(result))
    else:
        summary = summarize(outcome.record, is_running=False)
        ending = f"the search ended after {clock(outcome.wall_s)}: {outcome.ending.text}"
        document = study_section(summary, None, next_commands(outcome.record, is_after_search=True))
        stdout().print("", Text(ending, style="bold"), View(document), sep="\n", crop=False)
    if outcome.ending.by == "failed":
        raise UserError(f"study {name!r}: {outcome.ending.text}\n{_what_then(outcome.record)}")
    return EXIT_INTERRUPTED if outcome.ending.by == "interrupted" else EXIT_OK


def _what_then(record: StudyRecord) -> str:
    if record.is_finished:
        return "what is searched, or the machine, must change before any trial can be trained"
    goes_on = f"when that is repaired, `{record.paths.command('resume')}` goes on"
    has_failed = any(trial.state == TrialState.FAIL for trial in record.trials)
    return goes_on if has_failed else f"no trial is lost by it: {goes_on}"
