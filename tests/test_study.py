"""The study database: truthful states, and nothing else taken for one."""

from __future__ import annotations

import fcntl
import sqlite3
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState

from fmnist_tune.config import read_space
from fmnist_tune.config.domain import FloatDomain, IntDomain
from fmnist_tune.errors import UserError
from fmnist_tune.search.events import Event
from fmnist_tune.search.messages import TrialReport
from fmnist_tune.study.database import StorageLostError, database_url, open_database
from fmnist_tune.study.folder import recover
from fmnist_tune.study.importances import parameter_importances
from fmnist_tune.study.layout import StudyPaths
from fmnist_tune.study.lock import DriverLock
from fmnist_tune.study.recipes import recipe_of
from fmnist_tune.study.record import StudyRecord, space_differences
from fmnist_tune.study.sampling import ShownTrials
from fmnist_tune.study.seed_results import plan_for
from fmnist_tune.study.summary import edge_of, summarize
from fmnist_tune.study.trial_data import history_of, metadata_of
from fmnist_tune.study.trial_table import trial_rows
from fmnist_tune.study.trial_writer import TrialWriter
from tests.mortal_storage import DriverKilledError, MortalStorage
from tests.studies import SPACE, drive, open_study, partial, report


def test_a_study_refuses_other_data(tmp_path: Path) -> None:
    record = open_study(tmp_path)
    record.bind_data({"split": "a"})
    record.bind_data({"split": "a"})
    with pytest.raises(UserError, match="study 's' was begun on other data or another split"):
        record.bind_data({"split": "b"})


def test_the_driver_tells_every_state_truthfully(tmp_path: Path) -> None:
    record = open_study(tmp_path)
    events: list[Event] = []
    driver = drive(record, events)
    numbers = [a.number for a in (driver.next_assignment() for _ in range(4)) if a is not None]
    assert numbers == [0, 1, 2, 3]
    assert not driver.on_report(report(0, [0.8]))  # alone at the first rung, it pauses
    assert record.trials[0].state == TrialState.WAITING
    assert not driver.on_report(report(1, [0.5]))
    assert not driver.on_report(report(2, [], failure="OutOfMemoryError: too wide", n_new=0))
    again = driver.next_assignment()
    assert again is not None
    assert (again.number, again.n_epochs_known) == (0, 1)
    assert not driver.on_report(report(0, [0.8, 0.8, 0.8, 0.85], stop="epochs", n_new=3))
    driver.stop_requested = True
    assert not driver.on_report(report(3, [0.9]))

    trials = record.trials
    assert [t.state for t in trials] == [
        TrialState.COMPLETE,
        TrialState.WAITING,
        TrialState.FAIL,
        TrialState.WAITING,
    ]
    assert trials[0].value == 0.85
    assert trials[0].intermediate_values == {1: 0.8, 2: 0.8, 3: 0.8, 4: 0.85}
    assert metadata_of(trials[0])["duration_s"] == pytest.approx(4.4)
    assert metadata_of(trials[0])["images_per_s"] == 500
    assert metadata_of(trials[0])["stop_reason"] == "epochs"
    assert metadata_of(trials[0])["params"] == 7
    assert metadata_of(trials[1])["epochs"] == 1
    assert metadata_of(trials[2])["reason"] == "OutOfMemoryError: too wide"
    assert trials[3].intermediate_values == {1: 0.9}
    assert [e.kind for e in events if e.kind != "epoch"] == ["paused", "paused", "failed", "complete", "paused"]
    assert "Trial 0 of study s" in record.paths.best_recipe.read_text()


def test_a_look_within_the_first_epoch_pauses_a_trial(tmp_path: Path) -> None:
    record = open_study(tmp_path, search__pruner__min_epochs=0.5)
    events: list[Event] = []
    driver = drive(record, events)
    assignments = [a for a in (driver.next_assignment(), driver.next_assignment()) if a is not None]
    assert [a.partial for a in assignments] == [(0.5,), (0.5,)]
    assert not driver.on_report(partial(0, 0.7))
    assert record.trials[0].state == TrialState.WAITING
    assert record.trials[0].intermediate_values == {}
    assert metadata_of(record.trials[0])["duration_s"] == 1.5
    assert [e.text for e in events] == ["70.00 % at epoch 0.5, rank 1/1"]
    assert ShownTrials(record.trials).select()[0].intermediate_values == {0: 0.7}
    assert not driver.on_report(partial(1, 0.6))
    again = driver.next_assignment()
    assert again is not None
    assert (again.number, again.partial, again.n_epochs_known) == (0, (), 0.5)
    assert driver.on_report(report(0, [0.8])) is False  # at its rung after epoch 1, alone
    while (assignment := driver.next_assignment()) is not None:
        number = assignment.number
        ends = report(number, [0.8] * 4, stop="epochs", n_new=4)
        driver.on_report(partial(number, 0.1) if assignment.partial else ends)
    assert record.trials[0].state == TrialState.COMPLETE
    ended = record.trials[5]
    assert (ended.state, ended.value) == (TrialState.PRUNED, None)
    assert ShownTrials(record.trials).select()[5].value == 0.1


