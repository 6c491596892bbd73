"""The database that holds every study: one SQLite file in write-ahead mode, or any URL that Optuna takes."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import optuna
import sqlalchemy
from optuna.exceptions import StorageInternalError
from optuna.storages import RDBStorage

from fmnist_tune.errors import DISK_ERRNOS, UserError
from fmnist_tune.study.layout import STUDIES_DIR, command_line, without_password

optuna.logging.set_verbosity(optuna.logging.ERROR)

BUSY_TIMEOUT_S = 60.0


def database_url(studies_dir: Path) -> str:
    """Return the URL of the database in a studies folder.

    Raises:
        UserError: a URL cannot name it.
    """
    if set("?%{}") & set(str(studies_dir)):
        raise UserError(f"--studies-dir {studies_dir}: no ?, %, {{ or }} may be in it, since a URL names the database")
    return f"sqlite:///{studies_dir / 'studies.db'}"


def open_database(url: str, *, create: bool) -> RDBStorage:
    """Connect to a database.

    Args:
        url: SQLAlchemy's; a SQLite file is checked before anything touches it.
        create: make the file and its tables if they are not there.

    Raises:
        UserError: there is no such database, it is something else, or it is from a newer Optuna.
    """
    if url.startswith("sqlite:///"):
        path = Path(url.removeprefix("sqlite:///"))
        if not _is_ours(path):
            if not create:
                given = None if url == database_url(path.parent) else url
                studies_dir = STUDIES_DIR if given else path.parent
                search = command_line("search", "search_spaces/cnn.yaml", studies_dir=studies_dir, storage=given)
                raise UserError(f"{path}: no studies yet; start one with `{search}`")
            if not path.parent.is_dir():
                raise UserError(f"{path.parent}: no such directory")
        with _database_errors(url):
            return _open_sqlite(url)
    with _database_errors(url):
        return RDBStorage(url)


def warm_up() -> None:
    """Have Optuna import what it needs when it first opens a database, which takes a second on a slow machine."""
    RDBStorage("sqlite://").engine.dispose()  # in memory


def study_exists(url: str, name: str) -> bool:
    """Tell whether a database has a study; creates neither.

    Raises:
        UserError: something else than a study database is there.
    """
    return database_exists(url) and name in study_names(open_database(url, create=False))


def database_exists(url: str) -> bool:
    """Tell whether there is a database, as far as that can be told without connecting to it.

    Raises:
        UserError: something else than a study database is there.
    """
    return not url.startswith("sqlite:///") or _is_ours(Path(url.removeprefix("sqlite:///")))


def study_names(storage: RDBStorage) -> list[str]:
    """Return the names of all studies in a database."""
    return [str(name) for name in optuna.get_all_study_names(storage)]


def rename_row(storage: RDBStorage, old: str, new: str) -> None:
    """Give a study another name in its database, in one statement: a kill leaves it with one of them.

    Optuna cannot: its dashboard copies a study and deletes the first one, and with it the numbers by which notes name
    their pictures. The table and its column are those of every Optuna since 0.1
    (github.com/optuna/optuna/blob/master/optuna/storages/_rdb/models.py).

    Raises:
        UserError: a study of the new name is there, or none of the old one.
    """
    statement = sqlalchemy.text("UPDATE studies SET study_name = :new WHERE study_name = :old")
    try:
        with storage.engine.begin() as connection:
            n_renamed = connection.execute(statement, {"old": old, "new": new}).rowcount
    except sqlalchemy.exc.IntegrityError:
        raise UserError(f"study {new!r} is there already; choose another name") from None
    if not n_renamed:
        raise UserError(f"study {old!r}: no such study any more")


def _open_sqlite(url: str) -> RDBStorage:
    path = url.removeprefix("sqlite:///")
    with contextlib.closing(sqlite3.connect(path, timeout=BUSY_TIMEOUT_S)) as connection:
        connection.execute("PRAGMA journal_mode=wal")  # stays with the file
    storage = RDBStorage(url, engine_kwargs={"connect_args": {"timeout": BUSY_TIMEOUT_S}})
    sqlalchemy.event.listen(storage.engine, "connect", _on_connect)
    storage.engine.dispose()  # connections made before the listener
    return storage


def _on_connect(connection: sqlite3.Connection, _: Any) -> None:
    # In write-ahead mode NORMAL keeps every commit when a process dies, and the file whole when the power does;
    # the last commits that a power cut may take are in the trials' checkpoints too.
    connection.execute("PRAGMA synchronous=NORMAL")


def _is_ours(path: Path) -> bool:
    """Tell whether an Optuna database is there; False where nothing is.

    Raises:
        UserError: something else is there; it is left as it is.
    """
    try:
        if not path.exists():
            return False
        if path.is_dir():
            raise UserError(f"{path}: a directory, not a study database")
        if path.stat().st_size == 0:
            return False
        if not (os.access(path, os.W_OK) and os.access(path.parent, os.W_OK)):
            raise UserError(f"{path}: read-only, the file or its folder; also reading a study needs a place for locks")
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from None
    # By SQLite alone: whoever opens the file and closes it takes the locks of this process's connections with it, and
    # then another program that closes the database deletes the write-ahead log that they go on writing to
    # (sqlite.org/howtocorrupt.html, 2.2).
    uri = f"{path.absolute().as_uri()}?mode=ro"
    with (
        _database_errors(str(path)),
        contextlib.closing(sqlite3.connect(uri, uri=True, timeout=BUSY_TIMEOUT_S)) as connection,
    ):
        try:
            tables = {row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        except sqlite3.DatabaseError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_NOTADB:
                raise
            raise UserError(
                f"{path}: not a study database (not an SQLite file); it is left as it is: give another --studies-dir"
            ) from None
        if tables and "studies" in tables and "trials" in tables:
            return True
        if tables:
            raise UserError(
                f"{path}: an SQLite file, but not a study database; it is left as it is: give another --studies-dir"
            )
    return False


class StorageLostError(BaseException):
    """A study cannot be written any more; not an Exception, since Ray Tune would take it for a trial's."""


STORAGE_ERRORS = (StorageInternalError, sqlalchemy.exc.SQLAlchemyError, OSError)


def storage_trouble(error: Exception) -> str | None:
    """Return why a study's database or disk cannot be written; None if an error, a worker's too, is something else."""
    error = getattr(error, "cause", None) or error  # of Ray's RayTaskError
    if isinstance(error, OSError):
        return error.strerror if error.errno in DISK_ERRNOS else None
    if isinstance(error, STORAGE_ERRORS):
        return str(error.__cause__ or error).partition("\n")[0]
    return None


@contextlib.contextmanager
def storage_errors() -> Iterator[None]:
    """Turn errors of a study's database, and of the files that the driver keeps beside it, into StorageLostError."""
    try:
        yield
    except STORAGE_ERRORS as error:
        cause = error.__cause__ or error
        raise StorageLostError(str(cause).splitlines()[0]) from error


@contextlib.contextmanager
def _database_errors(where: str) -> Iterator[None]:
    try:
        yield
    except (sqlite3.Error, sqlalchemy.exc.SQLAlchemyError) as error:
        first = str(error).splitlines()[0]
        raise UserError(f"{without_password(where)}: cannot be used as a study database: {first}") from None
    except (ImportError, RuntimeError) as error:
        raise UserError(f"{without_password(where)}: cannot be used as a study database: {error}") from None
