"""A study's storage on a database server, which may be restarted: what fails for that is tried again.

A transaction whose answer is lost may have been committed all the same. Reading again and setting a value again do no
harm; a new trial has a mark of its own, by which it is found if it is there already.
"""

from __future__ import annotations

import copy
import time
import uuid
from collections.abc import Callable, Container, Sequence
from typing import Any, TypeVar

import optuna
from optuna.distributions import BaseDistribution
from optuna.exceptions import StorageInternalError
from optuna.storages import BaseStorage, RDBStorage, get_storage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError, PendingRollbackError

PATIENCE_S = 60.0
PAUSE_S = 0.5
REQUEST_KEY = "fmnist_tune:request"  # system attribute of a trial: a mark of the request that made it

T = TypeVar("T")


def patient(storage: RDBStorage) -> BaseStorage:
    """Return a storage that outlives a restart of its server; SQLite has none, and waits by itself."""
    return storage if storage.engine.dialect.name == "sqlite" else PatientStorage(get_storage(storage))


class PatientStorage(BaseStorage):
    """A storage whose calls are tried again for PATIENCE_S seconds while its server does not answer."""

    def __init__(self, storage: BaseStorage) -> None:
        self._storage = storage

    def create_new_study(self, directions: Sequence[StudyDirection], study_name: str | None = None) -> int:
        """Create a study; one that is there after a first try failed is taken for that one."""

        def again() -> int | None:
            try:
                return None if study_name is None else self._storage.get_study_id_from_name(study_name)
            except KeyError:
                return None

        return _persist(lambda: self._storage.create_new_study(directions, study_name), again)

    def delete_study(self, study_id: int) -> None:
        """Delete a study."""

        name = self._storage.get_study_name_from_id(study_id)

        def delete() -> bool:
            self._storage.delete_study(study_id)
            return True

        def again() -> bool | None:
            return None if any(study.study_name == name for study in self._storage.get_all_studies()) else True

        _persist(delete, again)

    def set_study_user_attr(self, study_id: int, key: str, value: Any) -> None:
        """Set a study's user attribute."""
        _persist(lambda: self._storage.set_study_user_attr(study_id, key, value))

    def set_study_system_attr(self, study_id: int, key: str, value: Any) -> None:
        """Set a study's system attribute."""
        _persist(lambda: self._storage.set_study_system_attr(study_id, key, value))

    def get_study_id_from_name(self, study_name: str) -> int:
        """Return the id of a study."""
        return _persist(lambda: self._storage.get_study_id_from_name(study_name))

    def get_study_name_from_id(self, study_id: int) -> str:
        """Return the name of a study."""
        return _persist(lambda: self._storage.get_study_name_from_id(study_id))

    def get_study_directions(self, study_id: int) -> list[StudyDirection]:
        """Return what a study does with its values."""
        return _persist(lambda: self._storage.get_study_directions(study_id))

    def get_study_user_attrs(self, study_id: int) -> dict[str, Any]:
        """Return a study's user attributes."""
        return _persist(lambda: self._storage.get_study_user_attrs(study_id))

    def get_study_system_attrs(self, study_id: int) -> dict[str, Any]:
        """Return a study's system attributes."""
        return _persist(lambda: self._storage.get_study_system_attrs(study_id))

    def get_all_studies(self) -> list[Any]:  # of a class that Optuna has in a private module alone
        """Return every study."""
        return _persist(self._storage.get_all_studies)

    def create_new_trial(self, study_id: int, template_trial: FrozenTrial | None = None) -> int:
        """Create a trial, once."""
        template = optuna.trial.create_trial(state=TrialState.RUNNING) if template_trial is None else template_trial
        template, request = copy.deepcopy(template), uuid.uuid4().hex
        template.system_attrs = {**template.system_attrs, REQUEST_KEY: request}

        def again() -> int | None:
            trials = self._storage.get_all_trials(study_id, deepcopy=False)
            made = [t.number for t in trials if t.system_attrs.get(REQUEST_KEY) == request]
            return self._storage.get_trial_id_from_study_id_trial_number(study_id, made[0]) if made else None

        return _persist(lambda: self._storage.create_new_trial(study_id, template), again)

    def set_trial_param(
        self, trial_id: int, param_name: str, param_value_internal: float, distribution: BaseDistribution
    ) -> None:
        """Set a trial's parameter."""
        _persist(lambda: self._storage.set_trial_param(trial_id, param_name, param_value_internal, distribution))

    def get_trial_id_from_study_id_trial_number(self, study_id: int, trial_number: int) -> int:
        """Return the id of a trial."""
        return _persist(lambda: self._storage.get_trial_id_from_study_id_trial_number(study_id, trial_number))

    def set_trial_state_values(self, trial_id: int, state: TrialState, values: Sequence[float] | None = None) -> bool:
        """Set a trial's state; returns whether it has it now."""

        def again() -> bool | None:
            return True if self._storage.get_trial(trial_id).state == state else None

        return _persist(lambda: self._storage.set_trial_state_values(trial_id, state, values), again)

    def set_trial_intermediate_value(self, trial_id: int, step: int, intermediate_value: float) -> None:
        """Set a trial's value after a step."""
        _persist(lambda: self._storage.set_trial_intermediate_value(trial_id, step, intermediate_value))

    def set_trial_user_attr(self, trial_id: int, key: str, value: Any) -> None:
        """Set a trial's user attribute."""
        _persist(lambda: self._storage.set_trial_user_attr(trial_id, key, value))

    def set_trial_system_attr(self, trial_id: int, key: str, value: Any) -> None:
        """Set a trial's system attribute."""
        _persist(lambda: self._storage.set_trial_system_attr(trial_id, key, value))

    def get_trial(self, trial_id: int) -> FrozenTrial:
        """Return a trial."""
        return _persist(lambda: self._storage.get_trial(trial_id))

    def get_all_trials(
        self, study_id: int, deepcopy: bool = True, states: Container[TrialState] | None = None
    ) -> list[FrozenTrial]:
        """Return a study's trials."""
        return _persist(lambda: self._storage.get_all_trials(study_id, deepcopy=deepcopy, states=states))

    def remove_session(self) -> None:
        """Close this thread's connections."""
        self._storage.remove_session()


def _persist(call: Callable[[], T], again: Callable[[], T | None] = lambda: None) -> T:
    """Call until the server answers.

    Args:
        call: to be tried, with nothing but whole transactions in it.
        again: asked before every further try whether an earlier one has succeeded: its result, or None.

    Raises:
        StorageInternalError: it did not answer for PATIENCE_S seconds.
    """
    until = time.monotonic() + PATIENCE_S
    try:
        return call()
    except (StorageInternalError, DBAPIError, PendingRollbackError) as error:
        if not is_server_away(error):
            raise
    while True:
        time.sleep(PAUSE_S)
        try:
            known = again()
            return call() if known is None else known
        except (StorageInternalError, DBAPIError, PendingRollbackError) as error:
            if not is_server_away(error) or time.monotonic() > until:
                raise


def is_server_away(error: Exception) -> bool:
    """Return whether an error is the connection's, and not the statement's."""
    cause = error.__cause__ if isinstance(error, StorageInternalError) else error
    if isinstance(cause, PendingRollbackError):  # Optuna tries some statements again itself, without a new transaction
        return True
    return isinstance(cause, DBAPIError) and (
        cause.connection_invalidated or isinstance(cause, OperationalError | InterfaceError)
    )