def test_a_full_study_ends_with_a_complete_trial_and_none_that_waits(tmp_path: Path) -> None:
    record = open_study(tmp_path)
    driver = drive(record)
    accuracies = [0.5, 0.9, 0.1, 0.8, 0.2, 0.3]
    curves: dict[int, list[float]] = {}
    while (assignment := driver.next_assignment()) is not None:
        curve = curves.setdefault(assignment.number, [])
        goes_on = True
        while goes_on:
            curve.append(accuracies[assignment.number])
            goes_on = driver.on_report(report(assignment.number, curve, stop="epochs" if len(curve) == 4 else None))
    trials = record.trials
    assert {t.state for t in trials} == {TrialState.PRUNED, TrialState.COMPLETE}
    assert trials[1].state == TrialState.COMPLETE
    assert (trials[2].state, trials[2].value) == (TrialState.PRUNED, 0.1)
    assert metadata_of(trials[2])["stop_reason"] == "asha: 10.00 % at epoch 1, rank 6/6; the best 3 were promoted"
    assert not record.paths.trial_folder(2).exists()


def test_before_the_deadline_the_most_promising_trial_is_finished(tmp_path: Path) -> None:
    record = open_study(tmp_path, SPACE.replace("reduction_factor: 2", "reduction_factor: 3"))
    driver = drive(record, deadline=time.monotonic() + 100_000)
    for number, accuracy in enumerate([0.5, 0.9]):
        assignment = driver.next_assignment()
        assert assignment is not None
        assert assignment.number == number
        assert not driver.on_report(report(number, [accuracy], epoch_s=1100))
    driver.deadline.at = time.monotonic() + 4000  # three epochs of 1100 s are left, which fit, and none before them
    assignment = driver.next_assignment()
    assert assignment is not None
    assert assignment.number == 1
    assert driver.on_report(report(1, [0.9, 0.9, 0.9], n_new=2, epoch_s=1100))  # past its rung
    other = driver.next_assignment()
    assert other is not None
    assert other.number == 2, "trial 0 was the worse of two at its rung, and is not worth it"


def test_no_epoch_begins_that_would_not_end_before_the_deadline_and_no_shorter_one_is_kept_from_it(
    tmp_path: Path,
) -> None:
    text = SPACE.replace("name: asha", "name: none")
    driver = drive(open_study(tmp_path, text), deadline=time.monotonic() + 1000)
    for number, epoch_s in enumerate([0.1, 40.0, 0.1, 0.1]):
        assert driver.next_assignment() is not None
        assert driver.on_report(report(number, [0.5], epoch_s=epoch_s))
    driver.deadline.at = time.monotonic() + 20.0
    assert driver.on_report(report(0, [0.5, 0.5], epoch_s=0.1))
    assert not driver.on_report(report(1, [0.5, 0.5], epoch_s=40.0))
    assert driver.record.trials[1].state == TrialState.WAITING
    other = driver.next_assignment()
    assert other is not None
    assert other.number == 4  # a new one is expected to take 0.1 s

    resumed = drive(open_study(tmp_path, text), deadline=time.monotonic() + 20.0)
    assert not resumed.deadline.fits(1)
    assert resumed.record.trials[1].state == TrialState.WAITING


def test_a_trial_that_was_to_be_finished_and_turns_out_too_slow_for_it_pauses(tmp_path: Path) -> None:
    record = open_study(tmp_path, search__pruner__min_epochs=0.5)
    driver = drive(record, deadline=time.monotonic() + 1500)
    for number, accuracy in enumerate([0.7, 0.6]):
        driver.next_assignment()
        assert not driver.on_report(partial(number, accuracy, train_s=100.0))
    driver.deadline.at = time.monotonic() + 900  # four epochs of 200 s
    first = driver.next_assignment()
    assert first is not None
    assert first.number == 0
    assert not driver.on_report(report(0, [0.8], epoch_s=400.0))
    assert record.trials[0].state == TrialState.WAITING


def test_what_could_not_be_trained_to_its_end_in_time_lets_others_go_first(tmp_path: Path) -> None:
    driver = drive(open_study(tmp_path), deadline=time.monotonic() + 1000)
    for number, (accuracy, epoch_s) in enumerate([(0.9, 400.0), (0.5, 150.0)]):
        driver.next_assignment()
        assert not driver.on_report(report(number, [accuracy], epoch_s=epoch_s))
    other = driver.next_assignment()  # trial 0 is the better one, but has three epochs of 400 s to go
    assert other is not None
    assert other.number == 2
    driver.deadline.at = time.monotonic() + 500  # the quicker one too takes 600 s from beginning to end
    again = driver.next_assignment()
    assert again is not None
    assert again.number == 0


