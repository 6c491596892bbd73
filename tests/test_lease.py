"""One driver per study, whatever the database and whichever folders the drivers have."""

from __future__ import annotations

import multiprocessing
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import optuna
import pytest
import sqlalchemy

from fmnist_tune.config import read_space
from fmnist_tune.errors import UserError
from fmnist_tune.study.database import StorageLostError, database_url, open_database
from fmnist_tune.study.layout import StudyPaths
from fmnist_tune.study.lease import DEAD_AFTER_S, LEASES, holders
from fmnist_tune.study.lock import DriverLock
from fmnist_tune.study.record import StudyRecord
from tests.servers import Server, mariadb, postgres
from tests.studies import SPACE, drive, report

DATABASES = [
    "sqlite",
    pytest.param("postgresql", marks=pytest.mark.server),
    pytest.param("mariadb", marks=pytest.mark.server),
]


@pytest.fixture(scope="module", params=DATABASES)
def server(request: pytest.FixtureRequest) -> Iterator[Server | None]:
    """Each kind of database; None for SQLite."""
    if request.param == "sqlite":
        yield None
        return
    with {"postgresql": postgres, "mariadb": mariadb}[request.param]() as running:
        yield running


@pytest.fixture
def url(server: Server | None, tmp_path: Path) -> str:
    """The URL of an empty database."""
    return database_url(tmp_path) if server is None else server.new_database()


def open_in(url: str, folder: Path, **overrides: Any) -> StudyRecord:
    space = read_space(SPACE, "s.yaml", {key.replace("__", "."): value for key, value in overrides.items()})
    return StudyRecord.open(open_database(url, create=True), space, StudyPaths(folder, "s", url))


@contextmanager
def driving(record: StudyRecord) -> Iterator[StudyRecord]:
    """Drive a study as a search does."""
    with DriverLock(record.paths) as lock:
        record.hold.take(lock.folder_id)
        try:
            yield record
        finally:
            record.hold.end()


def age(record: StudyRecord, seconds: float) -> None:
    """Let a driver have been silent, by the database's clock."""
    with record.storage.engine.begin() as connection:
        connection.execute(LEASES.update().values(renewed_at=LEASES.c.renewed_at - seconds))


def test_a_study_that_is_driven_from_another_folder_is_refused_and_not_written(url: str, tmp_path: Path) -> None:
    here, there = (open_in(url, tmp_path / name) for name in ("here", "there"))
    longer = read_space(SPACE, "s.yaml", {"search.trials": 64})
    with driving(here):
        assert there.is_running
        with (
            DriverLock(there.paths) as lock,
            pytest.raises(
                UserError,
                match=r"study s is being searched or trained already, from \S+/here on \S+, as of \d+ s ago; wait ",
            ),
        ):
            StudyRecord.open(there.storage, longer, there.paths, folder_id=lock.folder_id)
    assert open_in(url, tmp_path / "here").space.settings.search.trials == 6
    assert not there.is_running
    with driving(there):
        assert here.is_running


def test_a_silent_driver_loses_its_study_by_the_databases_clock(url: str, tmp_path: Path) -> None:
    here, there = (open_in(url, tmp_path / name) for name in ("here", "there"))
    with driving(here):
        age(here, DEAD_AFTER_S + 1)
        with driving(there):
            with pytest.raises(StorageLostError, match=r"the study was taken over from \S+/there on "):
                here.hold.find_loss()
            assert holders(here.storage.engine)["s"].place.startswith(str(tmp_path / "there"))
    assert not here.is_running


def test_who_was_killed_goes_on_at_once_from_its_own_folder(url: str, tmp_path: Path) -> None:
    dead, alive = (open_in(url, tmp_path / "here") for _ in range(2))
    with DriverLock(dead.paths) as lock:
        dead.hold.take(lock.folder_id)  # and never ends it
    assert not dead.is_running, "its lock is free, whatever its lease says"
    with driving(alive), pytest.raises(StorageLostError, match="the study was taken over"):
        dead.hold.find_loss()


def test_a_copied_folder_is_another_one(url: str, tmp_path: Path) -> None:
    here = open_in(url, tmp_path / "here")
    with driving(here):
        shutil.copytree(tmp_path / "here", tmp_path / "copy")
        copy = open_in(url, tmp_path / "copy")
        assert copy.is_running
        with pytest.raises(UserError, match="is being searched or trained already"), driving(copy):
            pass


def _take(url: str, folder: Path, start: Any, done: Any, results: Any) -> None:
    paths = StudyPaths(folder, "s", url)
    start.wait()
    try:
        with DriverLock(paths) as lock:
            StudyRecord.open(open_database(url, create=True), read_space(SPACE, "s"), paths, folder_id=lock.folder_id)
            results.put("taken")
            done.wait()
    except UserError as error:
        results.put(str(error))


def test_of_drivers_that_come_at_the_same_instant_one_gets_the_study(url: str, tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    start, done, results = context.Barrier(3, timeout=120), context.Event(), context.Queue()
    processes = [
        context.Process(target=_take, args=(url, tmp_path / f"folder{n}", start, done, results), daemon=True)
        for n in range(3)
    ]
    for process in processes:
        process.start()
    told = [results.get(timeout=180) for _ in processes]
    done.set()
    for process in processes:
        process.join(timeout=60)
    assert told.count("taken") == 1, told
    assert sum("is being searched or trained already, from" in text for text in told) == 2, told


def test_a_driver_whose_study_was_deleted_says_so(url: str, tmp_path: Path) -> None:
    record = open_in(url, tmp_path / "here")
    with driving(record):
        driver = drive(record)
        assignment = driver.next_assignment()
        assert assignment is not None
        optuna.delete_study(study_name="s", storage=open_database(url, create=False))
        with pytest.raises(StorageLostError, match=r"^the study was deleted$") as caught, record.hold.writing():
            driver.on_report(report(assignment.number, [0.5]))
    assert caught.value.advice is not None
    assert caught.value.advice.startswith(f"its files are in {record.paths.folder}; ")


def test_a_study_is_searched_on_every_database(url: str, tmp_path: Path) -> None:
    record = open_in(url, tmp_path, search__trials=3)
    with driving(record):
        driver = drive(record)
        while (assignment := driver.next_assignment()) is not None:
            n_epochs = 0
            while driver.on_report(report(assignment.number, [0.5 + 0.01 * i for i in range(n_epochs + 1)])):
                n_epochs += 1
                if n_epochs == 3:
                    driver.on_report(report(assignment.number, [0.5, 0.51, 0.52, 0.53], stop="epochs"))
                    break
        record.hold.check()
    again = StudyRecord.load(open_database(url, create=False), record.paths)
    assert len(again.trials) == 3
    assert all(trial.state.is_finished() for trial in again.trials)
    assert again.best is not None
    assert again.best.value == pytest.approx(0.53)


def test_a_name_that_differs_by_case_alone_is_refused(url: str, tmp_path: Path) -> None:
    open_in(url, tmp_path)
    space = read_space(SPACE, "s.yaml", {"study": "S"})
    with pytest.raises(UserError, match=r"study 'S': 's' is there already and differs from it only by upper and lower"):
        StudyRecord.open(open_database(url, create=True), space, StudyPaths(tmp_path, "S", url))


def test_a_read_command_makes_no_tables(url: str) -> None:
    with pytest.raises(UserError, match="no studies yet; start one with `fmnist-tune search "):
        open_database(url, create=False)
    if not url.startswith("sqlite"):
        engine = sqlalchemy.create_engine(url)
        assert sqlalchemy.inspect(engine).get_table_names() == []
        engine.dispose()
