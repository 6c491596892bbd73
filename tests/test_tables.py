"""What `show`, `studies` and the other tables print: every width, the latest accuracy of every trial, names never cut."""

from __future__ import annotations

import csv
import io
import itertools
from pathlib import Path

import pytest
from rich.cells import cell_len

from fmnist_tune.study.record import StudyRecord
from fmnist_tune.study.trial_table import ranked, short_names, trial_rows
from tests.conftest import CommandLine
from tests.studies import SPACE, drive, open_study, report

LONG_NAME = "a-study-with-a-name-of-eighty-characters-which-is-as-long-as-names-may-be-here-1"
WIDTHS = (60, 80, 120, 200)


def searched(folder: Path, name: str = "s") -> StudyRecord:
    """A trial trained to its end, one that is ahead of it, one that failed, one after a look, one that has not begun."""
    folder.mkdir(exist_ok=True)
    record = open_study(folder, study=name)
    driver = drive(record)
    for _ in range(5):
        driver.next_assignment()
    driver.on_report(report(0, [0.7, 0.75, 0.8, 0.81], stop="epochs", n_new=4))
    driver.on_report(report(1, [0.9383]))
    driver.on_report(report(2, [], failure="RuntimeError: [enforce fail at alloc_cpu.cpp:117] no memory " * 9, n_new=0))
    driver.writer.note_progress(3, [], {"looks": [[0.5, 0.5]]})
    driver.release_all()
    return record


def printed(command: CommandLine, width: int, *words: str) -> list[str]:
    command.environment["COLUMNS"] = str(width)
    run = command.here(*words)
    assert run.code == 0, run.err
    return run.out.splitlines()


def test_every_trial_has_its_latest_accuracy_and_epoch_the_highest_first_and_failed_ones_last(tmp_path: Path) -> None:
    record = searched(tmp_path)
    rows = ranked(trial_rows(record.trials, record.space, is_running=False), record.objective)
    assert [(r.number, r.state) for r in rows] == [
        (1, "waiting"),
        (0, "complete"),
        (3, "waiting"),
        (4, "waiting"),
        (2, "failed"),
    ]
    assert [(r.epoch, r.accuracy) for r in rows] == [
        (1, 0.9383),
        (4, 0.81),
        (0.5, 0.5),
        (0, None),
        (0, None),
    ]
    assert {r.n_epochs for r in rows} == {4}


@pytest.mark.parametrize("width", WIDTHS)
def test_show_has_a_line_for_each_trial_at_every_width(command: CommandLine, width: int) -> None:
    searched(command.folder / "studies")
    lines = printed(command, width, "show", "s")
    assert lines[0].split()[:4] == ["trial", "state", "accuracy", "epoch"]
    assert [line.split()[: 5 if "%" in line else 4] for line in lines[1:6]] == [
        ["1", "paused", "93.83", "%", "1/4"],
        ["*0", "complete", "81.00", "%", "4/4"],
        ["3", "paused", "50.00", "%", "0.50/4"],
        ["4", "paused", "-", "0/4"],
        ["2", "failed", "-", "0/4"],
    ]
    assert "RuntimeError" in lines[5], "the reason, shortened"
    assert lines[5].endswith("…")
    assert max(cell_len(line) for line in lines[:7]) <= width


def test_what_does_not_fit_is_named_and_wide_shows_it(command: CommandLine) -> None:
    searched(command.folder / "studies")
    narrow = printed(command, 60, "show", "s")
    assert narrow[6].startswith("* the best trial trained to its end; not shown: ")
    assert "--wide shows all" in " ".join(narrow)
    wide = printed(command, 60, "show", "s", "--wide")
    assert wide[0].split()[4:] == ["seconds", "weights", "hidden", "dropout", "optimizer", "lr", "momentum", "reason"]
    assert wide[5].count("[enforce fail at alloc_cpu.cpp:117]") == 9
    assert "not shown" not in "\n".join(wide)


def test_what_is_piped_without_a_width_is_wide(command: CommandLine) -> None:
    searched(command.folder / "studies")
    for columns in ("", "0", "many"):
        command.environment["COLUMNS"] = columns
        assert "reason" in command.here("show", "s").out.splitlines()[0]


@pytest.mark.parametrize("width", WIDTHS)
def test_studies_never_cuts_a_name(command: CommandLine, width: int) -> None:
    folder = command.folder / "studies"
    for name in (LONG_NAME, "b"):
        searched(folder, name)
    lines = printed(command, width, "studies")
    names = [line.split()[0] for line in lines if line and not line.startswith((" ", "study"))]
    assert names == [LONG_NAME, "b"]
    assert any("81.00 %" in line for line in lines)
    assert all(cell_len(line) <= width or line == LONG_NAME for line in lines)


@pytest.mark.parametrize("width", WIDTHS)
def test_other_tables_fit(command: CommandLine, width: int) -> None:
    folder = command.folder / "studies"
    (command.folder / "space.yaml").write_text(SPACE)
    for name in ("one", "two"):
        searched(folder, name)
    for words in (("check", "space.yaml"), ("data", "--data-dir", str(command.data_dir)), ("compare", "one", "two")):
        lines = printed(command, width, *words)
        assert all(cell_len(line) <= width for line in lines if not line.startswith(("verified:", "plot:"))), lines
        assert "…" not in "".join(lines)


def test_a_command_to_copy_is_not_folded(command: CommandLine) -> None:
    folder = "studies-in-a-folder-with-a-rather-long-name"
    searched(command.folder / folder)
    lines = printed(command, 60, "show", "s", "--studies-dir", folder)
    assert f"  fmnist-tune resume s --studies-dir {folder}" in lines


def test_show_as_csv_has_every_trial_and_its_values(command: CommandLine) -> None:
    searched(command.folder / "studies")
    run = command.here("show", "s", "--csv")
    rows = list(csv.DictReader(io.StringIO(run.out)))
    assert [row["number"] for row in rows] == ["0", "1", "2", "3", "4"]
    assert (rows[0]["state"], rows[0]["value"], rows[0]["epochs"]) == ("complete", "0.81", "4")
    assert float(rows[1]["training.optimizer.lr"]) > 0
    assert "[enforce fail" in rows[2]["reason"]
    for other in itertools.product(["--csv"], ["--wide"]):
        assert "not allowed with argument" in command.here("show", "s", *other).err


def test_a_name_is_shortened_as_long_as_it_is_its_own() -> None:
    paths = ["model.name", "training.optimizer.name", "training.optimizer.lr", "model.head.lr"]
    assert list(short_names(paths).values()) == ["model", "optimizer", "optimizer.lr", "head.lr"]
    assert short_names(["training.epochs"]) == {"training.epochs": "epochs"}