def test_a_trial_that_pauses_and_would_not_end_its_epoch_in_time_stays_in_the_study(tmp_path: Path) -> None:
    driver = drive(open_study(tmp_path, search__trials=2), deadline=time.monotonic() + 1000)
    for number in (0, 1):
        driver.next_assignment()
        driver.stop_requested = True
        assert not driver.on_report(report(number, [0.5], epoch_s=40.0))
        driver.stop_requested = False
    driver.deadline.at = time.monotonic() + 20.0
    assert driver.next_assignment() is None
    assert [t.state for t in driver.record.trials] == [TrialState.WAITING] * 2


def test_a_trial_that_was_not_drawn_yet_when_its_driver_died_is_drawn_before_a_deadline(tmp_path: Path) -> None:
    text = SPACE.replace("reduction_factor: 2", "reduction_factor: 3").replace("name: mlp", "name: {choice: [mlp]}")
    driver = drive(open_study(tmp_path, text))
    driver.next_assignment()
    driver.on_report(report(0, [0.5]))
    driver.record.optuna.add_trial(optuna.create_trial(state=TrialState.WAITING))
    assignment = drive(open_study(tmp_path, text), deadline=time.monotonic() + 1000).next_assignment()
    assert assignment is not None
    assert assignment.number == 1
    assert assignment.config["model"]["name"] == "mlp"


@pytest.mark.parametrize("n_writes", range(5))  # the note of its end, its epoch, the metadata, its state
def test_a_trial_that_was_trained_to_its_end_is_complete_wherever_its_driver_dies(
    tmp_path: Path, n_writes: int
) -> None:
    text = SPACE.replace("epochs: 4", "epochs: 2")  # which is a rung
    storage = MortalStorage(tmp_path)
    driver = drive(open_study(tmp_path, text, storage=storage))
    accuracies = [0.9, 0.8, 0.7, 0.6]
    while (assignment := driver.next_assignment()) is not None:
        number, ends = assignment.number, assignment.n_epochs_known == 1
        if ends and number == 1:  # the second at its last epoch, so that it would pause there
            break
        driver.on_report(report(number, [accuracies[number]] * (1 + ends), stop="epochs" if ends else None))
    storage.die_in(n_writes, after=n_writes > 0)
    with pytest.raises(DriverKilledError):
        driver.on_report(report(1, [0.8] * 2, stop="epochs"))
    record = open_study(tmp_path, text)
    driver = drive(record)
    if n_writes < 4:
        assert record.trials[1].state == TrialState.WAITING
        again = driver.next_assignment()
        assert again is not None
        assert (again.number, again.n_epochs_known) == (1, 1 if n_writes == 0 else 2)
        driver.on_report(report(1, [0.8] * 2, stop="epochs", n_new=1 if n_writes == 0 else 0))
    assert record.trials[1].state == TrialState.COMPLETE
    assert record.trials[1].intermediate_values == {1: 0.8, 2: 0.8}
    assert len(history_of(record.trials[1])) == 2


@pytest.mark.parametrize("at", [0.5, 1])
@pytest.mark.parametrize("at_once", [True, False])
def test_a_trial_that_was_let_go_on_goes_on_first_after_a_crash(tmp_path: Path, at: float, at_once: bool) -> None:
    changes: dict[str, Any] = {"search__trials": 9, "search__pruner__min_epochs": at}
    driver = drive(open_study(tmp_path, **changes))

    def reach_rung(number: int, accuracy: float) -> bool:
        return driver.on_report(partial(number, accuracy) if at < 1 else report(number, [accuracy]))

    for number, accuracy in enumerate([0.5, 0.6] if at_once else [0.6, 0.5]):
        assert driver.next_assignment() is not None
        goes_on = reach_rung(number, accuracy)
    assert goes_on == at_once  # the better of two
    if not at_once:
        assignment = driver.next_assignment()
        assert assignment is not None
        assert assignment.number == 0
    for _ in range(3):
        assert driver.next_assignment() is not None
    for number, accuracy in zip((2, 3, 4), (0.9, 0.8, 0.7), strict=True):  # three better ones
        reach_rung(number, accuracy)
    again = drive(open_study(tmp_path, **changes)).next_assignment()
    assert again is not None
    assert again.number == int(at_once)


