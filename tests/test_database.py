"""The database's file: made whole or finished, watched while it is written; and the files beside it."""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import optuna
import pytest
from optuna.storages import RDBStorage

from fmnist_tune.config import read_space
from fmnist_tune.errors import UserError
from fmnist_tune.study.database import StorageLostError, database_url, open_database
from fmnist_tune.study.database_file import DatabaseFile
from fmnist_tune.study.layout import StudyPaths, write_atomically
from fmnist_tune.study.lock import DriverLock
from fmnist_tune.study.record import StudyRecord
from tests.conftest import CommandLine
from tests.studies import SPACE, drive, open_study, report


def schema(path: Path) -> list[tuple[str, str]]:
    """Return a database's tables and indexes, by name, as SQL."""
    with contextlib.closing(sqlite3.connect(path)) as connection:
        return sorted(connection.execute("SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL"))


@pytest.fixture(scope="module")
def optunas_schema(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[str, str]]:
    path = tmp_path_factory.mktemp("optuna") / "o.db"
    RDBStorage(f"sqlite:///{path}").engine.dispose()
    return schema(path)


def make_part(path: Path, statements: list[str]) -> None:
    with contextlib.closing(sqlite3.connect(path)) as connection:
        for statement in statements:
            connection.execute(statement)
        connection.commit()


@pytest.mark.parametrize("n_objects", [0, 1, 2, 5, 8, 14])
def test_a_database_whose_making_was_cut_short_is_finished(
    tmp_path: Path, optunas_schema: list[tuple[str, str]], n_objects: int
) -> None:
    order = {"studies": 0, "ix_studies_study_name": 1, "version_info": 2}  # as Optuna makes them
    made = sorted(optunas_schema, key=lambda item: (order.get(item[0], 3), item[1].startswith("CREATE INDEX")))
    path = tmp_path / "studies.db"
    make_part(path, [sql for _, sql in made[:n_objects]])
    with pytest.raises(UserError, match="no studies yet; start one with"):
        open_database(database_url(tmp_path), create=False)
    record = open_study(tmp_path)
    assert schema(path) == sorted([*optunas_schema, *[(n, s) for n, s in schema(path) if n == "fmnist_tune_leases"]])
    assert record.trials == []
    assert optuna.get_all_study_names(open_database(database_url(tmp_path), create=False)) == ["s"]


def test_a_process_that_is_killed_while_it_makes_the_database_keeps_no_command_from_it(tmp_path: Path) -> None:
    database = tmp_path / "studies.db"
    code = "import sys\nfrom fmnist_tune.study.database import open_database\nopen_database(sys.argv[1], create=True)"
    with subprocess.Popen([sys.executable, "-c", code, database_url(tmp_path)]) as process:
        while not database.exists() and process.poll() is None:
            time.sleep(0.001)
        process.kill()
    assert open_study(tmp_path).trials == []


def test_another_programs_tables_beside_some_of_optunas_are_left_alone(
    tmp_path: Path, optunas_schema: list[tuple[str, str]]
) -> None:
    path = tmp_path / "studies.db"
    make_part(path, [dict(optunas_schema)["studies"], "CREATE TABLE songs (title TEXT)"])
    before = schema(path)
    with pytest.raises(UserError, match="an SQLite file, but not a study database"):
        open_database(database_url(tmp_path), create=True)
    assert schema(path) == before


def _copy_other(database: Path) -> None:
    other = database.parent.parent / "other"
    other.mkdir()
    open_study(other).optuna.set_user_attr("much", "x" * 20_000)
    shutil.copyfile(other / "studies.db", database)


LOSSES: dict[str, tuple[Callable[[Path], object], str]] = {
    "deleted": (os.unlink, r"studies.db: was deleted or moved away$"),
    "moved": (lambda path: path.rename(path.with_name("x.db")), r"studies.db: was deleted or moved away$"),
    "its folder deleted": (lambda path: shutil.rmtree(path.parent), r"studies.db: was deleted or moved away$"),
    "its folder moved": (lambda path: path.parent.rename(path.parent.parent / "y"), "was deleted or moved away$"),
    "its log deleted": (lambda path: os.unlink(f"{path}-wal"), r"studies.db-wal: was deleted or moved away$"),
    "replaced": (lambda path: (shutil.copy(path, f"{path}2"), os.replace(f"{path}2", path)), "by another file$"),
    "overwritten": (_copy_other, r"studies.db: was overwritten$"),
    "cut off": (lambda path: os.truncate(path, 0), r"studies.db: was overwritten$"),
}


