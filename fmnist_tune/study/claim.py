"""One driver per study, also where several studies folders share a database and know nothing of each other's locks."""

from __future__ import annotations

import time
from socket import gethostname
from typing import Any

import optuna

from fmnist_tune.errors import UserError
from fmnist_tune.study.database import StorageLostError
from fmnist_tune.study.layout import StudyPaths

DRIVER_KEY = "driver"  # who drives the study, and when that was last sure; None after the end of a run
DEAD_AFTER_S = 120.0
RENEWED_EVERY_S = 20.0


class Claim:
    """What a driver says in the study while it lives; it also holds the lock of its folder."""

    def __init__(self, study: optuna.Study, paths: StudyPaths) -> None:
        """Know a study; nothing is said yet."""
        self._study = study
        self._paths = paths
        self._folder_id: str | None = None
        self._renewed_at = 0.0

    def take(self, folder_id: str) -> None:
        """Take the study.

        Args:
            folder_id: of the study's folder, as its lock has it: who holds that lock has outlived who held it before.

        Raises:
            UserError: a driver from another folder has the study, or was killed less than DEAD_AFTER_S seconds ago.
        """
        known = self._known()
        since_s = 0.0 if known is None else time.time() - known["at"]
        if known is not None and known["folder_id"] != folder_id and since_s < DEAD_AFTER_S:
            raise UserError(
                f"study {self._paths.name} is being searched already, from {_place(known)}, as of {since_s:.0f} s ago; "
                "wait for its end, or, if it was killed, go on from there, where its checkpoints are, or from here "
                f"after {DEAD_AFTER_S - since_s:.0f} s more"
            )
        self._folder_id = folder_id
        self._write()

    def renew(self) -> None:
        """Say that the driver lives, if that was not said just now; to be called often.

        Raises:
            StorageLostError: another one has taken the study, this one having been silent for too long.
        """
        if self._folder_id is None or time.monotonic() - self._renewed_at < RENEWED_EVERY_S:
            return
        known = self._known()
        if known is not None and known["folder_id"] != self._folder_id:
            raise StorageLostError(f"it is being searched from {_place(known)}")
        self._write()

    def end(self) -> None:
        """Say that nobody drives the study any more, unless somebody else does."""
        known = self._known()
        if known is not None and known["folder_id"] == self._folder_id:
            self._study._storage.set_study_system_attr(self._study._study_id, DRIVER_KEY, None)
        self._folder_id = None

    def _known(self) -> dict[str, Any] | None:
        attributes = self._study._storage.get_study_system_attrs(self._study._study_id)
        known: dict[str, Any] | None = attributes.get(DRIVER_KEY)
        return known

    def _write(self) -> None:
        folder = str(self._paths.studies_dir.absolute())
        claim: dict[str, Any] = {"folder_id": self._folder_id, "folder": folder, "host": gethostname()}
        claim["at"] = time.time()
        self._study._storage.set_study_system_attr(self._study._study_id, DRIVER_KEY, claim)
        self._renewed_at = time.monotonic()


def _place(known: dict[str, Any]) -> str:
    return f"{known['folder']} on {known['host']}"
