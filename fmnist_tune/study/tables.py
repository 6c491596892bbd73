"""Optuna's tables: created in one transaction in SQLite, and completed if a process was killed while creating them."""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path

import sqlalchemy
from optuna.storages import RDBStorage
from sqlalchemy import Connection, Engine

from fmnist_tune.study.lease import LEASES

# Optuna 5's; the last one gets its row after the others are created.
_LAST = "alembic_version"
_TABLES = {
    *("studies", "version_info", "study_directions", "study_user_attributes", "study_system_attributes", "trials"),
    *("trial_user_attributes", "trial_system_attributes", "trial_params", "trial_values", "trial_intermediate_values"),
    *("trial_heartbeats", _LAST),
}


def are_tables_ours(tables: set[str]) -> bool:
    """Return whether a database is a study database, or the start of one."""
    return {"studies", "trials"} <= tables or tables <= {*_TABLES, LEASES.name}


def are_tables_whole(connection: sqlite3.Connection, tables: set[str]) -> bool:
    """Return whether a SQLite file's tables are complete: the last one has its row, or there are studies."""
    if not {"studies", "trials"} <= tables:
        return False
    return any(connection.execute(f"SELECT 1 FROM {name} LIMIT 1").fetchone() for name in {_LAST, "studies"} & tables)


def make_tables(path: Path, timeout_s: float) -> None:
    """Create the missing tables, indexes and versions of Optuna in a SQLite file, all or none.

    Args:
        path: of the file, created if missing.
        timeout_s: how long to wait for another writer.
    """
    objects, versions = _model()
    with contextlib.closing(sqlite3.connect(path, timeout=timeout_s, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode=wal")
        connection.execute("BEGIN IMMEDIATE")
        known = {name for (name,) in connection.execute("SELECT name FROM sqlite_master")}
        for name, sql in objects:
            if name not in known:
                connection.execute(sql)
        for table, row in versions:
            if connection.execute(f"SELECT 1 FROM {table}").fetchone() is None:
                connection.execute(f"INSERT INTO {table} VALUES ({', '.join('?' * len(row))})", row)
        connection.execute("COMMIT")


def _model() -> tuple[list[tuple[str, str]], list[tuple[str, tuple[object, ...]]]]:
    """Return a new database's content: each object's name and SQL, tables first, and rows by table."""
    engine = RDBStorage("sqlite://").engine  # in memory
    try:
        with engine.connect() as connection:
            found = connection.exec_driver_sql(
                "SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL ORDER BY type = 'table' DESC"
            )
            objects = [(name, sql) for name, sql in found]
            versions = [
                (table, tuple(row))
                for table in ("version_info", _LAST)
                for row in connection.exec_driver_sql(f"SELECT * FROM {table}")
            ]
            return objects, versions
    finally:
        engine.dispose()


def is_server_whole(connection: Connection) -> bool:
    """Return whether Optuna's tables are complete in a server's database."""
    if not sqlalchemy.inspect(connection).has_table(_LAST):
        return False
    return connection.execute(sqlalchemy.text(f"SELECT 1 FROM {_LAST}")).first() is not None


def finish_indexes(engine: Engine) -> None:
    """Create missing indexes; Optuna creates an index only together with its table."""
    model = RDBStorage("sqlite://").engine
    metadata = sqlalchemy.MetaData()
    metadata.reflect(model)
    model.dispose()
    for table in metadata.tables.values():
        for index in table.indexes:
            index.create(engine, checkfirst=True)
