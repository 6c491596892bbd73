"""A worker without Ray: whatever becomes of its files, it trains."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fmnist_tune.search.faults import Cause
from fmnist_tune.search.messages import Assignment
from fmnist_tune.search.worker import Worker
from fmnist_tune.study.layout import TEST_SCORES, WEIGHTS
from fmnist_tune.tasks.images import Images
from tests.conftest import make_pictures

CONFIG = {"model": {"name": "mlp", "hidden": [8]}, "training": {"epochs": 3}, "data": {"val_size": 100}}


def assignment(folder: Path, *, n_known: int = 0) -> Assignment:
    return Assignment(0, CONFIG, 0, n_known, str(folder / "checkpoint.pt"), str(folder / "log"), 1)


def assigned(folder: Path, *, n_known: int = 0) -> Worker:
    images, labels = make_pictures(200, 0)
    worker = Worker(Images(images.astype(np.uint8), labels.astype(np.int64), ("", "")), "cpu")
    worker.assign(assignment(folder, n_known=n_known))
    return worker


def test_a_trial_goes_on_where_its_folder_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    worker = assigned(tmp_path / "file" / "0")
    reports = [worker.step() for _ in range(3)]
    assert [r.failure for r in reports] == [None] * 3
    assert reports[-1].stop_reason == "epochs"
    assert reports[-1].metadata["trouble"].startswith("no checkpoint: ")


def test_a_trial_whose_checkpoint_is_gone_says_so_and_is_trained_again(tmp_path: Path) -> None:
    first = assigned(tmp_path).step()
    assert "trouble" not in first.metadata
    assert "trouble" not in assigned(tmp_path, n_known=1).step().metadata
    for path in tmp_path.glob("*.pt"):
        path.unlink()
    again = assigned(tmp_path, n_known=2).step()
    assert again.metadata["trouble"] == "no checkpoint of epoch 2; goes on from epoch 0"
    assert [r.val_accuracy for r in again.epochs] == [r.val_accuracy for r in first.epochs]


def test_a_trial_whose_checkpoint_within_an_epoch_is_gone_says_so(tmp_path: Path) -> None:
    def step(known: float) -> dict[str, Any]:
        worker = assigned(tmp_path)
        worker.assign(replace(assignment(tmp_path), partial=() if known else (0.5,), n_epochs_known=known))
        return worker.step().metadata

    assert "trouble" not in step(0)
    assert "trouble" not in step(0.5)
    for path in tmp_path.glob("*.pt"):
        path.unlink()
    assert step(0.5)["trouble"] == "no checkpoint of its first epoch, which begins anew"


def test_the_log_tells_when_an_epoch_begins_is_evaluated_and_ends(tmp_path: Path) -> None:
    worker = assigned(tmp_path)
    worker.assign(replace(assignment(tmp_path), partial=(0.5,)))
    reports = [worker.step() for _ in range(3)]
    assert [e.epoch for e in reports[0].evaluations] == [0.5]
    lines = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]
    told = [(line["trial"], line["epoch"], line["event"]) for line in lines]
    assert told == [(0, 1, "begin"), (0, 1, "partial_evaluation"), (0, 1, "end"), (0, 2, "begin"), (0, 2, "end")]
    assert ["val_accuracy" in line for line in lines] == [False, False, True, False, True]


def test_a_model_is_saved_and_scored_in_the_step_after_its_last_epoch_was_reported(tmp_path: Path) -> None:
    images, labels = make_pictures(200, 0)
    data = Images(images.astype(np.uint8), labels.astype(np.int64), ("", ""))
    worker = Worker(data, "cpu", data.inputs)
    worker.assign(replace(assignment(tmp_path), saves_model=True))
    reports = [worker.step() for _ in range(3)]
    assert [(r.stop_reason, r.is_saved) for r in reports] == [(None, False), (None, False), ("epochs", False)]
    assert not (tmp_path / TEST_SCORES).exists()
    saved = worker.step()
    assert (saved.epochs, saved.stop_reason, saved.is_saved, saved.failure) == ((), "epochs", True, None)
    assert (tmp_path / WEIGHTS).is_file()
    assert np.load(tmp_path / TEST_SCORES).shape == (200, 10)


def test_a_model_that_cannot_be_saved_is_the_disks_fault(tmp_path: Path) -> None:
    worker = assigned(tmp_path)
    worker.assign(replace(assignment(tmp_path), saves_model=True))
    for _ in range(3):
        worker.step()
    (tmp_path / WEIGHTS).mkdir()
    report = worker.step()
    assert (report.cause, report.is_saved) == (Cause.DISK, False)
    assert report.failure is not None
    assert str(tmp_path / WEIGHTS) in report.failure


def run_apart(code: str) -> Any:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


@pytest.mark.parametrize("module", ["actor", "parallel_map"])
def test_a_worker_imports_nothing_of_the_drivers(module: str) -> None:
    code = (
        f"import json, sys, fmnist_tune.search.{module}\n"
        "print(json.dumps([m for m in ('optuna', 'sqlalchemy', 'torch') if m in sys.modules]))"
    )
    assert run_apart(code) == []


def test_a_trial_that_cannot_allocate_is_told_as_a_lack_of_memory_with_the_room_that_there_is(tmp_path: Path) -> None:
    worker = assigned(tmp_path)
    config = CONFIG | {"model": {"name": "mlp", "hidden": [65536, 65536]}}  # 17 GB
    worker.assign(replace(assignment(tmp_path), config=config))
    pages, limits = int(Path("/proc/self/statm").read_text().split()[0]), resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + 4 * 2**30, limits[1]))
    try:
        report = worker.step()
    finally:
        resource.setrlimit(resource.RLIMIT_AS, limits)
    assert report.cause == Cause.MEMORY
    assert report.failure is not None
    assert "allocate memory" in report.failure
    assert report.room is not None
    assert 0 < report.room.free < report.room.total
    worker.assign(replace(assignment(tmp_path), config=CONFIG))
    assert worker.step().failure is None, "the worker lives on"


def test_an_error_that_may_be_the_machines_is_not_told_as_the_trials(tmp_path: Path) -> None:
    worker = assigned(tmp_path)
    worker.assign(replace(assignment(tmp_path), config=CONFIG | {"data": {"val_size": 200}}))
    report = worker.step()
    assert (report.cause, report.room) == (Cause.UNKNOWN, None)
    assert report.failure is not None