def test_what_a_trial_trains_again_for_want_of_a_checkpoint_is_not_compared_again(tmp_path: Path) -> None:
    record = open_study(tmp_path)
    driver = drive(record)
    for number, accuracy in enumerate([0.5, 0.6]):
        assert driver.next_assignment() is not None
        driver.on_report(report(number, [accuracy]))
    assert not driver.on_report(report(1, [0.6] * 2))  # alone at the second rung
    for number, curve in ((2, [0.7]), (3, [0.8]), (3, [0.8, 0.8])):
        if len(curve) == 1:
            assert driver.next_assignment() is not None
        driver.on_report(report(number, curve))
    driver.on_crash(3, "killed")  # let go on from epoch 2
    again = driver.next_assignment()
    assert again is not None
    assert again.number == 3
    assert driver.on_report(report(3, [0.1]))  # epoch 1 once more
    assert len(history_of(record.trials[3])) == 2
    assert driver.on_report(report(3, [0.1, 0.1]))  # and the one from which it had been let go on


def test_what_is_known_of_a_trial_at_its_rung_is_recorded_when_the_time_is_over(tmp_path: Path) -> None:
    record = open_study(tmp_path)
    driver = drive(record, deadline=float("inf"))
    driver.next_assignment()
    driver.deadline.at = 0.0
    assert not driver.on_report(report(0, [0.5]))
    assert metadata_of(record.trials[0])["params"] == 7
    assert len(history_of(record.trials[0])) == 1


def test_only_what_a_worker_trained_for_this_run_is_counted(tmp_path: Path) -> None:
    driver = drive(open_study(tmp_path, search__pruner__min_epochs=0.5))
    for _ in range(2):
        driver.next_assignment()
    driver.on_report(replace(report(0, [0.5]), spent_s=0.0))
    assert (driver.totals.epochs, driver.totals.train_s, driver.totals.first_step_at) == (0, 0.0, None)
    before = time.monotonic()
    driver.on_report(partial(1, 0.5))
    assert driver.totals.train_s == 1.5
    assert driver.totals.first_step_at is not None
    assert before <= driver.totals.first_step_at + 1.5 <= time.monotonic()


def test_what_is_known_of_a_trial_that_hangs_is_kept(tmp_path: Path) -> None:
    record = open_study(tmp_path, SPACE.replace("name: asha", "name: none"))
    driver = drive(record)
    driver.next_assignment()
    for n in (1, 2):
        assert driver.on_report(report(0, [0.5, 0.6][:n]))
    driver.on_hang(0)
    (trial,) = record.trials
    assert [epoch.val_accuracy for epoch in history_of(trial)] == [0.5, 0.6]
    assert (metadata_of(trial)["epochs"], metadata_of(trial)["duration_s"]) == (2, pytest.approx(2.2))


def test_how_long_a_look_took_tells_how_long_the_epoch_will_take(tmp_path: Path) -> None:
    record = open_study(tmp_path, search__pruner__min_epochs=0.5)
    driver = drive(record, deadline=time.monotonic() + 1000)
    for _ in range(3):
        driver.next_assignment()
    assert not driver.on_report(partial(0, 0.7, train_s=1200.0))
    assert not driver.on_report(partial(1, 0.6))
    assert not driver.on_report(partial(2, 0.5))
    assert driver.deadline.fits(1)
    assert not driver.deadline.fits(0)
    again = driver.next_assignment()
    assert again is not None
    assert again.number == 3
    driver.deadline.at = time.monotonic() + 1300
    assert driver.deadline.fits(0), "of 2400 s, and 2.5 s of validation, half is left"
    driver.release_all()
    resumed = drive(record, deadline=time.monotonic() + 1000)
    assert not resumed.deadline.fits(0), "known from the earlier run"
    assert resumed.deadline.fits(1)


def test_a_new_trial_is_expected_to_take_as_long_as_others_took_to_their_looks(tmp_path: Path) -> None:
    driver = drive(open_study(tmp_path, search__pruner__min_epochs=0.5), deadline=time.monotonic() + 100)
    driver.next_assignment()
    assert not driver.on_report(partial(0, 0.7, train_s=60.0))
    assert driver.next_assignment() is None


def test_a_trial_that_fails_after_a_look_keeps_the_time_it_took(tmp_path: Path) -> None:
    record = open_study(tmp_path, search__pruner__min_epochs=0.5)
    driver = drive(record)
    driver.next_assignment()
    driver.next_assignment()
    driver.on_report(partial(0, 0.6))
    driver.on_report(partial(1, 0.7))  # goes on at once
    driver.on_report(TrialReport(1, (), 0, None, "loss is nan", {}))
    assert record.trials[1].state == TrialState.FAIL
    assert metadata_of(record.trials[1])["duration_s"] == 1.5


