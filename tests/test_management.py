"""Studies are deleted, renamed and compared: here, in the dashboard and by hand, and wherever a kill comes."""

from __future__ import annotations

import json
import os
import re
import shutil
from io import BytesIO
from pathlib import Path
from typing import Any

import optuna
import pytest
from matplotlib.image import imread
from optuna.artifacts import upload_artifact
from optuna_dashboard import get_note, wsgi

from fmnist_tune import api
from fmnist_tune.errors import UserError
from fmnist_tune.study.comparison import progress
from fmnist_tune.study.dashboard import artifact_store, publish_report
from fmnist_tune.study.database import database_url, open_database, rename_row
from fmnist_tune.study.layout import StudyPaths
from fmnist_tune.study.lock import DriverLock
from fmnist_tune.study.record import StudyRecord
from tests.conftest import CommandLine
from tests.studies import drive, open_study, report


@pytest.fixture
def folder(command: CommandLine) -> Path:
    path = command.folder / "studies"
    path.mkdir()
    return path


def searched(folder: Path, name: str, best: float = 0.8) -> StudyRecord:
    """A study with a trial trained to its end and one that pauses with its checkpoint, as a search leaves them."""
    record = open_study(folder, study=name)
    driver = drive(record)
    driver.next_assignment()
    driver.next_assignment()
    driver.on_report(report(0, [0.6, 0.7, 0.75, best], stop="epochs", n_new=4))
    driver.on_report(report(1, [0.5]))
    driver.release_all()
    with DriverLock(record.paths) as lock:
        record.bind_folder(lock.folder_id)
    checkpoint = record.paths.trial_folder(1) / "checkpoint.pt"
    checkpoint.parent.mkdir(parents=True)
    checkpoint.write_bytes(b"weights")
    return record


def files_in(folder: Path) -> list[Path]:
    """Return all files; SQLite's own come and go with its connections."""
    return sorted(path for path in folder.rglob("*") if not path.name.startswith("studies.db-"))


def load(folder: Path, name: str) -> StudyRecord:
    return StudyRecord.load(open_database(database_url(folder), create=False), StudyPaths(folder, name))


def rename_in_the_dashboard(folder: Path, old: str, new: str) -> None:
    """Ask optuna-dashboard itself, as its page does."""
    storage = open_database(database_url(folder), create=False)
    study_id = storage.get_study_id_from_name(old)
    body = json.dumps({"study_name": new}).encode()
    environ: dict[str, Any] = {
        "REQUEST_METHOD": "POST",
        "PATH_INFO": f"/api/studies/{study_id}/rename",
        "CONTENT_TYPE": "application/json",
        "CONTENT_LENGTH": str(len(body)),
        "SERVER_NAME": "127.0.0.1",
        "SERVER_PORT": "80",
        "wsgi.url_scheme": "http",
        "wsgi.input": BytesIO(body),
        "wsgi.errors": BytesIO(),
    }
    answers: list[str] = []
    wsgi(storage)(environ, lambda status, headers, *_: answers.append(status))
    assert answers == ["201 Created"]


def test_a_renamed_study_keeps_its_trials_and_files_and_names_itself_alone(command: CommandLine, folder: Path) -> None:
    before = searched(folder, "old").optuna.trials
    run = command.here("rename", "old", "new", "--json")
    assert run.json == {
        "study": "new",
        "former": "old",
        "storage": "sqlite:///studies/studies.db",
        "folder": "studies/new",
    }
    record = load(folder, "new")
    assert record.optuna.trials == before
    assert record.former_name is None
    assert not (folder / "old").exists()
    assert (record.paths.trial_folder(1) / "checkpoint.pt").is_file()
    recipe = record.paths.best_recipe.read_text()
    assert recipe.startswith("# Trial 0 of study new, ")
    assert "study: new\n" in recipe
    assert command.here("show", "old").err == "fmnist-tune: study 'old': no such study; there are new\n"


