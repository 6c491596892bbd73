"""A new study that begins with the finished trials of another one."""

from __future__ import annotations

from collections.abc import Mapping

import optuna
from optuna.trial import TrialState

from fmnist_tune.errors import UserError
from fmnist_tune.study.record import TAKEN_FROM_KEY, StudyRecord
from fmnist_tune.study.sampling import params_of
from fmnist_tune.study.trial_data import facts_of, history_of, progress_attributes


def check_data(old: StudyRecord, data: Mapping[str, object]) -> None:
    """Check that a study was trained on the same data and split as a new one will be.

    Raises:
        UserError: it was not.
    """
    if old.optuna.user_attrs.get("data") != data:
        raise UserError(f"--warm-start {old.paths.name}: that study was trained on other data or another split")


def take_over(new: StudyRecord, old: StudyRecord) -> int:
    """Copy a study's finished trials that the new one's search space could have given, with their curves.

    Those that are there already are left out, so that a copy which was interrupted can be repeated.

    Args:
        new: gets them.
        old: is only read; was trained on the same data.

    Returns:
        How many of them the new study has now.
    """
    source = old.paths.name
    origins = [t.user_attrs[TAKEN_FROM_KEY] for t in new.trials if TAKEN_FROM_KEY in t.user_attrs]
    known = {origin["trial"] for origin in origins if origin["study"] == source}
    known_params = [t.params for t in new.trials]
    is_grid = new.space.settings.search.sampler.name == "grid"  # in which each configuration counts once
    for trial in old.trials:
        if trial.number in known or trial.state not in (TrialState.COMPLETE, TrialState.PRUNED):
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
            user_attrs={**trial.user_attrs, TAKEN_FROM_KEY: {"study": source, "trial": trial.number}},
        )
        copied.system_attrs = dict(progress_attributes(copied, history_of(trial), facts_of(trial)))
        new.optuna.add_trial(copied)
        known.add(trial.number)
    new.write_best_recipe()
    return len(known)
