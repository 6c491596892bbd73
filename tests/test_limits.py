"""What one run is given on the command line, and what it says when it ends."""

from __future__ import annotations

import io
import time
from pathlib import Path

import pytest
import yaml
from rich.console import Console

from fmnist_tune.config import load_space
from fmnist_tune.document.blocks import Code
from fmnist_tune.document.terminal import View
from fmnist_tune.errors import UserError
from fmnist_tune.report.origin_part import origin_part
from fmnist_tune.report.task_report import TaskReport
from fmnist_tune.search.ending import Ending, all_trials, ending_of
from fmnist_tune.search.limits import Limits
from fmnist_tune.study.database import database_url, open_database
from fmnist_tune.study.findings import study_section
from fmnist_tune.study.record import SPACE_KEY, StudyRecord
from fmnist_tune.study.summary import Highest, study_json, summarize
from fmnist_tune.units import duration, seconds
from tests.conftest import TINY_SPACE, CommandLine
from tests.studies import drive, open_study, partial, report

SPACE = """
study: s
search: {trials: 3, pruner: {name: none}}
model: {name: mlp, hidden: [8], dropout: {float: [0.0, 0.5]}}
training: {epochs: 2}
"""


def loaded(record: StudyRecord) -> StudyRecord:
    """Return a study as another command finds it."""
    return StudyRecord.load(open_database(database_url(record.paths.studies_dir), create=False), record.paths)


def train(record: StudyRecord, n_trials: int) -> None:
    """Train so many trials to their ends."""
    driver = drive(record)
    for _ in range(n_trials):
        assignment = driver.next_assignment()
        assert assignment is not None
        driver.on_report(report(assignment.number, [0.5, 0.6], stop="epochs", n_new=2))


@pytest.mark.parametrize(("value", "expected"), [("90s", 90), ("10m", 600), ("1.5h", 5400), ("2 m", 120)])
def test_a_duration_has_a_unit(value: str, expected: float) -> None:
    assert seconds(value) == expected


@pytest.mark.parametrize("value", ["5", 600, 1.5, "0.5"])
def test_a_bare_number_is_no_duration_and_the_units_are_named(value: object) -> None:
    with pytest.raises(ValueError, match=f"{value} has no unit; write {value}s .seconds., {value}m .minutes. or"):
        seconds(value)


@pytest.mark.parametrize(
    ("value_s", "text"),
    [(5, "5s"), (60, "1m"), (90, "1.5m"), (570, "9.5m"), (100, "100s"), (5400, "1.5h"), (7.25, "7.25s")],
)
def test_a_duration_is_shown_as_it_is_written(value_s: float, text: str) -> None:
    assert duration(value_s) == text
    assert seconds(text) == pytest.approx(value_s)


@pytest.mark.parametrize(
    ("search", "words", "message"),
    [
        ("", ["--timeout", "5"], "argument --timeout: 5 has no unit; write 5s (seconds), 5m (minutes) or 5h (hours)"),
        ("", ["--timeout", "5s"], "fmnist-tune: --timeout: 5s is too short: Ray and its workers need about 10s before"),
        ("timeout: 600", [], "search.timeout: 600 has no unit; write 600s (seconds), 600m (minutes) or 600h (hours)"),
        ("epoch_timeout: 60", [], "search.epoch_timeout: 60 has no unit"),
        ("timeout: 3s", [], "space.yaml: search.timeout: 3s is too short: Ray and its workers need about 10s"),
    ],
)
def test_a_time_in_which_nothing_could_be_trained_is_refused_before_anything_is_begun(
    command: CommandLine, search: str, words: list[str], message: str
) -> None:
    (command.folder / "space.yaml").write_text(TINY_SPACE.replace("trials: 4", f"trials: 4\n  {search}"))
    before = sorted(command.folder.rglob("*"))
    run = command.here("search", "space.yaml", "--data-dir", command.data_dir, *words)
    assert (run.code, run.out) == (2, "")
    assert message in run.err
    assert "Traceback" not in run.err
    assert "starting Ray" not in run.err
    assert sorted(command.folder.rglob("*")) == before


def test_what_a_run_is_given_replaces_the_files_time(tmp_path: Path) -> None:
    path = tmp_path / "f.yaml"
    path.write_text(SPACE.replace("trials: 3", "trials: 3, timeout: 10m"))
    space = load_space(path)
    assert Limits().timeout_of(space) == 600
    assert Limits(timeout_s=20).timeout_of(space) == 20
    with pytest.raises(UserError, match=r"^--timeout: 1s is too short"):
        Limits(timeout_s=1).check()


