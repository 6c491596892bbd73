"""Trials of thousands of epochs: nothing that is stored, and no time that a report takes, grows with their number."""

from __future__ import annotations

import json
import random
import time
import tracemalloc
from pathlib import Path

from optuna.trial import FrozenTrial, TrialState

from fmnist_tune.search.driver import Driver
from fmnist_tune.search.messages import TrialReport
from fmnist_tune.study.database import database_url, open_database
from fmnist_tune.study.trial_data import MAX_EPOCHS, history_of, metadata_of
from fmnist_tune.training.results import EpochResult, StopReason
from tests.studies import SPACE, drive, open_study

LONGEST_ATTRIBUTE = 30_000  # characters; MySQL allows 64 kB
BYTES_PER_REPORT = 2_500  # of an epoch, in all the forms in which a driver keeps it; 800 when this was written

N_REPORTS = 400


def epoch_result(epoch: int) -> EpochResult:
    """Return an epoch whose numbers have as many digits as real ones."""
    draw = random.Random(epoch).random
    return EpochResult(
        epoch=epoch,
        train_loss=draw(),
        train_accuracy=draw(),
        val_loss=draw(),
        val_accuracy=draw(),
        lr=draw() / 100,
        train_s=10 * draw(),
        val_s=draw(),
        n_images=50_000,
    )


def send(driver: Driver, number: int, epoch: int, n_epochs: int) -> bool:
    """Report one epoch of a trial; returns whether it goes on."""
    stop: StopReason | None = "epochs" if epoch == n_epochs else None
    return driver.on_report(
        TrialReport(number, (epoch_result(epoch),), epoch, stop, None, {"ran_on": "here"}, spent_s=1.0)
    )


def stored(folder: Path) -> list[FrozenTrial]:
    """Return the trials as their database has them."""
    storage = open_database(database_url(folder), create=False)
    return storage.get_all_trials(storage.get_study_id_from_name("s"))


def check_small_parts(trial: FrozenTrial, n_rungs: int) -> None:
    """Check that nothing that is kept of a trial of 5,000 epochs is large."""
    attributes = [*trial.user_attrs.values(), *trial.system_attrs.values()]
    assert len(attributes) <= 5000 / MAX_EPOCHS + n_rungs + 10
    assert max(len(json.dumps(value)) for value in attributes) <= LONGEST_ATTRIBUTE


def test_a_trial_of_five_thousand_epochs_is_kept_whole_in_small_parts(tmp_path: Path) -> None:
    n = 5000
    driver = drive(open_study(tmp_path, SPACE, training__epochs=n, search__trials=1))
    assert driver.next_assignment() is not None
    for epoch in range(1, n + 1):
        if not send(driver, 0, epoch, n) and epoch < n:
            assert driver.next_assignment() is not None, "the only one at its rung"

    (trial,) = stored(tmp_path)
    assert trial.state == TrialState.COMPLETE
    assert trial.value == epoch_result(n).val_accuracy
    assert trial.intermediate_values == {epoch: epoch_result(epoch).val_accuracy for epoch in range(1, n + 1)}
    assert history_of(trial) == [epoch_result(epoch) for epoch in range(1, n + 1)]
    assert metadata_of(trial)["epochs"] == n
    check_small_parts(trial, n.bit_length())


def test_late_epochs_take_the_driver_no_longer_than_early_ones_of_another_trial(tmp_path: Path) -> None:
    n, n_compared = 5000, 300
    text = SPACE.replace("name: asha", "name: none")
    driver = drive(open_study(tmp_path, text, training__epochs=n, search__trials=2))
    assert driver.next_assignment() is not None
    for epoch in range(1, n - n_compared):
        send(driver, 0, epoch, n)
    assert driver.next_assignment() is not None
    seconds = [0.0, 0.0]
    for i in range(n_compared):  # in turn, so that what else the machine does slows both
        for number, epoch in enumerate((n - n_compared + i, 1 + i)):
            start = time.process_time()
            send(driver, number, epoch, n)
            seconds[number] += time.process_time() - start
    assert seconds[0] < 3 * seconds[1]
    check_small_parts(stored(tmp_path)[0], n_rungs=0)


def test_a_driver_keeps_little_of_each_report(tmp_path: Path) -> None:
    text = SPACE.replace("name: asha", "name: none")
    driver = drive(open_study(tmp_path, text, training__epochs=N_REPORTS, search__trials=3))

    def train() -> None:
        assignment = driver.next_assignment()
        assert assignment is not None
        for epoch in range(1, N_REPORTS + 1):
            send(driver, assignment.number, epoch, N_REPORTS)

    train()  # fills whatever is filled once
    tracemalloc.start()
    try:
        grown = []
        for _ in range(2):
            before, _ = tracemalloc.get_traced_memory()
            train()
            grown.append(tracemalloc.get_traced_memory()[0] - before)
    finally:
        tracemalloc.stop()
    assert max(grown) / N_REPORTS < BYTES_PER_REPORT
