"""The command line: arguments in, exit codes out."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rich.console import Console

from fmnist_tune.config.schema import seconds, study_name
from fmnist_tune.errors import UserError

EXIT_OK, EXIT_BUG, EXIT_USER, EXIT_INTERRUPTED = 0, 1, 2, 130
PIPE_WIDTH = 200


def main(argv: list[str] | None = None) -> int:
    """Run a command; returns the exit code."""
    started = time.monotonic()
    arguments = _parser().parse_args(argv)
    try:
        return int(arguments.run(arguments, started))
    except UserError as error:
        print(f"fmnist-tune: {error}", file=sys.stderr)
        return EXIT_USER
    except BrokenPipeError:  # `fmnist-tune show cnn | head`
        sys.stderr.close()
        return EXIT_OK
    except KeyboardInterrupt:
        print("fmnist-tune: interrupted", file=sys.stderr)
        return EXIT_INTERRUPTED


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="fmnist-tune",
        description="Hyperparameter search for PyTorch classifiers on Fashion-MNIST.",
        epilog="Progress goes to stderr, results to stdout. Exit codes: 0 done, 1 a bug of ours, "
        "2 a mistake to repair, 130 interrupted (run the same command again to go on).",
    )
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")

    search = _command(commands, _search, "search", "run a study to its trials or timeout; run again, it goes on")
    search.add_argument("space", metavar="SPACE.yaml", help="the search space")
    search.add_argument("--study", type=_study, help="name of the study, instead of the file's")
    search.add_argument("--seed", type=_whole(0), help="seed of the sampler and the training, instead of the file's")
    search.add_argument(
        "--warm-start",
        type=_study,
        metavar="STUDY",
        help="take over another study's finished trials that fit the space",
    )
    _add_search_options(search)

    resume = _command(commands, _resume, "resume", "go on with a study; its search space is stored in it")
    resume.add_argument("study", type=_study, metavar="STUDY")
    _add_search_options(resume)

    studies = _command(commands, _studies, "studies", "list the studies")
    _add_store_options(studies)

    show = _command(commands, _show, "show", "show a study's trials")
    show.add_argument("study", type=_study, metavar="STUDY")
    _add_store_options(show)

    export = _command(commands, _export, "export", "print a trial as a recipe in YAML")
    export.add_argument("study", type=_study, metavar="STUDY")
    export.add_argument("--trial", type=_whole(0), metavar="N", help="the trial; the best one by default")
    export.add_argument("--output", type=Path, metavar="FILE", help="write to a file instead of stdout")
    _add_store_options(export)

    data = _command(commands, _data, "data", "fetch and verify the data set, show its class distribution")
    data.add_argument(
        "--data-dir",
        type=Path,
        metavar="DIR",
        help="folder of the data set; fetched into it if it is not there",
    )
    data.add_argument("--json", action="store_true", help="print one JSON object")

    check = _command(commands, _check, "check", "check a search space and print it as a table")
    check.add_argument("space", metavar="SPACE.yaml")
    check.add_argument("--json", action="store_true", help="print one JSON object")
    return parser


def _command(
    commands: Any, run: Callable[[argparse.Namespace, float], int], name: str, text: str
) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(name, help=text, description=f"{text[0].upper()}{text[1:]}.")
    parser.set_defaults(run=run)
    return parser


def _add_store_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--studies-dir",
        type=Path,
        default=Path("studies"),
        metavar="DIR",
        help="folder of all studies (./studies)",
    )
    parser.add_argument("--storage", metavar="URL", help="database of the studies (SQLite in the studies folder)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def _add_search_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--trials", type=_whole(1), metavar="N", help="how many trials the study holds in the end")
    parser.add_argument("--timeout", type=_duration, metavar="TIME", help="longest time of this run: 90s, 10m, 1.5h")
    parser.add_argument("--workers", type=_whole(1), metavar="N", help="trials at a time (as many as fit)")
    parser.add_argument("--data-dir", type=Path, metavar="DIR", help="your own copy of the data set")
    parser.add_argument("--address", metavar="RAY", help="a Ray cluster to join, such as auto or ray://host:10001")
    _add_store_options(parser)


def _search(arguments: argparse.Namespace, started: float) -> int:
    from fmnist_tune.config import load_space

    overrides = {
        "study": arguments.study,
        "search.sampler.seed": arguments.seed,
        "search.trials": arguments.trials,
        "search.timeout": arguments.timeout,
    }
    space = load_space(arguments.space, {path: value for path, value in overrides.items() if value is not None})
    if not space.parameters:
        raise UserError(
            f"{arguments.space}: nothing is searched in it, every trial would be the same; "
            "mark values with {float: [low, high]}, {int: [low, high]} or {choice: [...]}"
        )
    return _run(arguments, space, started)


def _resume(arguments: argparse.Namespace, started: float) -> int:
    from fmnist_tune.config import read_space

    stored = _record(arguments).space
    overrides = {"search.trials": arguments.trials, "search.timeout": arguments.timeout}
    changed = {path: value for path, value in overrides.items() if value is not None}
    return _run(arguments, read_space(stored.to_yaml(), stored.source, changed), started)


def _run(arguments: argparse.Namespace, space: Any, started: float) -> int:
    from fmnist_tune.search.run import Place, run_search
    from fmnist_tune.study.render import study_json, summary_view
    from fmnist_tune.study.summary import summarize

    place = Place(
        arguments.studies_dir,
        arguments.storage,
        arguments.data_dir,
        arguments.address,
        arguments.workers,
        getattr(arguments, "warm_start", None),
    )
    outcome = run_search(space, place, Console(stderr=True), started)
    name = space.settings.study
    if arguments.json:
        result = {
            "study": name,
            "storage": place.url,
            "wall_s": round(outcome.wall_s, 3),
            "startup_s": round(outcome.startup_s, 3),
            "first_step_s": None if outcome.first_step_s is None else round(outcome.first_step_s, 3),
            "workers": outcome.n_workers,
            "epochs": outcome.epochs,
            "train_s": round(outcome.train_s, 3),
            **study_json(outcome.record, is_driven=False),
        }
        print(json.dumps(result))
    else:
        _stdout().print(summary_view(summarize(outcome.record), _next_commands(arguments, outcome.record)))
    return EXIT_INTERRUPTED if outcome.interrupted else EXIT_OK


def _next_commands(arguments: argparse.Namespace, record: Any) -> list[str]:
    from fmnist_tune.study.database import database_url

    name = record.paths.name
    where = "" if arguments.studies_dir == Path("studies") else f" --studies-dir {arguments.studies_dir}"
    where += f" --storage {arguments.storage}" if arguments.storage else ""
    commands = []
    if len(record.trials) < record.n_target or any(not t.state.is_finished() for t in record.trials):
        commands.append(f"fmnist-tune resume {name}{where}")
    else:
        commands.append(f"fmnist-tune resume {name} --trials {2 * record.n_target}{where}")
    commands.append(f"fmnist-tune show {name}{where}")
    if record.best is not None:
        commands.append(f"fmnist-tune export {name}{where}")
    commands.append(f"optuna-dashboard {arguments.storage or database_url(arguments.studies_dir)}")
    return commands


def _studies(arguments: argparse.Namespace, started: float) -> int:
    import optuna
    from rich.table import Table

    from fmnist_tune.study.database import open_database
    from fmnist_tune.study.layout import StudyPaths
    from fmnist_tune.study.lock import is_driven
    from fmnist_tune.study.record import StudyRecord
    from fmnist_tune.study.render import study_json

    storage = open_database(_url(arguments), create=False)
    rows = []
    skipped = []
    for name in sorted(optuna.get_all_study_names(storage)):
        try:
            paths = StudyPaths(arguments.studies_dir, name)
            record = StudyRecord.load(storage, paths)
        except UserError as error:
            skipped.append(str(error))
            continue
        driven = is_driven(paths)
        rows.append(
            {
                "study": name,
                "target": record.n_target,
                "active": driven,
                **study_json(record, is_driven=driven),
            }
        )
    if arguments.json:
        print(json.dumps({"storage": _url(arguments), "studies": rows}))
        return EXIT_OK
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    for column in ("study", "trials", "complete", "pruned", "failed", "running", "waiting", "best", "trial"):
        table.add_column(column, justify="left" if column == "study" else "right")
    for row in rows:
        trials, best = row["trials"], row["best"]
        counts = [str(trials[state]) for state in ("complete", "pruned", "failed", "running", "waiting")]
        value = (f"{best['value']:.2%}", str(best["number"])) if best else ("-", "-")
        table.add_row(row["study"], f"{trials['total']}/{row['target']}", *counts, *value)
    _stdout().print(table)
    for text in skipped:
        print(f"fmnist-tune: left out: {text}", file=sys.stderr)
    return EXIT_OK


def _show(arguments: argparse.Namespace, started: float) -> int:
    from fmnist_tune.study.lock import is_driven
    from fmnist_tune.study.render import study_json, summary_view, trials_json, trials_table
    from fmnist_tune.study.summary import summarize

    record = _record(arguments)
    driven = is_driven(record.paths)
    if arguments.json:
        result = {
            "study": record.paths.name,
            "storage": _url(arguments),
            "active": driven,
            "disk_bytes": record.paths.disk_bytes(),
            **study_json(record, is_driven=driven),
            "all": trials_json(record, is_driven=driven),
        }
        print(json.dumps(result))
        return EXIT_OK
    console = _stdout()
    console.print(trials_table(record, is_driven=driven))
    console.print(summary_view(summarize(record), []))
    console.print(
        f"files: {record.paths.disk_bytes() / 1e6:.1f} MB in {record.paths.folder}",
        style="dim",
        highlight=False,
    )
    return EXIT_OK


def _export(arguments: argparse.Namespace, started: float) -> int:
    from fmnist_tune.study.layout import write_atomically

    record = _record(arguments)
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
    recipe = record.recipe_of(trial)
    if arguments.json:
        from fmnist_tune.study.sampling import values_of

        recipe = json.dumps(record.space.recipe(values_of(trial.params, record.space))) + "\n"
    if arguments.output is None:
        print(recipe, end="")
        return EXIT_OK
    try:
        write_atomically(arguments.output, recipe)
    except OSError as error:
        raise UserError(f"--output {arguments.output}: cannot be written: {error.strerror}") from None
    return EXIT_OK


def _data(arguments: argparse.Namespace, started: float) -> int:
    import numpy as np
    from rich.table import Table

    from fmnist_tune.data.fashion_mnist import CLASSES, has_part, load_part
    from fmnist_tune.data.fetch import fetch_data, locate_data

    def log(text: str) -> None:
        print(text, file=sys.stderr)

    folder = arguments.data_dir
    if folder is None:
        folder = locate_data(None, log)
    elif not (has_part(folder, "train") and has_part(folder, "test")):
        fetch_data(folder, log)
    parts = {"train": load_part(folder, "train"), "test": load_part(folder, "test")}
    counts = {part: np.bincount(images.labels_N, minlength=len(CLASSES)).tolist() for part, images in parts.items()}
    if arguments.json:
        classes = {part: dict(zip(CLASSES, numbers, strict=True)) for part, numbers in counts.items()}
        print(json.dumps({"data_dir": str(folder), "md5": {p: i.md5 for p, i in parts.items()}, "classes": classes}))
        return EXIT_OK
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    for column in ("class", "name", "train", "test"):
        table.add_column(column, justify="left" if column == "name" else "right")
    table.add_column("")
    largest = max(counts["train"])
    for k, name in enumerate(CLASSES):
        n = counts["train"][k]
        table.add_row(str(k), name, f"{n:,}", f"{counts['test'][k]:,}", "█" * round(30 * n / largest))
    table.add_row("", "all", f"{sum(counts['train']):,}", f"{sum(counts['test']):,}", "")
    console = _stdout()
    console.print(table)
    console.print(f"verified: {folder}", highlight=False)
    return EXIT_OK


def _check(arguments: argparse.Namespace, started: float) -> int:
    from fmnist_tune.config import load_space
    from fmnist_tune.study.render import space_table

    space = load_space(arguments.space)
    if arguments.json:
        parameters = [
            {
                "path": p.path,
                **vars(p.domain),
                "kind": type(p.domain).__name__.removesuffix("Domain").lower(),
                "when": dict(p.when),
            }
            for p in space.parameters
        ]
        print(json.dumps({"study": space.settings.study, "parameters": parameters, "warnings": space.warnings}))
    else:
        _stdout().print(space_table(space))
    return EXIT_OK


def _record(arguments: argparse.Namespace) -> Any:
    from fmnist_tune.study.database import open_database
    from fmnist_tune.study.layout import StudyPaths
    from fmnist_tune.study.record import StudyRecord

    return StudyRecord.load(
        open_database(_url(arguments), create=False), StudyPaths(arguments.studies_dir, arguments.study)
    )


def _url(arguments: argparse.Namespace) -> str:
    from fmnist_tune.study.database import database_url

    return str(arguments.storage or database_url(arguments.studies_dir))


def _stdout() -> Console:
    return Console(width=None if sys.stdout.isatty() else PIPE_WIDTH)


def _study(text: str) -> str:
    return str(_argument(study_name, text))


def _duration(text: str) -> str:
    _argument(seconds, text)
    return text


def _whole(low: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        if not text.isdecimal() or int(text) < low:
            raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least {low}")
        return int(text)

    return parse


def _argument(parse: Callable[[str], Any], text: str) -> Any:
    try:
        return parse(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


if __name__ == "__main__":
    sys.exit(main())