def test_a_study_with_a_note_on_the_dashboard_is_renamed_and_so_is_the_note(command: CommandLine, folder: Path) -> None:
    publish_report(searched(folder, "old"))
    run = command.here("rename", "old", "new", "--json")
    assert run.code == 0, run.err
    note = get_note(load(folder, "new").optuna)
    assert note.startswith("# study new\n")
    assert not re.search(r"\bold\b", note)
    assert command.here("show", "new").code == 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("rename", "a", "b"), "study 'b' is there already; choose another name"),
        (("rename", "a", "a"), "study 'a' has that name already"),
        (("rename", "a", "taken"), "studies/taken: there already, and of no study"),
        (("rename", "a", "artifacts"), "'artifacts' cannot name a study"),
        (("rename", "a", "../c"), "'../c' is a path; a study is named without its folder"),
        (("rename", "c", "d"), "study 'c': no such study"),
        (("delete", "c"), "study 'c': no such study; there are a, b"),
        (("delete", "a"), "There is no terminal to ask on; --yes deletes without asking"),
        (("compare", "a"), "give two studies or more to compare"),
        (("compare", "a", "a"), "study 'a' is named twice"),
        (("compare", "a", "c"), "study 'c': no such study"),
        (("compare", "a", "b", "--output", "x.jpg"), "its name has to end in .png"),
        (("compare", "a", "b", "--output", "."), "a directory; name a PNG file"),
    ],
)
def test_what_cannot_be_done_changes_nothing(
    command: CommandLine, folder: Path, words: tuple[str, ...], message: str
) -> None:
    for name in ("a", "b"):
        searched(folder, name)
    (folder / "taken").mkdir()
    before = files_in(folder)
    run = command.here(*words)
    assert run.code == 2
    assert message in run.err
    assert files_in(folder) == before


def test_a_study_that_is_driven_is_neither_renamed_nor_deleted(command: CommandLine, folder: Path) -> None:
    record = searched(folder, "a")
    with DriverLock(record.paths):
        for words in (("rename", "a", "b"), ("delete", "a", "--yes")):
            run = command.here(*words)
            assert run.code == 2
            assert f"by process {os.getpid()} on " in run.err
    record.hold.take("another folder's driver")
    for words in (("rename", "a", "b"), ("delete", "a", "--yes")):
        assert re.search("is being searched or trained( already)?, from ", command.here(*words).err)
    assert [trial.number for trial in record.trials] == [0, 1]


@pytest.mark.parametrize("is_moved", [False, True])
def test_a_renaming_that_was_killed_is_finished_by_the_same_command(
    command: CommandLine, folder: Path, is_moved: bool
) -> None:
    searched(folder, "old")
    rename_row(open_database(database_url(folder), create=False), "old", "new")
    if is_moved:
        (folder / "old").rename(folder / "new")
    assert command.here("rename", "old", "new").code == 0
    assert "study: new\n" in (folder / "new" / "best.yaml").read_text()
    assert not (folder / "old").exists()


def test_a_study_that_was_renamed_in_the_dashboard_goes_on_with_its_files(command: CommandLine, folder: Path) -> None:
    searched(folder, "old")
    rename_in_the_dashboard(folder, "old", "between")
    rename_in_the_dashboard(folder, "between", "new")
    run = command.here("show", "new")
    assert (run.code, run.err) == (
        0,
        "fmnist-tune: study new was old before; its files have the new name now\n",
    )
    assert (folder / "new" / "trials" / "1" / "checkpoint.pt").is_file()
    assert "study: new\n" in (folder / "new" / "best.yaml").read_text()
    assert command.here("show", "new").err == ""
    assert load(folder, "new").optuna.metric_names == ["val_accuracy"]


def test_the_old_name_of_a_renamed_study_is_free_and_its_files_are_not_taken(folder: Path) -> None:
    searched(folder, "old")
    rename_in_the_dashboard(folder, "old", "new")
    assert open_study(folder, study="old").trials == []
    assert (folder / "new" / "trials" / "1" / "checkpoint.pt").is_file()


