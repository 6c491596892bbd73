"""A study's trials in memory, written through to its database, for the process that drives the study."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from optuna.distributions import BaseDistribution
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, TrialState


class Trials:
    """All trials of a study, read once; each change goes to the database first, then here.

    Attributes:
        all: every trial, by number, as in the database.
        versions: of each trial: a number that grows whenever it is written; none before.
    """

    def __init__(self, storage: BaseStorage, study_name: str) -> None:
        """Read the trials of a study whose lock is held, so no other process changes them.

        Args:
            storage: the database.
            study_name: of the study.
        """
        self._storage = storage
        self._study_id = storage.get_study_id_from_name(study_name)
        self._ids: dict[int, int] = {}
        self.all: list[FrozenTrial] = storage.get_all_trials(self._study_id)
        self.versions: Counter[int] = Counter()

    def __getitem__(self, number: int) -> FrozenTrial:
        return self.all[number]

    def create(self, template: FrozenTrial) -> FrozenTrial:
        """Add a trial with all its data in one transaction, and return it."""
        trial_id, number = self._storage.create_new_trial(self._study_id, template), len(self.all)
        trial = copy.copy(template)
        trial.number = number
        self._ids[number] = self._storage.get_trial_id_from_study_id_trial_number(self._study_id, number)
        if self._ids[number] == trial_id:
            self.all.append(trial)
            return trial
        self._ids.clear()  # another program enqueued trials meanwhile
        self.all[:] = self._storage.get_all_trials(self._study_id)
        self.versions.update(range(len(self.all)))
        return self.all[self._storage.get_trial_number_from_id(trial_id)]

    def set_state(self, number: int, state: TrialState, value: float | None = None) -> None:
        """Set a trial's state, with a value if it ends with one."""
        self._storage.set_trial_state_values(self._id(number), state, None if value is None else [value])
        trial = self.all[number]
        if value is not None:
            trial.value = value
        now = datetime.now()
        if state == TrialState.RUNNING:
            trial.datetime_start = now
        if state.is_finished():
            trial.datetime_complete = now
        trial.state = state
        self.versions[number] += 1

    def set_params(self, number: int, params: Mapping[str, Any], domains: Mapping[str, BaseDistribution]) -> None:
        """Set a trial's parameters, as Optuna stores them."""
        for name, value in params.items():
            internal = domains[name].to_internal_repr(value)
            self._storage.set_trial_param(self._id(number), name, internal, domains[name])
        trial = self.all[number]
        trial.params = {**trial.params, **params}
        trial.distributions = {**trial.distributions, **{name: domains[name] for name in params}}
        self.versions[number] += 1

    def report(self, number: int, epoch: int, value: float) -> None:
        """Record a trial's value after an epoch."""
        self._storage.set_trial_intermediate_value(self._id(number), epoch, value)
        self.all[number].intermediate_values[epoch] = value
        self.versions[number] += 1

    def set_user_attr(self, number: int, key: str, value: Any) -> None:
        """Set an attribute that the dashboard shows."""
        self._storage.set_trial_user_attr(self._id(number), key, value)
        self.all[number].user_attrs[key] = value
        self.versions[number] += 1

    def set_system_attr(self, number: int, key: str, value: Any) -> None:
        """Set an attribute that the dashboard does not show."""
        self._storage.set_trial_system_attr(self._id(number), key, value)
        self.all[number].system_attrs[key] = value
        self.versions[number] += 1

    def _id(self, number: int) -> int:
        if number not in self._ids:
            self._ids[number] = self._storage.get_trial_id_from_study_id_trial_number(self._study_id, number)
        return self._ids[number]
