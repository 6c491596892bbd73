"""A study's database whose driver is killed at a chosen write."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import sqlalchemy
from optuna.distributions import BaseDistribution
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, TrialState

from fmnist_tune.study.database import database_url, open_database

T = TypeVar("T")


class DriverKilledError(BaseException):
    """The driver is dead, and whatever it has not written is lost."""


class MortalStorage(RDBStorage):
    """A study's database in SQLite that lets so many writes pass, each a transaction, and kills the driver then.

    Attributes:
        n_left: writes until the driver dies; None for ever.
        dies_after: whether it dies right after the last of them, and not right before the next one: what it does to
            files in between is done or not.
    """

    def __init__(self, folder: Path) -> None:
        """Open the database in a folder of studies, or make it."""
        if not (folder / "studies.db").exists():
            open_database(database_url(folder), create=True).engine.dispose()
        super().__init__(database_url(folder), skip_table_creation=True, skip_compatibility_check=True)
        self.n_left: int | None = None
        self.dies_after = False
        sqlalchemy.event.listen(self.engine, "connect", lambda c, _: c.execute("PRAGMA synchronous=OFF"))
        self.engine.dispose()  # connections made before the listener

    def die_in(self, n_writes: int, *, after: bool = True) -> None:
        """Let so many writes pass and kill the driver right after the last of them, or right before the next one."""
        self.n_left, self.dies_after = n_writes, after

    def pass_on(self, write: Callable[[], T]) -> T:
        """Write, unless the driver is dead."""
        if self.n_left is None:
            return write()
        if not self.n_left:
            raise DriverKilledError
        result = write()
        self.n_left -= 1
        if self.dies_after and not self.n_left:
            raise DriverKilledError
        return result

    def create_new_trial(self, study_id: int, template_trial: FrozenTrial | None = None) -> int:
        return self.pass_on(lambda: super(MortalStorage, self).create_new_trial(study_id, template_trial))

    def set_trial_param(
        self, trial_id: int, param_name: str, param_value_internal: float, distribution: BaseDistribution
    ) -> None:
        self.pass_on(
            lambda: super(MortalStorage, self).set_trial_param(trial_id, param_name, param_value_internal, distribution)
        )

    def set_trial_state_values(self, trial_id: int, state: TrialState, values: Sequence[float] | None = None) -> bool:
        return self.pass_on(lambda: super(MortalStorage, self).set_trial_state_values(trial_id, state, values))

    def set_trial_intermediate_value(self, trial_id: int, step: int, intermediate_value: float) -> None:
        self.pass_on(
            lambda: super(MortalStorage, self).set_trial_intermediate_value(trial_id, step, intermediate_value)
        )

    def set_trial_user_attr(self, trial_id: int, key: str, value: Any) -> None:
        self.pass_on(lambda: super(MortalStorage, self).set_trial_user_attr(trial_id, key, value))

    def set_trial_system_attr(self, trial_id: int, key: str, value: Any) -> None:
        self.pass_on(lambda: super(MortalStorage, self).set_trial_system_attr(trial_id, key, value))

    def set_study_user_attr(self, study_id: int, key: str, value: Any) -> None:
        self.pass_on(lambda: super(MortalStorage, self).set_study_user_attr(study_id, key, value))

    def set_study_system_attr(self, study_id: int, key: str, value: Any) -> None:
        self.pass_on(lambda: super(MortalStorage, self).set_study_system_attr(study_id, key, value))
