"""The seeds of a retraining as the runner asks for them: deaths, lack of memory, the end; without Ray."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from fmnist_tune.retrain.jobs import JobSource
from fmnist_tune.retrain.seeds import SeedStore
from fmnist_tune.search.faults import Cause
from fmnist_tune.search.memory import THRESHOLD_VARIABLE, Room
from fmnist_tune.search.pace import Pace
from fmnist_tune.study.seed_results import Plan
from tests.studies import open_study, report

FULL = "0.0001"  # the share of this machine's memory that may be used


class Told:
    """A source of seeds and what it has told."""

    def __init__(self, folder: Path, n_seeds: int) -> None:
        self.lines: list[str] = []
        record = open_study(folder)
        plan = Plan("trial-0", "trial 0", record.space.config({"model.hidden": [8]} | VALUES), 4, with_val=False)
        self.source = JobSource(
            SeedStore(record).jobs([plan], range(n_seeds), n_threads=1),
            record.hold,
            pace=Pace(),
            epoch_timeout_s=300,
            say=lambda text, style: self.lines.append(text),
            keep=lambda job, report: self.lines.append(f"{job.name} kept"),
            before_scoring=lambda: self.lines.append("is scored"),
        )

    def begin(self) -> tuple[int, int] | None:
        """Give the next job to a worker; returns its number and how many of its epochs are known."""
        assignment = self.source.next_assignment()
        return None if assignment is None else (assignment.number, assignment.n_epochs_known)


VALUES = {"model.dropout": 0.1, "training.optimizer.name": "adamw", "training.optimizer.lr": 0.01}


def test_a_model_is_scored_after_that_was_recorded_and_kept_after_it_was_saved(tmp_path: Path) -> None:
    told = Told(tmp_path, 1)
    assert told.begin() == (0, 0)
    assert told.source.on_report(report(0, [0.5]))
    assert told.source.on_report(report(0, [0.5] * 4, stop="epochs", n_new=3))
    assert told.lines == ["is scored"]
    assert not told.source.on_report(replace(report(0, [0.5] * 4, stop="epochs", n_new=0), is_saved=True))
    assert told.lines == ["is scored", "trial 0, seed 0 kept"]
    assert told.begin() is None
    assert (told.source.n_ended, told.source.failure, told.source.is_waiting) == (1, None, False)


def test_a_job_whose_worker_died_goes_on_and_three_deaths_in_an_epoch_end_all(tmp_path: Path) -> None:
    told = Told(tmp_path, 2)
    assert told.begin() == (0, 0)
    for _ in range(2):
        told.source.on_crash(0, "killed", Cause.WORKER)
        assert told.begin() == (0, 0)
    assert told.source.on_report(report(0, [0.5]))
    for _ in range(2):
        told.source.on_crash(0, "killed", Cause.WORKER)
        assert told.begin() == (0, 1)
    assert told.lines == ["trial 0, seed 0: its worker died (killed), it goes on"] * 4
    assert told.begin() == (1, 0)
    told.source.on_crash(0, "killed", Cause.WORKER)
    assert told.source.failure == "trial 0, seed 0: its worker died 3 times in epoch 2: killed"
    assert told.begin() is None
    assert not told.source.on_report(report(1, [0.5])), "the other one stops after its epoch"


def test_a_job_whose_epoch_takes_longer_than_the_studys_limit_ends_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = Told(tmp_path, 2)
    assert (told.begin(), told.begin()) == ((0, 0), (1, 0))
    assert told.source.on_report(report(0, [0.5]))
    assert told.source.on_report(report(1, [0.5]))
    assert told.source.overdue() == []
    told.source.running[0].heard_at -= 301
    assert told.source.overdue() == [0]
    told.source.on_hang(0)
    assert told.source.failure == "trial 0, seed 0: no epoch within 300 s (search.epoch_timeout)"
    assert not told.source.on_report(report(0, [0.5, 0.6])), "what it says before it is killed"
    assert not told.source.on_report(report(1, [0.5, 0.6])), "the other one stops after its epoch"


def test_a_job_without_memory_waits_for_it_and_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told = Told(tmp_path, 2)
    assert (told.begin(), told.begin()) == ((0, 0), (1, 0))
    told.source.on_crash(1, "out of memory", Cause.MEMORY)
    assert told.lines[-1].endswith("it goes on, with at most 1 worker at a time while memory is short")
    assert told.begin() is None
    assert told.source.was_held_back
    monkeypatch.setenv(THRESHOLD_VARIABLE, FULL)
    told.source.on_crash(0, "out of memory", Cause.MEMORY)
    assert "waits for more, and tries again after 10 s at the latest" in told.lines[-1]
    assert told.source.is_waiting


def test_a_model_too_large_to_be_scored_beside_others_is_scored_later(tmp_path: Path) -> None:
    told = Told(tmp_path, 2)
    assert (told.begin(), told.begin()) == ((0, 0), (1, 0))
    assert told.source.on_report(report(0, [0.5] * 4, stop="epochs", n_new=4))
    failure = report(0, [0.5] * 4, stop="epochs", n_new=0, failure="OutOfMemoryError: CUDA out of memory")
    assert not told.source.on_report(replace(failure, cause=Cause.MEMORY, room=Room(2**20, 2**34)))
    assert told.source.on_report(report(1, [0.5]))
    assert told.source.failure is None
    told.source.release(1)
    assert told.begin() == (1, 1)
    told.source.stop_requested = True
    assert not told.source.on_report(report(1, [0.5] * 2))
    assert told.lines[-1] == "trial 0, seed 1: can go on later"


def test_a_training_that_fails_ends_all_and_a_full_disk_is_no_training_that_fails(tmp_path: Path) -> None:
    told = Told(tmp_path, 2)
    assert told.begin() == (0, 0)
    failure = report(0, [], failure="no space", n_new=0)
    with pytest.raises(OSError, match="no space"):
        told.source.on_report(replace(failure, cause=Cause.DISK))
    assert not told.source.on_report(failure)
    assert told.source.failure == "trial 0, seed 0: no space"
    assert told.begin() is None


def test_workers_that_cannot_start_end_all(tmp_path: Path) -> None:
    told = Told(tmp_path, 1)
    for _ in range(3):
        assert told.begin() == (0, 0)
        told.source.on_crash(0, "ImportError: libtorch.so", Cause.START)
    assert told.begin() is None
    assert told.source.failure == "workers cannot start: ImportError: libtorch.so"
