"""A warm start: importing the finished trials of another study."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from fmnist_tune.errors import UserError
from fmnist_tune.study.database import open_database, study_exists
from fmnist_tune.study.layout import StudyPaths
from fmnist_tune.study.recipes import write_best_recipe
from fmnist_tune.study.record import TAKEN_FROM_KEY, StudyRecord
from fmnist_tune.study.sampling import params_of
from fmnist_tune.study.trial_data import history_of, metadata_of, progress_attributes


def source_of(name: str | None, paths: StudyPaths, url: str) -> StudyRecord | None:
    """Return the study from which another one of the same database imports trials; None without a name.

    Raises:
        UserError: there is no such study, or it is the same one.
    """
    if name is None:
        return None
    if name == paths.name:
        raise UserError(f"--warm-start {name}: a study cannot take over its own trials; see --study")
    if not study_exists(url, name):
        raise UserError(f"--warm-start {name}: no such study; `{paths.command_on_all('studies')}` lists them")
    return StudyRecord.load(open_database(url, create=False), replace(paths, name=name))


def check_data(old: StudyRecord, data: Mapping[str, object]) -> None:
    """Check that two studies use the same data and split.

    Raises:
        UserError: they do not.
    """
    if old.optuna.user_attrs.get("data") != data:
        raise UserError(f"--warm-start {old.paths.name}: that study was trained on other data or another split")


def import_trials(new: StudyRecord, old: StudyRecord) -> int:
    """Import the finished trials of another study that fit the new search space, with their curves.

    Trials already imported are skipped, so an interrupted import can be repeated.

    Args:
        new: receives them.
        old: only read; trained on the same data.

    Returns:
        How many of them the new study has now.
    """
    source = old.paths.name
    origins = [_origin(t, new.paths.name) for t in new.trials if TAKEN_FROM_KEY in t.user_attrs]
    known_params = [t.params for t in new.trials]
    is_grid = new.space.settings.search.sampler.name == "grid"  # where each configuration counts once
    for trial in old.trials:
        origin = _origin(trial, source)
        if origin in origins or trial.state not in (TrialState.COMPLETE, TrialState.PRUNED):
            continue
        values = new.space.values_for(old.config_of(trial))
        if values is None:
            continue
        params, distributions = params_of(values, new.space)
        if is_grid and params in known_params:
            continue
        known_params.append(params)
        copied = optuna.create_trial(
            state=trial.state,
            value=trial.value,
            params=params,
            distributions=distributions,
            intermediate_values=trial.intermediate_values,
            user_attrs={**trial.user_attrs, TAKEN_FROM_KEY: origin},
        )
        copied.system_attrs = dict(progress_attributes(copied, history_of(trial), metadata_of(trial)))
        new.optuna.add_trial(copied)
        origins.append(origin)
    write_best_recipe(new)
    return sum(_origin(trial, source) in origins for trial in old.trials)


def _origin(trial: FrozenTrial, study: str) -> dict[str, Any]:
    """Return the study in which a trial was trained and its number there; `study` now holds it."""
    return dict(trial.user_attrs.get(TAKEN_FROM_KEY) or {"study": study, "trial": trial.number})
