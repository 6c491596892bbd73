"""`delete` and `rename`."""

from __future__ import annotations

import argparse
import json
import sys

from optuna.storages import RDBStorage

from fmnist_tune.cli import EXIT_OK
from fmnist_tune.cli.store import load_record, storage_url, study_paths
from fmnist_tune.errors import UserError
from fmnist_tune.retrain.renaming import rename_study
from fmnist_tune.study.database import open_database, study_names
from fmnist_tune.study.deletion import Deletion
from fmnist_tune.study.record import StudyRecord
from fmnist_tune.study.url import without_secrets


def delete(arguments: argparse.Namespace, started: float) -> int:
    """Delete a study."""
    deletion = Deletion(open_database(storage_url(arguments), create=False), study_paths(arguments))
    if not arguments.yes:
        _ask(deletion)
    deletion.run()
    if arguments.json:
        result = {
            "study": deletion.paths.name,
            "storage": without_secrets(storage_url(arguments)),
            "deleted": True,
            "trials": deletion.n_trials,
            "disk_bytes": deletion.n_bytes,
        }
        print(json.dumps(result))
    else:
        print(f"deleted {deletion}")
    return EXIT_OK


def _ask(deletion: Deletion) -> None:
    """Ask for confirmation.

    Raises:
        UserError: the answer is no, or there is no terminal to ask on.
    """
    if sys.stdin is None or not sys.stdin.isatty():
        raise UserError(f"{deletion}: delete it? There is no terminal to ask on; --yes deletes without asking")
    print(f"{deletion}\ndelete it? This cannot be undone. [y/N] ", end="", file=sys.stderr, flush=True)
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise UserError(f"study {deletion.paths.name} is kept")


def rename(arguments: argparse.Namespace, started: float) -> int:
    """Rename a study."""
    storage = open_database(storage_url(arguments), create=False)
    old, new = arguments.study, arguments.name
    if old == new:
        raise UserError(f"study {old!r} has that name already")
    names = study_names(storage)
    if old not in names and new in names and _is_half_renamed(storage, arguments):
        record = load_record(arguments, new)
    else:
        record = rename_study(storage, load_record(arguments), new)
    if arguments.json:
        result = {
            "study": new,
            "former": old,
            "storage": without_secrets(storage_url(arguments)),
            "folder": str(record.paths.folder),
        }
        print(json.dumps(result))
        return EXIT_OK
    print(f"study {old} is {new} now; its files are in {record.paths.folder}")
    if (record.paths.folder / "report").is_dir():
        print(f"its report has the old name; write it anew with: {record.paths.command('report')}")
    return EXIT_OK


def _is_half_renamed(storage: RDBStorage, arguments: argparse.Namespace) -> bool:
    """Return whether the command was killed while it renamed this study."""
    record = StudyRecord.load(storage, study_paths(arguments, arguments.name))
    return bool(record.former_name == arguments.study)