def test_a_trial_that_fails_before_it_could_go_on_keeps_what_is_known_of_it(tmp_path: Path) -> None:
    record = open_study(tmp_path, search__pruner__name="none")
    driver = drive(record)
    driver.next_assignment()
    driver.on_report(report(0, [0.5]))
    driver.stop_requested = True
    driver.on_report(report(0, [0.5, 0.6]))
    driver = drive(record)
    again = driver.next_assignment()
    assert again is not None
    assert again.n_epochs_known == 2
    driver.on_report(replace(report(0, [], n_new=0, failure="out of memory"), metadata={"ran_on": "there"}))
    trial = record.trials[0]
    assert trial.state == TrialState.FAIL
    assert len(history_of(trial)) == metadata_of(trial)["epochs"] == 2
    assert metadata_of(trial)["duration_s"] == 2.2
    assert (metadata_of(trial)["reason"], metadata_of(trial)["ran_on"]) == ("out of memory", "there")


def test_a_trial_that_waits_long_for_its_worker_says_so_once(tmp_path: Path) -> None:
    events: list[Event] = []
    now = 1000.0
    driver = drive(open_study(tmp_path), events, clock=lambda: now)
    driver.next_assignment()
    driver.on_wait(0)
    assert events == []
    now += 90
    for _ in range(2):
        driver.on_wait(0)
    assert [(event.kind, event.text) for event in events] == [
        ("warning", "its worker has not begun yet: it is still starting, or the Ray cluster has no place for it")
    ]


def test_a_reason_is_that_of_a_failure(tmp_path: Path) -> None:
    record = open_study(tmp_path)
    driver = drive(record)
    driver.next_assignment()
    driver.writer.note_progress(
        0, [], {"reason": "its worker died"}
    )  # and then the driver, before it could fail the trial
    driver.on_report(report(0, [0.5] * 4, stop="epochs", n_new=4))
    assert trial_rows(record.trials, record.space, is_running=False)[0].reason == ""


def test_best_yaml_is_the_first_of_equal_trials_whichever_ends_first(tmp_path: Path) -> None:
    record = open_study(tmp_path)
    driver = drive(record)
    for _ in range(2):
        driver.next_assignment()
    for number in (1, 0):
        driver.on_report(report(number, [0.9] * 4, stop="epochs", n_new=4))
    assert record.best is not None
    assert record.best.number == 0
    assert "Trial 0 of study s" in record.paths.best_recipe.read_text()


def test_best_yaml_that_a_kill_left_behind_is_written_on_resume(tmp_path: Path) -> None:
    record = open_study(tmp_path)
    driver = drive(record)
    driver.next_assignment()
    driver.on_report(report(0, [0.9] * 4, stop="epochs", n_new=4))
    expected = record.paths.best_recipe.read_text()
    record.paths.best_recipe.write_text("# an earlier trial")  # killed before it was written
    drive(open_study(tmp_path))
    assert record.paths.best_recipe.read_text() == expected


def test_an_interrupted_trial_keeps_its_number_values_and_curve(tmp_path: Path) -> None:
    record = open_study(tmp_path)
    driver = drive(record)
    before = driver.next_assignment()
    assert before is not None
    for epoch in (1, 2, 3):
        driver.writer.report(0, epoch, 0.8)
    del driver, record  # the process is gone; the trial is RUNNING in the database

    record = open_study(tmp_path)
    assert [t.state for t in record.trials] == [TrialState.RUNNING]
    driver = drive(record)
    after = driver.next_assignment()
    assert after is not None
    assert (after.number, after.config, after.seed) == (before.number, before.config, before.seed)
    assert after.n_epochs_known == 0  # of which the study has more than their accuracies
    assert driver.on_report(report(0, [0.8, 0.8, 0.8], n_new=3))
    (trial,) = open_study(tmp_path).trials
    assert trial.intermediate_values == {1: 0.8, 2: 0.8, 3: 0.8}


def test_a_configuration_that_cannot_be_built_fails_alone(tmp_path: Path) -> None:
    text = "study: s\nsearch: {trials: 8}\nmodel: {name: cnn, blocks: {choice: [1, 6]}}"
    record = open_study(tmp_path, text)
    events: list[Event] = []
    driver = drive(record, events)
    while (assignment := driver.next_assignment()) is not None:
        assert assignment.config["model"]["blocks"] == 1
        driver.on_report(report(assignment.number, [0.5] * 10, stop="epochs"))
    n_failed = sum(t.state == TrialState.FAIL for t in record.trials)
    assert [e.kind for e in events].count("failed") == n_failed
    states = {t.params["model.blocks"]: t.state for t in record.trials}
    assert states == {1: TrialState.COMPLETE, 6: TrialState.FAIL}
    assert "6 blocks do not fit" in metadata_of(next(t for t in record.trials if t.state == TrialState.FAIL))["reason"]


