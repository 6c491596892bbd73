"""A command's inputs: files of search spaces and recipes, trials of studies, files to write."""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import FrozenTrial

from fmnist_tune.cli.store import load_record, storage_url
from fmnist_tune.config import SearchSpace, load_space, read_space
from fmnist_tune.config.schema import STUDY_NAME
from fmnist_tune.errors import UserError, did_you_mean, nearest
from fmnist_tune.files import user_path
from fmnist_tune.study.database import open_database
from fmnist_tune.study.layout import command_line
from fmnist_tune.study.recipes import recipe_of
from fmnist_tune.study.record import StudyRecord

SPACES_DIR = Path("search_spaces")
YAML_SUFFIXES = (".yaml", ".yml")


def load_file(arguments: argparse.Namespace, path: str, overrides: Mapping[str, Any] | None = None) -> SearchSpace:
    """Read a command's search space or recipe; arguments and errors as for `load_space`."""
    if not _is_there(path):
        raise UserError(f"{path}: no such file{_meant_instead(arguments, path)}")
    return load_space(path, overrides)


def _is_there(path: str) -> bool:
    """Return whether a file exists, or cannot be checked for a reason that reading it will report."""
    try:
        os.lstat(user_path(path))
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:
        return True
    return True


def load_recipe(arguments: argparse.Namespace) -> SearchSpace:
    """Read a command's recipe file; `--study` replaces its name.

    Raises:
        UserError: it cannot be read, is invalid, or is a search space.
    """
    path, study = arguments.recipe, getattr(arguments, "study", None)  # find-lr has none
    space = load_file(arguments, path, {} if study is None else {"study": study})
    if space.parameters:
        searched = ", ".join(p.path for p in space.parameters[:3])
        search = command_line("search", path, studies_dir=arguments.studies_dir, storage=arguments.storage)
        raise UserError(
            f"{path}: not a recipe: it searches {searched}{' ...' if len(space.parameters) > 3 else ''}; "
            f"`{search}` runs it"
        )
    return space


def load_recipe_or_trial(arguments: argparse.Namespace) -> SearchSpace:
    """Read a command's recipe: from a file, or from a study's best trial or `--trial N`.

    Raises:
        UserError: as for `load_recipe` and `load_record`; or the study has no such trial.
    """
    name: str = arguments.recipe
    studies = study_names(arguments)
    is_file = _is_there(name)
    if is_file or name not in studies:
        if not is_file and STUDY_NAME.fullmatch(name) and not name.endswith(YAML_SUFFIXES):
            meant = _meant_instead(arguments, name) or did_you_mean(name, studies)
            raise UserError(f"{name}: neither a file nor a study{meant}")
        if arguments.trial is not None:
            raise UserError(f"--trial {arguments.trial}: {name} is no study; only a study has trials")
        return load_recipe(arguments)
    record = load_record(argparse.Namespace(**{**vars(arguments), "study": name}))
    if record.is_recipe:
        if arguments.trial is not None:
            raise UserError(f"--trial {arguments.trial}: study {name!r} is a recipe's; it has no trials")
        return record.space
    trial = choose_trial(record, arguments.trial)
    return read_space(recipe_of(record, trial), f"trial {trial.number} of study {name}")


def choose_trial(record: StudyRecord, number: int | None) -> FrozenTrial:
    """Return a study's trial of this number, or the best one.

    Raises:
        UserError: there is none.
    """
    if number is None:
        if record.best is None:
            raise UserError(
                f"study {record.paths.name!r}: no trial has been trained to its end yet; --trial N takes any other"
            )
        return record.best
    trials = record.trials
    if number >= len(trials):
        raise UserError(
            f"--trial {number}: study {record.paths.name!r} has trials 0 to {len(trials) - 1}"
            if trials
            else f"study {record.paths.name!r} has no trials yet"
        )
    return trials[number]


def study_names(arguments: argparse.Namespace) -> list[str]:
    """Return the names of all studies; empty without a database."""
    try:
        return sorted(optuna.get_all_study_names(open_database(storage_url(arguments), create=False)))
    except UserError:
        return []


def refuse_overwriting(file: Path, arguments: argparse.Namespace) -> None:
    """Refuse to replace a file given or implied by `--output`, unless `--force` is given.

    Raises:
        UserError: the file exists.
    """
    if file.is_file() and not arguments.force:
        raise UserError(f"--output {arguments.output}: {file} is there already; --force replaces it")


def _meant_instead(arguments: argparse.Namespace, path: str) -> str:
    """Return which file, and which study, may be meant by the path of a missing file."""
    given = Path(path)
    files = [file for file in (*given.parent.glob("*"), *SPACES_DIR.rglob("*")) if file.suffix in YAML_SUFFIXES]
    by_stem = {file.stem: str(file) for file in sorted(files, reverse=True)}
    near = nearest(given.stem, by_stem)
    hint = "" if near is None else f"; did you mean {by_stem[near]!r}?"
    if given.stem in study_names(arguments):
        resume = command_line("resume", given.stem, studies_dir=arguments.studies_dir, storage=arguments.storage)
        hint += f"{'' if hint else ';'} there is a study {given.stem!r}: `{resume}` goes on with it"
    return hint
