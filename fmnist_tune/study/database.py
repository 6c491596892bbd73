"""The database of all studies: one SQLite file in WAL mode, or any URL that Optuna takes."""

from __future__ import annotations

import contextlib
import os
import shlex
import sqlite3
import time
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import optuna
import sqlalchemy
from optuna.exceptions import StorageInternalError
from optuna.storages import RDBStorage

from fmnist_tune.config.schema import DATABASE
from fmnist_tune.errors import DISK_ERRNOS, UserError
from fmnist_tune.study.layout import STUDIES_DIR, command_line, files_of
from fmnist_tune.study.tables import are_tables_ours, are_tables_whole, finish_indexes, is_server_whole, make_tables
from fmnist_tune.study.url import mask, sqlite_path, without_secrets

optuna.logging.set_verbosity(optuna.logging.ERROR)

BUSY_TIMEOUT_S = 60.0


def database_url(studies_dir: Path) -> str:
    """Return the URL of the database in a studies folder.

    Raises:
        UserError: a URL cannot express its path.
    """
    if set("?%{}") & set(str(studies_dir)):
        raise UserError(f"--studies-dir {studies_dir}: no ?, %, {{ or }} may be in it, since a URL names the database")
    return f"sqlite:///{studies_dir / DATABASE}"


def open_database(url: str, *, create: bool) -> RDBStorage:
    """Connect to a database.

    Args:
        url: SQLAlchemy's; a SQLite file is checked before anything touches it.
        create: create the file and its tables, or complete them, if they are missing.

        Raises:
            UserError: there is no such database, it is something else, or it is from a newer Optuna.
    """
    path = sqlite_path(url)
    with _database_errors(url):
        if not (_is_whole(path) if path is not None else _is_server_whole(url)):
            if not create:
                raise _no_studies(url, path)
            _create(url, path)
        return _connect(url, path)


def warm_up() -> None:
    """Trigger Optuna's lazy imports for databases, which take a second on a slow machine."""
    RDBStorage("sqlite://").engine.dispose()  # in memory


def study_exists(url: str, name: str) -> bool:
    """Return whether a database has a study; create neither.

    Raises:
        UserError: it is not a study database.
    """
    return name in names_in(url)


def database_exists(url: str) -> bool:
    """Return whether there is a study database.

    Raises:
        UserError: it is something else.
    """
    path = sqlite_path(url)
    with _database_errors(url):
        return _is_whole(path) if path is not None else _is_server_whole(url)


def study_names(storage: RDBStorage) -> list[str]:
    """Return the names of all studies in a database."""
    return [str(name) for name in optuna.get_all_study_names(storage)]


def rename_row(storage: RDBStorage, old: str, new: str) -> None:
    """Rename a study in its database, in one statement: after a kill it has the old or the new name.

    Optuna has no such function. Its dashboard copies a study and deletes the original, and with it the ids that notes
    use for images. The table and its column are in every Optuna since 0.1
    (github.com/optuna/optuna/blob/master/optuna/storages/_rdb/models.py).

    Raises:
        UserError: the new name is taken, or no study has the old one.
    """
    statement = sqlalchemy.text("UPDATE studies SET study_name = :new WHERE study_name = :old")
    try:
        with storage.engine.begin() as connection:
            n_renamed = connection.execute(statement, {"old": old, "new": new}).rowcount
    except sqlalchemy.exc.IntegrityError:
        raise UserError(f"study {new!r} is there already; choose another name") from None
    if not n_renamed:
        raise UserError(f"study {old!r}: no such study any more")


def names_in(url: str) -> list[str]:
    """Return the names of the studies in a database; none if it does not exist.

    Raises:
        UserError: it is not a study database.
    """
    return study_names(open_database(url, create=False)) if database_exists(url) else []


def _no_studies(url: str, path: Path | None) -> UserError:
    is_usual = path is not None and path.name == DATABASE and url == database_url(path.parent)
    studies_dir = path.parent if path is not None and is_usual else STUDIES_DIR
    search = command_line(
        "search", "search_spaces/cnn.yaml", studies_dir=studies_dir, storage=None if is_usual else url
    )
    return UserError(f"{path or without_secrets(url)}: no studies yet; start one with `{search}`")


def _create(url: str, path: Path | None) -> None:
    if path is not None:
        if not path.parent.is_dir():
            raise UserError(f"{path.parent}: no such directory")
        make_tables(path, BUSY_TIMEOUT_S)
        return
    for attempt in range(3):
        try:
            storage = _connect(url, path, makes_tables=True)
            break
        except sqlalchemy.exc.DBAPIError:  # another process creates the same tables at the same time
            if attempt == 2:
                raise
            time.sleep(1.0)
    finish_indexes(storage.engine)
    storage.engine.dispose()