def test_a_waiting_trial_that_cannot_be_built_fails_and_the_search_goes_on(tmp_path: Path) -> None:
    text = "study: s\nsearch: {trials: 8}\nmodel: {name: cnn, blocks: {choice: [1, 6]}}"
    record = open_study(tmp_path, text)
    trial = optuna.create_trial(
        state=TrialState.WAITING,
        params={"model.blocks": 6},
        distributions={"model.blocks": optuna.distributions.CategoricalDistribution([1, 6])},
    )
    record.optuna.add_trial(trial)  # killed before it was told as FAIL
    assignment = drive(record).next_assignment()
    assert assignment is not None
    assert assignment.number > 0
    assert record.trials[0].state == TrialState.FAIL


def test_a_worker_that_dies_again_and_again_fails_its_trial(tmp_path: Path) -> None:
    record = open_study(tmp_path)
    driver = drive(record)
    for _ in range(3):
        assignment = driver.next_assignment()
        assert assignment is not None
        assert assignment.number == 0
        driver.on_crash(0, "killed")
    assert record.trials[0].state == TrialState.FAIL
    assert metadata_of(record.trials[0])["reason"] == "its worker died 3 times in epoch 1: killed"


def test_a_trial_that_gets_on_between_its_workers_deaths_is_not_at_fault(tmp_path: Path) -> None:
    record = open_study(tmp_path, SPACE.replace("name: asha", "name: none"), training__epochs=30)
    driver = drive(record)
    for n_epochs in range(1, 6):
        assert driver.next_assignment() is not None
        assert driver.on_report(report(0, [0.8] * n_epochs))
        driver.on_crash(0, "killed")
    assert record.trials[0].state == TrialState.WAITING


def test_after_the_deadline_nothing_begins_and_running_trials_are_put_back(tmp_path: Path) -> None:
    driver = drive(open_study(tmp_path), deadline=float("inf"))
    assert driver.next_assignment() is not None
    driver.deadline.at = 0.0
    assert not driver.on_report(report(0, [0.5]))
    assert driver.next_assignment() is None
    assert driver.record.trials[0].state == TrialState.WAITING


def test_early_stopping_counts_the_best_epoch(tmp_path: Path) -> None:
    record = open_study(tmp_path, training__early_stopping=1)
    driver = drive(record)
    driver.next_assignment()
    driver.on_report(report(0, [0.7, 0.9, 0.8], stop="early_stopping", n_new=3))
    assert record.trials[0].state == TrialState.COMPLETE
    assert record.trials[0].value == 0.9
    assert metadata_of(record.trials[0])["best_epoch"] == 2


def test_a_trial_that_asha_stopped_has_no_best_epoch_to_be_retrained_to(tmp_path: Path) -> None:
    record = open_study(tmp_path, training__early_stopping=2)
    driver = drive(record)
    for number in range(2):
        driver.next_assignment()
        driver.on_report(report(number, [0.9 - number / 10]))
    driver.on_report(report(driver.next_assignment().number, [0.9, 0.8, 0.7], stop="early_stopping", n_new=2))
    driver.writer.prune(1, "asha")
    best, pruned = record.trials
    assert (metadata_of(best)["best_epoch"], metadata_of(pruned)["best_epoch"]) == (1, 1)
    assert [plan_for(record, trial).n_epochs for trial in (best, pruned)] == [1, 4]
    assert "It was best after epoch 1" in recipe_of(record, best)
    assert "It was best" not in recipe_of(record, pruned)


def test_a_changed_space_is_refused_with_every_difference(tmp_path: Path) -> None:
    open_study(tmp_path)
    with pytest.raises(UserError) as caught:
        open_study(tmp_path, SPACE.replace("1e-1]", "1.0]").replace("epochs: 4", "epochs: 5").replace("[8], ", ""))
    message = str(caught.value)
    assert "training.optimizer.lr: high: 0.1 -> 1.0" in message
    assert "training.epochs: 4 -> 5" in message
    assert "model.hidden: choice: [[8], [16, 8]] -> [[16, 8]]" in message
    assert "--study s-2" in message


def test_a_changed_budget_is_no_change(tmp_path: Path) -> None:
    open_study(tmp_path)
    record = open_study(tmp_path, search__trials=100, search__timeout="1h")
    assert record.quota.n_target == 100
    assert StudyRecord.load(open_database(database_url(tmp_path), create=False), record.paths).quota.n_target == 100


def test_differences_name_what_is_absent() -> None:
    assert space_differences({"a": {"b": 1}}, {"a": {"c": 2}}) == ["a.b: 1 -> absent", "a.c: absent -> 2"]