def test_a_study_is_deleted_with_its_files_and_what_the_dashboard_shows(command: CommandLine, folder: Path) -> None:
    record, other = searched(folder, "a"), searched(folder, "b")
    store = artifact_store(folder)
    for study in (record, other):
        upload_artifact(artifact_store=store, file_path=str(study.paths.best_recipe), study_or_trial=study.optuna)
    run = command.here("delete", "a", "--yes", "--json")
    assert run.code == 0, run.err
    assert (run.json["study"], run.json["deleted"], run.json["trials"]) == ("a", True, 2)
    assert sorted(p.name for p in folder.iterdir() if not p.name.startswith("studies.db-")) == [
        "artifacts",
        "b",
        "studies.db",
    ]
    assert len(list((folder / "artifacts").iterdir())) == 1
    assert optuna.get_all_study_names(other.storage) == ["b"]
    assert open_study(folder, study="a").trials == [], "the name is free"


@pytest.mark.parametrize("is_in_database", [True, False])
def test_a_deletion_that_was_killed_is_finished_by_the_same_command(
    command: CommandLine, folder: Path, is_in_database: bool
) -> None:
    record = searched(folder, "a")
    (folder / "a").rename(folder / ".deleted-a")
    if is_in_database:
        shown = command.here("show", "a")
        assert (shown.code, "studies/a: the folder is gone" in shown.out) == (0, True)
    else:
        optuna.delete_study(study_name="a", storage=record.storage)
    assert command.here("delete", "a", "--yes").code == 0
    assert [p.name for p in folder.iterdir() if not p.name.startswith("studies.db-")] == ["studies.db"]
    assert command.here("delete", "a", "--yes").code == 2


def test_what_the_dashboard_leaves_of_a_study_can_be_deleted_but_not_another_databases(
    command: CommandLine, folder: Path
) -> None:
    record = searched(folder, "a")
    optuna.delete_study(study_name="a", storage=record.storage)
    with DriverLock(StudyPaths(folder, "a", "postgresql://me:secret@host/db")):
        pass
    refused = command.here("delete", "a", "--yes")
    assert refused.code == 2
    assert "its study was searched with --storage postgresql://me:***@host/db" in refused.err
    with DriverLock(record.paths):
        pass
    run = command.here("delete", "a", "--yes")
    assert (run.code, run.out.startswith("deleted what is left of study a, ")) == (0, True)
    assert not (folder / "a").exists()


def test_files_that_were_removed_by_hand_are_said(command: CommandLine, folder: Path) -> None:
    record = searched(folder, "a")
    shutil.rmtree(folder / "a")
    expected = (
        "studies/a: the folder is gone: the checkpoints of 1 unfinished trial, which `fmnist-tune resume a` begins anew; "
        "best.yaml, which `fmnist-tune export a` prints"
    )
    listed = command.here("studies", "--json")
    assert listed.json["studies"][0]["missing"] == expected
    assert expected in command.here("studies").err
    assert expected in command.here("show", "a").out
    with DriverLock(record.paths):  # as `report` makes the folder again
        pass
    assert "studies/a: files are gone: the checkpoints of 1" in command.here("studies").err


def test_a_study_whose_folder_is_elsewhere_is_not_called_damaged(
    command: CommandLine, folder: Path, tmp_path: Path
) -> None:
    searched(folder, "a")
    here = tmp_path / "other"
    here.mkdir()
    run = command.here("studies", "--storage", database_url(folder), "--studies-dir", here)
    assert f"study a: its files are in {folder / 'a'}" in run.err
    (folder).rename(tmp_path / "moved")
    moved = command.here("studies", "--studies-dir", tmp_path / "moved")
    assert moved.err == ""