@pytest.mark.parametrize("what", LOSSES)
def test_a_database_that_goes_away_under_its_driver_is_noticed_and_saved(tmp_path: Path, what: str) -> None:
    lose, message = LOSSES[what]
    folder = tmp_path / "studies"
    folder.mkdir()
    record = open_study(folder)
    with DriverLock(record.paths) as lock:
        record.hold.take(lock.folder_id)
        driver = drive(record)
        for accuracy in (0.5, 0.6):
            assignment = driver.next_assignment()
            assert assignment is not None
            driver.on_report(report(assignment.number, [accuracy]))
            record.hold.check()
        lose(folder / "studies.db")
        with pytest.raises(StorageLostError, match=message) as caught:
            record.hold.check()
        record.hold.end()
    advice = str(caught.value.advice)
    rescued = list(folder.glob("studies.db.rescued-*")) if folder.exists() else []
    if what == "cut off":
        assert not rescued
        assert advice.startswith("nothing of it could be saved: ")
        return
    if (
        what == "overwritten"
    ):  # what SQLite has in its log and its memory, with pages of the other database between them
        assert advice.startswith(("what could be read, which may be a mixture of both, is saved in ", "nothing of it "))
        return
    (path,) = rescued
    assert f"saved in {path}: put that in its place (`mv {path} {folder / 'studies.db'}`)" in advice
    saved = StudyRecord.load(open_database(f"sqlite:///{path}", create=False), record.paths)
    assert [trial.intermediate_values for trial in saved.trials] == [{1: 0.5}, {1: 0.6}]


def test_a_backup_of_this_run_that_is_copied_back_is_noticed(tmp_path: Path) -> None:
    record = open_study(tmp_path)
    database, backup = tmp_path / "studies.db", tmp_path / "backup"
    with DriverLock(record.paths) as lock:
        record.hold.take(lock.folder_id)
        shutil.copyfile(database, backup)
        record.hold.end()  # a later run
        record.hold.take(lock.folder_id)
        record.hold.check()
        shutil.copyfile(backup, database)
        with pytest.raises(StorageLostError, match="was overwritten"):
            record.hold.check()
        record.hold.end()


def test_two_drivers_of_one_database_do_not_alarm_each_other(tmp_path: Path) -> None:
    first, second = open_study(tmp_path), open_study(tmp_path, study="t")
    with DriverLock(first.paths) as one, DriverLock(second.paths) as other:
        first.hold.take(one.folder_id)
        second.hold.take(other.folder_id)
        for record in (first, second, first):
            record.optuna.set_user_attr("x", record.paths.name)
            record.hold.check()
        first.hold.end()
        second.hold.check()
        second.hold.end()


@pytest.mark.parametrize("name", ["studies.db", "studies.db-wal", "Studies.DB-shm", "studies.db-journal", "Artifacts", "artifacts", "."])  # fmt: skip
def test_a_name_that_the_database_or_the_dashboard_uses_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(UserError, match="cannot name a study"):
        StudyPaths(tmp_path, name)


def test_a_study_is_not_begun_where_another_database_has_its_files(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'mine.db'}"
    space = read_space(SPACE, "s.yaml", {"study": "mine.db-wal"})
    storage = open_database(url, create=True)
    with pytest.raises(UserError, match=r"study 'mine.db-wal': its folder \S+ would be a file of the database"):
        StudyRecord.open(storage, space, StudyPaths(tmp_path, "mine.db-wal", url))


def test_a_name_that_was_allowed_once_keeps_nobody_from_the_other_studies(command: CommandLine) -> None:
    studies = command.folder / "studies"
    studies.mkdir()
    open_study(studies)
    optuna.create_study(study_name="studies.db-wal", storage=open_database(database_url(studies), create=False))
    listed = command.here("studies")
    assert (listed.code, listed.out.split("\n")[1].split()[0]) == (0, "s")
    assert "left out: study: 'studies.db-wal' cannot name a study" in listed.err
    assert command.here("show", "s").code == 0
    shown = command.here("show", "studies.db-wal")
    assert (shown.code, "cannot name a study" in shown.err, "Traceback" in shown.err) == (2, True, False)


def test_a_folder_where_sqlite_wants_a_file_is_named(command: CommandLine) -> None:
    studies = command.folder / "studies"
    studies.mkdir()
    open_study(studies).storage.remove_session()
    with contextlib.closing(sqlite3.connect(studies / "studies.db")) as connection:
        connection.execute("PRAGMA journal_mode=delete")
    (studies / "studies.db-wal").mkdir()
    shown = command.here("show", "s")
    assert shown.code == 2
    assert shown.err == (
        "fmnist-tune: studies/studies.db-wal: a folder of the name that SQLite uses for a file of its own; rename it, "
        "for instance with `mv studies/studies.db-wal studies/studies.db-wal-folder`\n"
    )


