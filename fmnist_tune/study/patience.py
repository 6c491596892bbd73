"""A study's storage on a database server: calls that fail because the server restarts are retried.

A transaction whose response is lost may have been committed. Repeating a read or a write of a value is harmless; a new
trial carries a mark by which a retry finds it.
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
REQUEST_KEY = "fmnist_tune:request"  # system attribute of a trial: identifies the request that created it

T = TypeVar("T")


def patient(storage: RDBStorage) -> BaseStorage:
    """Return a storage that survives a restart of its server; SQLite has no server, and waits by itself."""
    return storage if storage.engine.dialect.name == "sqlite" else PatientStorage(get_storage(storage))


class PatientStorage(BaseStorage):
    """A storage whose calls are retried for PATIENCE_S seconds while its server does not answer."""

    def __init__(self, storage: BaseStorage) -> None:
        self._storage = storage

    def create_new_study(self, directions: Sequence[StudyDirection], study_name: str | None = None) -> int:
        """Create a study; one that exists after a failed try is taken to be this one."""

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
        """Return a study's directions."""
        return _persist(lambda: self._storage.get_study_directions(study_id))

    def get_study_user_attrs(self, study_id: int) -> dict[str, Any]:
        """Return a study's user attributes."""
        return _persist(lambda: self._storage.get_study_user_attrs(study_id))

    def get_study_system_attrs(self, study_id: int) -> dict[str, Any]:
        """Return a study's system attributes."""
        return _persist(lambda: self._storage.get_study_system_attrs(study_id))

    def get_all_studies(self) -> list[Any]:  # FrozenStudy, which Optuna has only in a private module
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
        """Set a trial's state; return whether it has that state now."""

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
        call: consists of whole transactions only.
        again: called before every retry; returns the result if an earlier try succeeded, or None.

    Raises:
        StorageInternalError: the server did not answer for PATIENCE_S seconds.
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
    """Return whether an error is due to the connection, not the statement."""
    cause = error.__cause__ if isinstance(error, StorageInternalError) else error
    if isinstance(cause, PendingRollbackError):  # Optuna itself retries some statements, without a new transaction
        return True
    return isinstance(cause, DBAPIError) and (
        cause.connection_invalidated or isinstance(cause, OperationalError | InterfaceError)
    )