def _connect(url: str, path: Path | None, *, makes_tables: bool = False) -> RDBStorage:
    escaped = url.replace("{", "{{").replace("}", "}}")  # Optuna expands templates
    options: dict[str, Any] = {"pool_pre_ping": True}  # a server may have restarted since the last statement
    if path is not None:
        options = {"connect_args": {"timeout": BUSY_TIMEOUT_S}}
        with contextlib.closing(sqlite3.connect(path, timeout=BUSY_TIMEOUT_S)) as connection:
            connection.execute("PRAGMA journal_mode=wal")  # persists in the file
    storage = RDBStorage(escaped, engine_kwargs=options, skip_table_creation=not makes_tables)
    if path is not None:
        sqlalchemy.event.listen(storage.engine, "connect", _on_connect)
        storage.engine.dispose()  # connections from before the listener
    weakref.finalize(storage, storage.engine.dispose)
    return storage


def _on_connect(connection: sqlite3.Connection, _: Any) -> None:
    # In WAL mode, NORMAL keeps every commit if a process dies, and the file intact in a power cut. The last commits,
    # which a power cut may lose, are in the trials' checkpoints too.
    connection.execute("PRAGMA synchronous=NORMAL")
    # DatabaseFile checkpoints, and records that; otherwise the last connection to close does.
    connection.execute("PRAGMA wal_autocheckpoint=0")


def _is_server_whole(url: str) -> bool:
    """Return whether a server has this database, with all of Optuna's tables."""
    engine = sqlalchemy.create_engine(url)
    try:
        with engine.connect() as connection:
            return is_server_whole(connection)
    finally:
        engine.dispose()


def _is_whole(path: Path) -> bool:
    """Return whether a file is an Optuna database; False if it is missing or its creation was interrupted.

    Raises:
        UserError: it is something else, which is left as it is.
    """
    try:
        if not path.exists():
            return False
        if path.is_dir():
            raise UserError(f"{path}: a directory, not a study database")
        for beside in files_of(path)[1:]:
            if beside.is_dir():
                raise UserError(
                    f"{beside}: a folder of the name that SQLite uses for a file of its own; rename it, for instance "
                    f"with `{shlex.join(['mv', str(beside), f'{beside}-folder'])}`"
                )
        if path.stat().st_size == 0:
            return False
        if not (os.access(path, os.W_OK) and os.access(path.parent, os.W_OK)):
            raise UserError(f"{path}: read-only, the file or its folder; also reading a study needs a place for locks")
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from None
    # Only through SQLite: closing the file otherwise would drop the locks of this process's connections, and another
    # program that closes the database would then delete the write-ahead log that they still write to
    # (sqlite.org/howtocorrupt.html, 2.2). Opened for writing, since a killed process may have left a journal to roll
    # back first.
    uri = f"{path.absolute().as_uri()}?mode=rw"
    with contextlib.closing(sqlite3.connect(uri, uri=True, timeout=BUSY_TIMEOUT_S)) as connection:
        try:
            tables = {row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        except sqlite3.DatabaseError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_NOTADB:
                raise
            raise UserError(
                f"{path}: not a study database (not an SQLite file); it is left as it is: give another --studies-dir"
            ) from None
        if not are_tables_ours(tables):
            raise UserError(
                f"{path}: an SQLite file, but not a study database; it is left as it is: give another --studies-dir"
            )
        return are_tables_whole(connection, tables)


class StorageLostError(BaseException):
    """A study can no longer be written; not an Exception, since Ray Tune would attribute it to a trial.

    Attributes:
        advice: what to do, unless it is to repair the database and resume.
    """

    def __init__(self, reason: str, advice: str | None = None) -> None:
        super().__init__(reason)
        self.advice = advice


DATABASE_ERRORS = (StorageInternalError, sqlalchemy.exc.SQLAlchemyError, sqlite3.Error)
STORAGE_ERRORS = (*DATABASE_ERRORS, OSError)


def storage_problem(error: Exception) -> str | None:
    """Return why a study's database or disk cannot be written; None for any other error, a worker's included."""
    error = getattr(error, "cause", None) or error  # a RayTaskError wraps the worker's error
    if isinstance(error, OSError):
        return error.strerror if error.errno in DISK_ERRNOS else None
    if isinstance(error, STORAGE_ERRORS):
        return str(error.__cause__ or error).partition("\n")[0]
    return None


def database_problem(error: Exception) -> str | None:
    """Return the message of an error from an open database; None for any other error."""
    if not isinstance(error, DATABASE_ERRORS):
        return None
    return f"the database cannot be read or written any more: {str(error.__cause__ or error).splitlines()[0]}"


@contextlib.contextmanager
def storage_errors() -> Iterator[None]:
    """Turn errors of a study's database, and of the driver's files beside it, into StorageLostError."""
    try:
        yield
    except STORAGE_ERRORS as error:
        cause = error.__cause__ or error
        raise StorageLostError(str(cause).splitlines()[0]) from error


@contextlib.contextmanager
def _database_errors(url: str) -> Iterator[None]:
    try:
        yield
    except DATABASE_ERRORS as error:
        cause = error.__cause__ if isinstance(error, StorageInternalError) and error.__cause__ else error
        first = mask(str(cause).splitlines()[0], url)
        raise UserError(f"{without_secrets(url)}: cannot be used as a study database: {first}") from None
    except (ImportError, RuntimeError, ValueError) as error:
        raise UserError(
            f"{without_secrets(url)}: cannot be used as a study database: {mask(str(error), url)}"
        ) from None
