"""Studies on a database server: its password stays secret, and its restart ends nothing."""

from __future__ import annotations

import json
import shlex
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from urllib.parse import quote

import pytest
import sqlalchemy
from optuna.trial import TrialState

from fmnist_tune.errors import UserError
from fmnist_tune.search.messages import TrialReport
from fmnist_tune.study.database import open_database
from fmnist_tune.study.layout import StudyPaths
from fmnist_tune.study.record import StudyRecord
from fmnist_tune.study.trial_data import history_of
from fmnist_tune.study.url import mask, sqlite_path, without_secrets
from fmnist_tune.training.results import StopReason
from tests.conftest import TINY_SPACE, CommandLine
from tests.servers import PASSWORD, USER, Server, mariadb, postgres
from tests.studies import drive, report, result
from tests.test_lease import open_in

FORMS = {PASSWORD, quote(PASSWORD, safe="")}


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    with postgres() as running:
        yield running


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://me:s/ec:r?et@host:54/db", "postgresql://me:***@host:54/db"),
        ("postgresql://me:s%2Fecret@host/db?host=/tmp", "postgresql://me:***@host/db?host=/tmp"),
        ("postgresql://me:s@ec/r@et@host/db", "postgresql://me:***@host/db"),
        ("postgresql://host/db?user=me&password=secret", "postgresql://host/db?user=me&password=***"),
        ("mysql+pymysql://me@host/db?Passwd=secret&ssl_ca=/x", "mysql+pymysql://me@host/db?Passwd=***&ssl_ca=/x"),
        ("postgresql://h/db?sslpassword=secret&api_key=secret", "postgresql://h/db?sslpassword=***&api_key=***"),
        ("mssql+pyodbc:///?odbc_connect=DRIVER%3Dx%3BPWD%3Dsecret", "mssql+pyodbc:///?odbc_connect=***"),
        ("postgresql://me:secret/db", "postgresql://***"),  # an @ forgotten
        ("postgresql://host/db?sslmode=require", "postgresql://host/db?sslmode=require"),
        ("sqlite:///a b/c@d:e@f.db", "sqlite:///a b/c@d:e@f.db"),
    ],
)
def test_a_url_is_shown_without_its_secrets(url: str, shown: str) -> None:
    assert without_secrets(url) == shown
    assert StudyPaths(Path("studies"), "s", url).command("show") == shlex.join(
        ["fmnist-tune", "show", "s", "--storage", shown]
    )
    assert "secret" not in mask(f"cannot open {url}: no such host", url)


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("postgresql://me:secret/db", r"--storage postgresql://\*\*\*: not the URL of a database, such as "),
        ("studies.db", "--storage studies.db: not the URL of a database"),
        ("sqlite://", "not a file, so that the study would be lost"),
        ("sqlite:///:memory:", "not a file, so that the study would be lost"),
        ("sqlite:///x.db?mode=ro", "write sqlite:///FILE, without options"),
    ],
)
def test_what_is_no_url_of_a_database_is_refused(url: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        sqlite_path(url)


@pytest.mark.server
def test_a_wrong_password_host_or_port_is_told_without_the_password(server: Server, command: CommandLine) -> None:
    right = server.url("postgres")
    wrong = [
        right.replace(quote(PASSWORD, safe=""), "not-the-password"),
        right.replace("127.0.0.1", "no-such-host.invalid"),
        right.replace(str(server.port), "1"),
        f"postgresql+psycopg://127.0.0.1:{server.port}/postgres?user={USER}&password=not-the-password",
        right.replace("+psycopg", "+nothing"),
        right.replace("/postgres", "/no_such_database"),
    ]
    for url in wrong:
        shown = command.here("show", "s", "--storage", url)
        assert shown.code == 2
        assert shown.err.startswith(f"fmnist-tune: {without_secrets(url)}: "), shown.err
        for secret in (*FORMS, "not-the-password"):
            assert secret not in shown.err


@pytest.mark.server
def test_a_restart_of_the_server_ends_no_search_and_doubles_nothing(server: Server, tmp_path: Path) -> None:
    record = open_in(server.new_database(), tmp_path, search__trials=6)
    driver = drive(record)
    first = driver.next_assignment()
    assert first is not None
    driver.on_report(report(first.number, [0.5]))
    server.restart()  # between two transactions
    second = driver.next_assignment()
    assert second is not None
    server.stop()  # and while one is asked for
    threading.Timer(1.0, server.start).start()
    driver.on_report(report(second.number, [0.6]))
    third = driver.next_assignment()
    assert third is not None
    assert [trial.number for trial in record.trials] == [0, 1, 2]
    assert [trial.intermediate_values for trial in record.trials] == [{1: 0.5}, {1: 0.6}, {}]
    storage = driver.record.storage
    assert storage.get_n_trials(storage.get_study_id_from_name(record.paths.name)) == 3


@pytest.mark.server
def test_connections_that_end_at_any_moment_lose_and_double_nothing(server: Server, tmp_path: Path) -> None:
    record = open_in(server.new_database(), tmp_path, search__trials=12)
    ended = threading.Event()

    def end_connections() -> None:
        engine = sqlalchemy.create_engine(server.url("postgres"), isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            while not ended.wait(0.7):
                connection.execute(
                    sqlalchemy.text(
                        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                        "WHERE pid <> pg_backend_pid() AND datname LIKE 'studies%'"
                    )
                )
        engine.dispose()

    thread = threading.Thread(target=end_connections)
    thread.start()
    try:
        driver = drive(record)
        for _ in range(4):
            assignment = driver.next_assignment()
            assert assignment is not None
            driver.on_report(report(assignment.number, [0.1 * (assignment.number + 1)]))
    finally:
        ended.set()
        thread.join()
    numbers = [trial.number for trial in record.trials]
    assert numbers == list(range(len(numbers)))
    for trial in record.trials:
        assert trial.intermediate_values == {1: pytest.approx(0.1 * (trial.number + 1))}


@pytest.mark.ray
@pytest.mark.server
def test_a_password_is_in_no_output_and_no_file_of_any_command(server: Server, joined: CommandLine) -> None:
    url = server.new_database()
    (joined.folder / "space.yaml").write_text(TINY_SPACE.replace("trials: 4", "trials: 2"))
    on_study = ("--storage", url, "--data-dir", joined.data_dir)
    outputs = []
    for words in (
        ("search", "space.yaml", "--json", *on_study),
        ("show", "tiny", "--storage", url),
        ("show", "tiny", "--json", "--storage", url),
        ("studies", "--json", "--storage", url),
        ("export", "tiny", "--storage", url),
        ("retrain", "tiny", "--seeds", 1, *on_study),
        ("report", "tiny", *on_study),
    ):
        run = joined(*words)
        assert run.code == 0, run.err
        outputs += [run.out, run.err]
    assert json.loads(outputs[0])["storage"] == without_secrets(url)
    dashboard = joined.start("dashboard", "--port", "0", "--json", "--storage", url)
    assert dashboard.stdout is not None
    outputs.append(dashboard.stdout.readline())
    dashboard.send_signal(signal.SIGINT)
    outputs += dashboard.communicate(timeout=60)
    files = [path for path in (joined.folder / "studies").rglob("*") if path.is_file()]
    assert any(path.name == "report.html" for path in files)
    for secret in FORMS:
        assert not [text for text in outputs if secret in text]
        assert not [path for path in files if secret.encode() in path.read_bytes()]
    assert f"{USER}:***@127.0.0.1" in (joined.folder / "studies/tiny/report/report.html").read_text()


@pytest.mark.server
def test_a_server_that_stays_away_is_told(server: Server, command: CommandLine) -> None:
    url = server.new_database()
    open_in(url, command.folder)
    server.stop()
    try:
        shown = command.here("show", "s", "--storage", url)
        assert (shown.code, "cannot be used as a study database" in shown.err) == (2, True)
        with pytest.raises(UserError, match="cannot be used as a study database"):
            open_database(url, create=True)
    finally:
        server.start()


@pytest.mark.server
@pytest.mark.parametrize("kind", [mariadb])  # whose TEXT ends at 64 kB; PostgreSQL has no such end
def test_a_trial_of_5000_epochs_fits_into_every_database(
    kind: Callable[[], AbstractContextManager[Server]], tmp_path: Path
) -> None:
    with kind() as running:
        record = open_in(running.new_database(), tmp_path, search__pruner__name="none", training__epochs=5000)
        driver = drive(record)
        assert driver.next_assignment() is not None
        for start in range(0, 5000, 250):
            epochs = tuple(result(epoch, epoch / 5000) for epoch in range(start + 1, start + 251))
            stop: StopReason | None = "epochs" if start == 4750 else None
            driver.on_report(TrialReport(0, epochs, start + 250, stop, None, {"params": 7}))
        (trial,) = StudyRecord.load(record.storage, record.paths).trials
    assert trial.state == TrialState.COMPLETE
    assert history_of(trial) == [result(epoch, epoch / 5000) for epoch in range(1, 5001)]
    assert max(len(json.dumps(value)) for value in trial.system_attrs.values()) < 30_000