def test_the_database_is_in_write_ahead_mode_and_whole(tmp_path: Path) -> None:
    open_study(tmp_path)
    with sqlite3.connect(tmp_path / "studies.db") as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_what_is_written_after_another_program_looked_is_seen_by_the_next(tmp_path: Path) -> None:
    def count_studies() -> str:
        code = f"import sqlite3; c = sqlite3.connect({str(tmp_path / 'studies.db')!r}); print(c.execute('SELECT COUNT(*) FROM studies').fetchone()[0]); c.close()"
        return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()

    first = open_study(tmp_path)
    second = open_database(database_url(tmp_path), create=False)  # as a command does that checks before it opens
    assert len(optuna.get_all_study_names(second)) == 1
    assert count_studies() == "1"
    optuna.create_study(study_name="later", storage=first.storage)
    assert count_studies() == "2"


@pytest.mark.parametrize("content", [b"hello, this is no database at all", b"SQLite format 3\0 but then garbage" * 100])
def test_a_file_that_is_no_database_is_refused_and_untouched(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "studies.db").write_bytes(content)
    with pytest.raises(UserError, match=r"studies.db: "):
        open_database(database_url(tmp_path), create=True)
    assert (tmp_path / "studies.db").read_bytes() == content
    assert [p.name for p in tmp_path.iterdir()] == ["studies.db"]


def test_another_programs_database_is_refused(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "studies.db") as connection:
        connection.execute("CREATE TABLE birds (name TEXT)")
    with pytest.raises(UserError, match="not a study database"):
        open_database(database_url(tmp_path), create=True)


def test_a_study_that_optuna_made_alone_is_refused(tmp_path: Path) -> None:
    storage = open_database(database_url(tmp_path), create=True)
    optuna.create_study(study_name="plain", storage=storage)
    with pytest.raises(UserError, match="'plain': not made by fmnist-tune"):
        StudyRecord.load(storage, StudyPaths(tmp_path, "plain"))


def test_a_study_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    record = open_study(tmp_path)
    record.optuna.set_user_attr("fmnist_tune_format", 99)
    with pytest.raises(UserError, match="made by a newer fmnist-tune"):
        open_study(tmp_path)


def test_a_study_whose_creator_was_killed_is_begun_again(tmp_path: Path) -> None:
    storage = open_database(database_url(tmp_path), create=True)
    optuna.create_study(study_name="s", storage=storage, direction="maximize")
    assert not StudyRecord.is_begun(storage, StudyPaths(tmp_path, "s"))
    record = open_study(tmp_path)
    assert StudyRecord.is_begun(storage, record.paths)
    assert StudyRecord.load(storage, record.paths).space.parameters == record.space.parameters


def test_a_look_at_a_lock_does_not_keep_a_driver_from_it(tmp_path: Path) -> None:
    record = open_study(tmp_path)
    with DriverLock(record.paths):
        pass
    looking = record.paths.lock.open()
    fcntl.flock(looking, fcntl.LOCK_SH)
    threading.Timer(0.3, looking.close).start()
    with DriverLock(record.paths):
        assert record.is_running


def test_a_database_is_found_whatever_its_folder_is_called(tmp_path: Path) -> None:
    folder = tmp_path / "a #b+c&d"
    folder.mkdir()
    open_study(folder)
    assert optuna.get_all_study_names(open_database(database_url(folder), create=False)) == ["s"]
    assert list(tmp_path.iterdir()) == [folder]
    for name in ("a?b", "a%41b", "a{b}"):
        with pytest.raises(UserError, match=r"no \?, %, { or } may be in it"):
            database_url(tmp_path / name)


def test_checkpoints_of_ended_trials_that_a_kill_left_are_deleted(tmp_path: Path) -> None:
    record = open_study(tmp_path)
    trials = TrialWriter(record)
    for _ in range(2):
        trials.begin()
    trials.complete(0, 0.5)
    for number in range(2):
        record.paths.trial_folder(number).mkdir(parents=True)
    recover(record)
    assert [path.name for path in record.paths.trial_folder(0).parent.iterdir()] == ["1"]


def test_a_second_driver_is_refused_with_who_holds_the_study(tmp_path: Path) -> None:
    record = open_study(tmp_path)
    with DriverLock(record.paths):
        assert record.is_running
        code = f"from fmnist_tune.study.lock import *; from fmnist_tune.study.layout import *; from pathlib import Path\nDriverLock(StudyPaths(Path({str(tmp_path)!r}), 's')).__enter__()"
        run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
        assert "study s is being searched or trained already by process" in run.stderr
    assert not record.is_running


