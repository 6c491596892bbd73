"""Database servers of the tests' own: PostgreSQL and MariaDB in a temporary folder, on a free port."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

import pytest
import sqlalchemy
from sqlalchemy.exc import OperationalError

USER, PASSWORD = "tuner", "s/e:c+r?e%t"  # as hard to hide as may be
_POSTGRES = next(iter(sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)), None)
_MARIADB = shutil.which("mariadbd", path=f"{os.environ.get('PATH', '')}:/usr/sbin")


@dataclass
class Server:
    """A database server that listens on this machine alone.

    Attributes:
        driver: SQLAlchemy's name of the dialect and its driver.
        port: on 127.0.0.1.
        command: starts it.
        user: the system's user whom it runs as; None for this process's.
        first_database: one that is always there.
        stop_signal: ends it and every connection at once.
    """

    driver: str
    port: int
    command: list[str]
    user: str | None
    first_database: str
    stop_signal: signal.Signals
    process: subprocess.Popen[bytes] | None = field(default=None)
    n_databases: int = 0

    def url(self, database: str) -> str:
        """Return the URL of a database."""
        return f"{self.driver}://{USER}:{quote(PASSWORD, safe='')}@127.0.0.1:{self.port}/{database}"

    def new_database(self) -> str:
        """Create an empty database; returns its URL."""
        self.n_databases += 1
        engine = sqlalchemy.create_engine(self.url(self.first_database), isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            connection.execute(sqlalchemy.text(f"CREATE DATABASE studies{self.n_databases}"))
        engine.dispose()
        return self.url(f"studies{self.n_databases}")

    def start(self) -> None:
        """Start it, and return once it lets its user in."""
        self.process = subprocess.Popen(
            self.command, user=self.user, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
        )
        end = time.monotonic() + 120
        engine = sqlalchemy.create_engine(self.url(self.first_database))
        while True:
            try:
                with engine.connect():
                    break
            except OperationalError:
                assert time.monotonic() < end
                time.sleep(0.2)
        engine.dispose()

    def stop(self) -> None:
        """Stop it as an administrator does, which ends every connection."""
        if self.process is not None:
            self.process.send_signal(self.stop_signal)
            self.process.wait(timeout=60)
            self.process = None

    def restart(self) -> None:
        """Stop it and start it again."""
        self.stop()
        self.start()


@contextmanager
def postgres() -> Iterator[Server]:
    """Run PostgreSQL; skips the test where it is not installed."""
    if _POSTGRES is None:
        pytest.skip("PostgreSQL is not installed: no postgres in /usr/lib/postgresql/*/bin")
    user = "postgres" if os.getuid() == 0 else None  # it refuses to run as root
    with _folder(user) as folder:
        password = folder / "password"
        password.write_text(PASSWORD)
        password.chmod(0o644)
        data = folder / "data"
        subprocess.run(
            [_POSTGRES / "initdb", "-D", data, "-U", USER, "--auth=scram-sha-256", f"--pwfile={password}", "--no-sync"],
            user=user,
            check=True,
            capture_output=True,
        )
        port = _free_port()
        options = ["-c", "fsync=off", "-c", "listen_addresses=127.0.0.1"]
        command = [str(_POSTGRES / "postgres"), "-D", str(data), "-p", str(port), "-k", str(folder), *options]
        server = Server("postgresql+psycopg", port, command, user, "postgres", signal.SIGINT)
        try:
            server.start()
            yield server
        finally:
            server.stop()


@contextmanager
def mariadb() -> Iterator[Server]:
    """Run MariaDB; skips the test where it is not installed."""
    install = shutil.which("mariadb-install-db")
    if _MARIADB is None or install is None:
        pytest.skip("MariaDB is not installed: no mariadbd and mariadb-install-db on PATH or in /usr/sbin")
    user = "mysql" if os.getuid() == 0 else None
    with _folder(user) as folder:
        data = folder / "data"
        setup = [
            install,
            "--no-defaults",
            f"--datadir={data}",
            "--skip-test-db",
            "--auth-root-authentication-method=normal",
        ]
        subprocess.run(setup, user=user, check=True, capture_output=True)
        port = _free_port()
        first = folder / "first.sql"
        lines = [
            line
            for host in ("'%'", "localhost")
            for line in (
                f"CREATE USER {USER}@{host} IDENTIFIED BY '{PASSWORD}';",
                f"GRANT ALL ON *.* TO {USER}@{host};",
            )
        ]
        first.write_text("\n".join(lines) + "\n")  # it reads a statement a line
        first.chmod(0o644)
        options = [f"--datadir={data}", f"--port={port}", f"--socket={folder / 'socket'}", "--bind-address=127.0.0.1"]
        base = [_MARIADB, "--no-defaults", *options]
        server = Server("mysql+pymysql", port, [*base, f"--init-file={first}"], user, "mysql", signal.SIGTERM)
        try:
            server.start()
            server.command = base
            yield server
        finally:
            server.stop()


@contextmanager
def _folder(user: str | None) -> Iterator[Path]:
    """Give a temporary folder with a short name, which a socket's path needs, that the server's user can write to."""
    folder = Path(tempfile.mkdtemp(prefix="fmnist-"))
    try:
        if user is not None:
            shutil.chown(folder, user)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])
