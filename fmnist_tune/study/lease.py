"""One driver per study, even if several studies folders, whose locks do not see each other, share a database.

The lease is a row in a table of ours beside Optuna's: it is acquired and renewed in one statement each, by the
database's clock. The lock of the study's folder (`lock`) is taken first; its previous holder is known to be dead.
"""

from __future__ import annotations

import threading
import uuid
from contextlib import suppress
from dataclasses import dataclass
from socket import gethostname
from typing import Any

import sqlalchemy
from optuna.exceptions import StorageInternalError
from optuna.storages import RDBStorage
from sqlalchemy import Column, Double, Engine, MetaData, String, Table
from sqlalchemy.exc import DBAPIError, IntegrityError, OperationalError, SQLAlchemyError

from fmnist_tune.errors import UserError
from fmnist_tune.study.layout import StudyPaths

DEAD_AFTER_S = 120.0
RENEWED_EVERY_S = 10.0
LEASES = Table(
    "fmnist_tune_leases",
    MetaData(),
    Column("study_name", String(80), primary_key=True),
    Column("token", String(32), nullable=False),  # of the driver
    Column("folder_id", String(32), nullable=False),  # of its study's folder, from its lock
    Column("place", String(512), nullable=False),  # shown to people
    Column("renewed_at", Double, nullable=False),  # seconds since 1970 by the database's clock
)
_CLOCKS = {
    "sqlite": "(julianday('now') - 2440587.5) * 86400.0",
    "postgresql": "CAST(extract(epoch FROM clock_timestamp()) AS double precision)",
    "mysql": "unix_timestamp(sysdate(6)) + 0.0",
    "mariadb": "unix_timestamp(sysdate(6)) + 0.0",
}


@dataclass(frozen=True)
class Holder:
    """The lease holder, which drives a study.

    Attributes:
        folder_id: of its study's folder.
        place: that folder and its machine, as text.
        age_s: seconds since the latest renewal.
    """

    folder_id: str
    place: str
    age_s: float


class Lease:
    """A driver's right to write a study, renewed by a thread while its process lives."""

    def __init__(self, storage: RDBStorage, paths: StudyPaths) -> None:
        """Make a lease on a study, not yet acquired."""
        self._storage = storage
        self._engine = storage.engine
        self._paths = paths
        self._token: str | None = None
        self._study_id: int | None = None
        self._lost: str | None = None
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None

    def take(self, folder_id: str) -> None:
        """Acquire the lease.

        Args:
            folder_id: of the study's folder, from its lock.

        Raises:
            UserError: a driver from another folder holds it, or was killed less than DEAD_AFTER_S seconds ago.
        """
        _make_table(self._engine)
        place = f"{self._paths.studies_dir.absolute()} on {gethostname()}"[:512]
        row = {"token": uuid.uuid4().hex, "folder_id": folder_id, "place": place}
        while not self._write(row):
            holder = holder_of(self._engine, self._paths.name)
            if holder is not None:
                raise UserError(
                    f"study {self._paths.name} is being searched or trained already, from {holder.place}, as of "
                    f"{holder.age_s:.0f} s ago; wait for its end, or, if it was killed, go on from there, where its "
                    f"checkpoints are, or from here after {DEAD_AFTER_S - holder.age_s:.0f} s more"
                )
        self._token, self._lost = row["token"], None
        self._study_id = self._find_study()
        self._ended.clear()
        self._thread = threading.Thread(target=self._renew, name="lease", daemon=True)
        self._thread.start()

    def _write(self, row: dict[str, str]) -> bool:
        """Write the row unless another driver holds the study; return whether it was written."""
        now = _clock(self._engine)
        named = LEASES.c.study_name == self._paths.name
        is_free = (LEASES.c.folder_id == row["folder_id"]) | (LEASES.c.renewed_at < now - DEAD_AFTER_S)
        try:
            with self._engine.begin() as connection:
                values = {**row, "renewed_at": now}
                if connection.execute(LEASES.update().where(named & is_free).values(values)).rowcount:
                    return True
                if connection.execute(sqlalchemy.select(LEASES.c.token).where(named)).first() is not None:
                    return False
                connection.execute(LEASES.insert().values(study_name=self._paths.name, **values))
                return True
        except (IntegrityError, OperationalError):  # another driver was faster; InnoDB reports a deadlock
            return False

    @property
    def loss(self) -> str | None:
        """Why the latest renewal found the lease lost; None while it is held."""
        return self._lost

    def find_loss(self) -> str | None:
        """Renew the lease; return why it is lost, None if it is held or was never acquired.

        Raises:
            SQLAlchemyError, StorageInternalError: the database does not answer.
        """
        if self._token is None:
            return None
        if self._find_study() != self._study_id:
            return "the study was deleted"
        with self._engine.begin() as connection:
            mine = (LEASES.c.study_name == self._paths.name) & (LEASES.c.token == self._token)
            if connection.execute(LEASES.update().where(mine).values(renewed_at=_clock(self._engine))).rowcount:
                return None
        holder = holder_of(self._engine, self._paths.name)
        return "the study was taken over" + (f" from {holder.place}" if holder else "")

    def _find_study(self) -> int | None:
        try:
            return self._storage.get_study_id_from_name(self._paths.name)
        except KeyError:
            return None

    def _renew(self) -> None:
        while not self._ended.wait(RENEWED_EVERY_S):
            # A server restart is no loss; if the server stays away, writing the study fails.
            with suppress(SQLAlchemyError, StorageInternalError):
                self._lost = self.find_loss()
            if self._lost is not None:
                return

    def end(self) -> None:
        """Release the lease if it is still held; do nothing if it was never acquired.

        Raises:
            SQLAlchemyError: the database cannot be written.
        """
        token, self._token = self._token, None
        self._ended.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        if token is not None:
            with self._engine.begin() as connection:
                connection.execute(LEASES.delete().where(LEASES.c.token == token))


def holder_of(engine: Engine, study_name: str) -> Holder | None:
    """Return a study's lease holder; None without one, or if it was silent for too long."""
    return holders(engine).get(study_name)


def holders(engine: Engine) -> dict[str, Holder]:
    """Return the lease holders of a database, by study name."""
    if not sqlalchemy.inspect(engine).has_table(LEASES.name):
        return {}
    age = (_clock(engine) - LEASES.c.renewed_at).label("age")
    with engine.connect() as connection:
        rows = connection.execute(sqlalchemy.select(LEASES.c.study_name, LEASES.c.folder_id, LEASES.c.place, age)).all()
    return {
        name: Holder(folder_id, place, max(0.0, float(age_s)))
        for name, folder_id, place, age_s in rows
        if age_s < DEAD_AFTER_S
    }


def _make_table(engine: Engine) -> None:
    try:
        LEASES.create(engine, checkfirst=True)
    except DBAPIError:  # another driver created it at the same time
        if not sqlalchemy.inspect(engine).has_table(LEASES.name):
            raise


def _clock(engine: Engine) -> Any:
    """Return the database's time as SQL."""
    name = engine.dialect.name
    if name not in _CLOCKS:
        raise UserError(f"--storage {name}: not a kind of database that is supported: {', '.join(_CLOCKS)}")
    return sqlalchemy.literal_column(_CLOCKS[name], Double)