def test_studies_are_compared_in_a_table_and_a_plot(command: CommandLine, folder: Path) -> None:
    searched(folder, "a")
    searched(folder, "b", best=0.9)
    run = command.here("compare", "a", "b")
    assert [line.split()[:7] for line in run.out.splitlines()[1:3]] == [
        ["a", "80.00", "%", "0", "2", "5", "00:05"],
        ["b", "90.00", "%", "0", "2", "5", "00:05"],
    ]
    plot = folder / "a" / "compare.png"
    assert run.out.endswith("plot: studies/a/compare.png\n")
    assert imread(plot).shape[1] > 1000
    as_json = command.here("compare", "a", "b", "--json", "--output", "c.png").json
    assert (as_json["comparable"], as_json["plot"]) == (True, "c.png")
    assert [s["best"] for s in as_json["studies"]] == [{"number": 0, "value": 0.8}, {"number": 0, "value": 0.9}]
    frame = api.compare_studies("a", "b", studies_dir=folder)
    assert list(frame["best"]) == [0.8, 0.9]


def test_studies_over_other_data_are_said_not_to_be_comparable(command: CommandLine, folder: Path) -> None:
    searched(folder, "a").bind_data({"split": {"seed": 0}})
    searched(folder, "b").bind_data({"split": {"seed": 1}})
    run = command.here("compare", "a", "b")
    assert "not comparable: a and b were trained on other data or another split (split.seed)" in run.out
    assert "no plot: the studies cannot be compared" in run.out
    assert not (folder / "a" / "compare.png").exists()
    with pytest.warns(UserWarning, match="not comparable: a and b"):
        api.compare_studies("a", "b", studies_dir=folder)


def test_progress_counts_epochs_and_seconds_of_all_trials(folder: Path) -> None:
    steps = progress(searched(folder, "a").trials, is_on_curve=True)
    assert [(step.epochs, step.value) for step in steps] == [(1, 0.6), (2, 0.7), (3, 0.75), (4, 0.8)]
    assert steps[-1].train_s == pytest.approx(4.4)


def test_studies_are_renamed_and_deleted_in_python(folder: Path) -> None:
    searched(folder, "a")
    assert api.rename_study("a", "b", folder).name == "b"
    api.delete_study("b", folder)
    with pytest.raises(UserError, match="study 'b': no such study"):
        api.Study("b", folder)


def test_a_folder_of_the_same_name_that_is_another_studys_is_not_deleted(command: CommandLine, folder: Path) -> None:
    searched(folder, "a")
    other = command.folder / "other"
    other.mkdir()
    url = f"sqlite:///{other}/studies.db"
    record = open_study(other, study="a")
    with DriverLock(record.paths) as lock:
        record.bind_folder(lock.folder_id)
    run = command.here("delete", "a", "--yes", "--storage", url)
    assert run.code == 2
    assert "studies/a: not the folder of this study, whose files are in " in run.err
    assert (folder / "a" / "best.yaml").is_file()
    run = command.here("rename", "a", "b", "--storage", url)
    assert (run.code, (folder / "a").is_dir()) == (2, True)
    assert "its files are in " in run.err


def test_a_folder_that_is_a_link_is_deleted_without_what_it_points_to(command: CommandLine, folder: Path) -> None:
    searched(folder, "a")
    (folder / "a").rename(command.folder / "big disk")
    (folder / "a").symlink_to(command.folder / "big disk")
    run = command.here("delete", "a", "--yes")
    assert run.code == 0, run.err
    assert not (folder / "a").is_symlink()
    assert (command.folder / "big disk" / "best.yaml").is_file()


def test_a_folder_that_was_set_aside_by_hand_keeps_no_command_from_the_study(
    command: CommandLine, folder: Path
) -> None:
    record = searched(folder, "a")
    with DriverLock(record.paths) as lock:
        record.bind_folder(lock.folder_id)
    (folder / "a").rename(folder / "a (old)")
    assert "study a" in command.here("show", "a").out


@pytest.mark.parametrize(("names", "message"), [((), "give two studies or more"), (("a", "a"), "named twice")])
def test_what_cannot_be_compared_is_said_in_python_too(folder: Path, names: tuple[str, ...], message: str) -> None:
    with pytest.raises(UserError, match=message):
        api.compare_studies(*names, studies_dir=folder)