@pytest.mark.parametrize("what", ["link", "loose link", "text", "folder", "pipe"])
def test_what_has_the_locks_name_is_not_touched(tmp_path: Path, what: str) -> None:
    record = open_study(tmp_path)
    record.paths.folder.mkdir()
    target = tmp_path / "precious.txt"
    if what != "loose link":
        target.write_text("precious")
    lock = record.paths.lock
    {
        "link": lambda: lock.symlink_to(target),
        "loose link": lambda: lock.symlink_to(target),
        "text": lambda: lock.write_text("my notes"),
        "folder": lock.mkdir,
        "pipe": lambda: os.mkfifo(lock),
    }[what]()
    with pytest.raises(UserError, match=r"driver.lock: (cannot be used as the study's lock|not a lock of fmnist-tune)"):
        DriverLock(record.paths).__enter__()
    assert not record.is_running
    assert target.exists() == (what != "loose link")
    assert what == "loose link" or target.read_text() == "precious"
    assert what != "text" or lock.read_text() == "my notes"


def test_a_lock_that_a_kill_left_half_written_is_taken(tmp_path: Path) -> None:
    record = open_study(tmp_path)
    record.paths.folder.mkdir()
    for left in ("", '{"pid": 1, "folder_id": "f"}since": "x"}', "\0\0\0"):
        record.paths.lock.write_text(left)
        with DriverLock(record.paths):
            assert record.is_running


def test_files_of_a_study_are_not_written_through_links(tmp_path: Path) -> None:
    record = open_study(tmp_path)
    precious = tmp_path / "precious"
    precious.write_text("precious")
    record.paths.folder.mkdir()
    record.paths.best_recipe.symlink_to(precious)
    record.paths.best_recipe.with_name(f".best.yaml.{os.getpid()}").symlink_to(precious)
    board = record.paths.tensorboard / "trial-0"
    board.mkdir(parents=True)
    (board / "events.out.tfevents.1").symlink_to(precious)
    driver = drive(record)
    assignment = driver.next_assignment()
    assert assignment is not None
    driver.on_report(report(assignment.number, [0.5]))
    write_atomically(record.paths.best_recipe, "model: 1\n")
    assert (precious.read_text(), record.paths.best_recipe.read_text()) == ("precious", "model: 1\n")
    assert not record.paths.best_recipe.is_symlink()


NO_LOCKS = """
import ctypes, errno, platform, struct, sys
# A seccomp filter: the kernel answers flock as it does on a file system without locks.
flock = {"x86_64": 73, "aarch64": 32}[platform.machine()]
statements = [(0x20, 0, 0, 0), (0x15, 0, 1, flock), (0x06, 0, 0, 0x00050000 | errno.ENOLCK), (0x06, 0, 0, 0x7fff0000)]
filters = b"".join(struct.pack("HBBI", *statement) for statement in statements)
buffer = ctypes.create_string_buffer(filters)
program = struct.pack("HP", len(statements), ctypes.addressof(buffer))
libc = ctypes.CDLL(None, use_errno=True)
assert libc.prctl(38, 1, 0, 0, 0) == 0 and libc.prctl(22, 2, ctypes.c_char_p(program)) == 0, ctypes.get_errno()
from fmnist_tune.cli import main
print([main(words.split()) for words in sys.argv[1:]])
"""


@pytest.mark.skipif(sys.platform != "linux", reason="seccomp is Linux's")
def test_without_locks_studies_can_be_read_and_a_search_is_refused(command: CommandLine) -> None:
    studies = command.folder / "studies"
    studies.mkdir()
    record = open_study(studies)
    with DriverLock(record.paths):
        pass

    (command.folder / "s.yaml").write_text(f"{SPACE}data: {{val_size: 100}}\n")
    commands = ["show s", "studies", "report s", f"search s.yaml --data-dir {command.data_dir}"]
    run = subprocess.run(
        [sys.executable, "-c", NO_LOCKS, *commands],
        cwd=command.folder,
        env=command.environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.stdout.endswith("[0, 0, 2, 2]\n"), run.stderr
    assert "study 's' has no trials yet" in run.stderr
    assert "driver.lock: cannot be locked (No locks available): two searches of one study could not" in run.stderr


def test_a_program_that_reads_meanwhile_alarms_no_driver(tmp_path: Path) -> None:
    record = open_study(tmp_path)
    reader = sqlite3.connect(tmp_path / "studies.db", isolation_level=None)
    with contextlib.closing(reader):
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM trials").fetchone()  # the log cannot be brought into the file whole
        record.optuna.set_user_attr("more", "than the reader sees")
        file = DatabaseFile(tmp_path / "studies.db", "s", 10)
        assert file.problem() is None
        reader.execute("COMMIT")
        assert file.problem() is None
        file.close()