def test_the_lock_of_a_dead_driver_is_free(tmp_path: Path) -> None:
    code = f"import os; from fmnist_tune.study.lock import *; from fmnist_tune.study.layout import *; from pathlib import Path\nDriverLock(StudyPaths(Path({str(tmp_path)!r}), 's')).__enter__(); os.kill(os.getpid(), 9)"
    subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
    record = open_study(tmp_path)
    assert not record.is_running
    with DriverLock(record.paths):
        assert record.is_running


@pytest.mark.parametrize("name", ["", "../x", "a/b", ".hidden", "x" * 81])
def test_a_name_that_is_no_folder_name_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(UserError, match="cannot name a study"):
        StudyPaths(tmp_path, name)


def test_a_summary_finds_what_mattered_and_what_lies_at_an_edge(tmp_path: Path) -> None:
    record = open_study(tmp_path, search__trials=40)
    trials = TrialWriter(record)
    while (spec := trials.begin()) is not None:
        lr = spec.values["training.optimizer.lr"]
        trials.report(spec.number, 1, lr)
        trials.complete(spec.number, lr)
    summary = summarize(record, is_running=False)
    assert summary.counts["complete"] == 40
    assert summary.importances is not None
    assert next(iter(summary.importances.shares)) == "training.optimizer.lr"
    assert sum(summary.importances.shares.values()) == pytest.approx(1)
    assert summary.importances.meaning == "what sets the best 5 of 40 trials apart, by accuracy after epoch 1"
    assert any(line.startswith("training.optimizer.lr = ") and "upper end" in line for line in summary.edges)


def test_importances_need_ten_trials(tmp_path: Path) -> None:
    assert parameter_importances(open_study(tmp_path).trials) is None


def test_nothing_is_important_where_all_trials_are_alike(tmp_path: Path) -> None:
    record = open_study(tmp_path, search__trials=12)
    driver = drive(record)
    for _ in range(12):
        driver.next_assignment()
    for number in range(12):
        driver.on_report(report(number, [0.1]))
    assert parameter_importances(record.trials) is None


def test_what_was_running_waits_where_nobody_drives_the_study(tmp_path: Path) -> None:
    record = open_study(tmp_path)
    drive(record).next_assignment()
    assert summarize(record, is_running=True).counts["running"] == 1
    counts = summarize(record, is_running=False).counts
    assert (counts["running"], counts["waiting"]) == (0, 1)


def test_files_of_a_study_that_was_deleted_are_not_taken_for_another_ones(tmp_path: Path) -> None:
    record = open_study(tmp_path)
    record.paths.model.mkdir(parents=True)
    record.paths.training_log.touch()
    assert open_study(tmp_path).trials == [], "the same study"
    optuna.delete_study(study_name="s", storage=record.storage)
    with pytest.raises(
        UserError, match=r"s: has files \(training.log, model\) of a study 's' that is not in the database"
    ):
        open_study(tmp_path)
    assert record.paths.disk_bytes() == 0


def test_an_edge_is_measured_on_the_scale_that_is_searched(tmp_path: Path) -> None:
    lr = next(p.domain for p in read_space(SPACE, "s").parameters if p.path.endswith(".lr"))
    assert edge_of(lr, 1e-4) == edge_of(lr, 1.3e-4) == "lower"
    assert edge_of(lr, 1e-2) is None
    assert edge_of(IntDomain(2, 3), 3) is None  # each of two values is an end
    assert edge_of(lr, 9e-2) == "upper"
    assert edge_of(IntDomain(16, 130, step=32), 112) == "upper"  # the highest value that there is
    assert edge_of(FloatDomain(0.0, 1.0, step=0.3), 0.9) == "upper"
    dropout = FloatDomain(0.0, 0.5)
    assert edge_of(dropout, 0.0) is None  # there is nothing below it
    assert edge_of(dropout, 0.5) == "upper"


def test_a_command_on_a_study_can_be_typed_and_keeps_a_password_to_itself() -> None:
    assert StudyPaths(Path("studies"), "s").command("retrain", "--seeds", 3) == "fmnist-tune retrain s --seeds 3"
    paths = StudyPaths(Path("a b"), "s", "postgresql://me:secret@host/db")
    with pytest.raises(UserError, match=r"^postgresql://me:\*\*\*@host/db: cannot be used"):
        open_database("postgresql://me:secret@host/db", create=True)
    assert paths.command("show") == "fmnist-tune show s --studies-dir 'a b' --storage 'postgresql://me:***@host/db'"


def test_a_database_that_is_lost_is_told_as_such(tmp_path: Path) -> None:
    driver = drive(open_study(tmp_path))
    assert driver.next_assignment() is not None
    with sqlite3.connect(tmp_path / "studies.db") as connection:
        connection.execute("DROP TABLE trial_user_attributes")
    with pytest.raises(StorageLostError, match="no such table"), driver.record.hold.writing():
        driver.on_crash(0, "killed")