@pytest.mark.parametrize("stored", ["'5'", "5", "600", "1.5"])
def test_a_study_whose_durations_were_stored_without_units_opens(tmp_path: Path, stored: str) -> None:
    record = open_study(tmp_path, SPACE)
    text = SPACE.replace("trials: 3", f"trials: 3, timeout: {stored}, epoch_timeout: 60")
    record.optuna.set_user_attr(SPACE_KEY, text)
    search = loaded(record).space.settings.search
    assert (search.timeout, search.epoch_timeout) == (float(stored.strip("'")), 60)
    assert open_study(tmp_path, loaded(record).space.to_yaml()).space.settings.search.timeout == search.timeout


def test_more_trials_extend_a_study_and_stay_and_its_file_does_not_change(tmp_path: Path) -> None:
    record = open_study(tmp_path, SPACE)
    stored = record.optuna.user_attrs[SPACE_KEY]
    record.quota.limit(8)
    assert (record.quota.n_target, loaded(record).quota.n_target) == (8, 3), "what refuses the run extends nothing"
    record.quota.extend()
    assert record.quota.n_target == loaded(record).quota.n_target == open_study(tmp_path, SPACE).quota.n_target == 8
    assert loaded(record).optuna.user_attrs[SPACE_KEY] == stored
    assert loaded(record).space.settings.search.trials == 3
    assert open_study(tmp_path, SPACE.replace("trials: 3", "trials: 20")).quota.n_target == 20, (
        "of the file, now that it has more"
    )
    record.quota.limit(5)
    assert loaded(record).quota.n_target == 20

    (section, source) = origin_part(record, TaskReport(), ()).sections[:2]
    commands = next(block.text for block in section.blocks if isinstance(block, Code))
    assert commands.startswith("fmnist-tune search s.yaml --trials 5\n")
    assert "trials: 3" in str(source)


def test_fewer_trials_end_one_run_alone(tmp_path: Path) -> None:
    record = open_study(tmp_path, SPACE)
    record.quota.limit(2)
    train(record, 2)
    assert drive(record).next_assignment() is None
    assert record.is_finished
    assert all_trials(record).text == "study s has 2 of its trials, and --trials 2 is reached"
    assert not loaded(record).is_finished
    assert loaded(record).quota.n_target == 3
    train(loaded(record), 1)
    assert loaded(record).is_finished
    assert all_trials(loaded(record)) == Ending("trials", "study s has all of its 3 trials")


def test_the_end_says_what_ended_a_search(tmp_path: Path) -> None:
    record = open_study(tmp_path, SPACE)
    driver = drive(record, deadline=time.monotonic() + 30)
    driver.next_assignment()
    driver.on_report(report(0, [0.5], epoch_s=100))
    driver.release_all()
    end = ending_of(driver, 30)
    assert end.by == "timeout"
    assert end.text in {
        f"no other epoch fits into its time of 30s: 00:{s} were left, and one takes about 01:40" for s in (28, 29)
    }
    driver.deadline.at = time.monotonic()
    assert ending_of(driver, 30) == Ending("timeout", "its time of 30s is over")
    driver.stop_requested = True
    assert ending_of(driver, 30) == Ending("interrupted", "interrupted; the same command goes on")
    train(record, 3)
    assert ending_of(drive(record), None) == Ending("trials", "study s has all of its 3 trials")


def test_a_search_that_trained_nothing_says_so(tmp_path: Path) -> None:
    record = open_study(tmp_path, SPACE)
    assert ending_of(drive(record, deadline=time.monotonic()), 30) == Ending(
        "timeout", "its time of 30s was over before anything was trained; --timeout gives it more"
    )
    driver = drive(record)
    driver.next_assignment()
    driver.on_report(report(0, [0.5], epoch_s=100))
    driver.writer.note_progress(0, driver.running[0].history, {})
    driver.release_all()
    end = ending_of(drive(record, deadline=time.monotonic() + 60), 60)
    assert end.text in {
        f"no epoch fits into its time of 1m: 00:{s} were left, and one takes about 01:40" for s in (58, 59)
    }


def test_the_highest_accuracy_is_told_where_no_trial_has_been_trained_to_its_end(tmp_path: Path) -> None:
    record = open_study(tmp_path, SPACE.replace("name: none", "name: asha, min_epochs: 0.5"))
    assert study_json(record, is_running=False)["highest"] is None
    driver = drive(record)
    for _ in range(2):
        driver.next_assignment()
    driver.on_report(partial(0, 0.95))
    assert summarize(record, is_running=True).highest == Highest(0.95, 0, 0.5)
    driver.on_report(partial(1, 0.5))
    driver.next_assignment()
    driver.on_report(report(2, [0.8849]))
    driver.release_all()
    summary = summarize(record, is_running=False)
    assert summary.highest == Highest(0.8849, 2, 1), "looks are at a sample"
    assert study_json(record, is_running=False)["highest"] == {"value": 0.8849, "number": 2, "epoch": 1}
    console = Console(file=io.StringIO(), width=200)
    with console.capture() as captured:
        console.print(View(study_section(summary, None, [])))
    lines = captured.get().splitlines()
    assert lines == [
        "study s: 3 of 3 trials (3 paused)",
        "  no trial has been trained to its end yet, so there is no best trial",
        "  highest accuracy so far: 88.49 % (trial 2, epoch 1)",
    ]


def test_the_highest_accuracy_is_left_out_where_it_is_the_best_trials(tmp_path: Path) -> None:
    record = open_study(tmp_path, SPACE)
    driver = drive(record)
    for number, curve in enumerate(([0.5, 0.6], [0.5, 0.55])):
        driver.next_assignment()
        driver.on_report(report(number, curve, stop="epochs", n_new=2))
    driver.next_assignment()
    console = Console(file=io.StringIO(), width=200)
    with console.capture() as captured:
        console.print(View(study_section(summarize(record, is_running=True), None, [])))
    assert "highest" not in captured.get()
    driver.on_report(report(2, [0.7]))
    with console.capture() as captured:
        console.print(View(study_section(summarize(record, is_running=True), None, [])))
    assert "highest accuracy so far: 70.00 % (trial 2, epoch 1)" in captured.get()


def test_a_file_as_it_is_stored_is_the_one_that_was_given(command: CommandLine) -> None:
    """Ray is not needed: the study has all of its trials."""
    (command.folder / "studies").mkdir()
    record = open_study(command.folder / "studies", SPACE.replace("study: s", "study: tiny") + "data: {val_size: 100}")
    train(record, 3)
    stored = yaml.safe_load(record.optuna.user_attrs[SPACE_KEY])
    run = command.here("resume", "tiny", "--data-dir", command.data_dir, "--timeout", "20s", "--trials", "3", "--json")
    assert run.code == 0, run.err
    assert (run.json["ended_by"], run.json["workers"]) == ("trials", 0)
    assert run.json["highest"] == {"value": 0.6, "number": 0, "epoch": 2}
    assert yaml.safe_load(loaded(record).optuna.user_attrs[SPACE_KEY]) == stored
    assert "study tiny has all of its 3 trials; --trials 6 would extend it" in run.err


def test_a_time_that_no_epoch_of_a_study_fits_into_is_refused_before_ray_starts(command: CommandLine) -> None:
    (command.folder / "studies").mkdir()
    record = open_study(command.folder / "studies", SPACE.replace("study: s", "study: tiny") + "data: {val_size: 100}")
    driver = drive(record)
    driver.next_assignment()
    driver.on_report(report(0, [0.5], epoch_s=100))
    driver.writer.note_progress(0, driver.running[0].history, {})
    driver.release_all()
    run = command.here("resume", "tiny", "--data-dir", command.data_dir, "--timeout", "1m")
    assert (run.code, run.out) == (2, "")
    assert (
        "study 'tiny': 1m is too short: an epoch of its trials took about 01:40 when they were trained, so that none "
        "would fit; give it more, such as --timeout 4m"
    ) in run.err
    assert "starting Ray" not in run.err


def test_fewer_trials_than_it_was_extended_to_end_one_run_alone(tmp_path: Path) -> None:
    record = open_study(tmp_path, search__trials=4)
    record.quota.limit(9)
    record.quota.extend()
    record.quota.limit(6)
    record.quota.extend()
    assert (record.quota.n_target, record.quota.is_limited) == (6, True)
    again = StudyRecord.load(record.storage, record.paths)
    assert (again.quota.n_target, again.snapshot().quota.n_target, again.quota.is_extended) == (9, 9, True)


def test_a_run_ends_by_its_time_where_the_trials_that_wait_take_longer_than_others(tmp_path: Path) -> None:
    record = open_study(tmp_path, SPACE.replace("trials: 3", "trials: 4"))
    driver = drive(record, deadline=time.monotonic() + 1000)
    for number in range(4):
        assert driver.next_assignment() is not None
        driver.on_report(report(number, [0.5], epoch_s=60 if number == 3 else 1))
        if number < 3:
            driver.on_report(report(number, [0.5, 0.6], stop="epochs", epoch_s=1))
    driver.release_all()
    driver.deadline.at = time.monotonic() + 20
    assert driver.deadline.fits(None)
    assert driver.next_assignment() is None
    assert ending_of(driver, 20).by == "timeout"
