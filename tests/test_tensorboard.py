"""Curves and hparams for TensorBoard, read back as TensorBoard reads them."""

from __future__ import annotations

import json
import resource
import shutil
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from fmnist_tune.config import read_space
from fmnist_tune.search.driver import Driver
from fmnist_tune.search.events import Event
from fmnist_tune.search.messages import TrialReport
from fmnist_tune.study.database import database_url, open_database
from fmnist_tune.study.layout import StudyPaths
from fmnist_tune.study.record import StudyRecord
from fmnist_tune.study.tensorboard import TensorBoard
from fmnist_tune.study.trial_writer import TrialSpec
from fmnist_tune.training.results import EpochResult, Evaluation

SPACE = """
study: s
search: {trials: 4, sampler: {name: random, seed: 3}, pruner: {name: none}}
model:
  name: mlp
  hidden: {choice: [[8], [16, 8]]}
  dropout: {float: [0.0, 0.5]}
training:
  epochs: 6
  batch_size: {choice: [32, 64]}
  early_stopping: {choice: [null, 3]}
  optimizer:
    name: {choice: [sgd, adamw]}
    nesterov: {choice: [true, false], when: {training.optimizer.name: sgd}}
    momentum: {float: [0.8, 0.99], when: {training.optimizer.name: sgd}}
    lr: {float: [1e-4, 1e-1], log: true}
"""
TAGS = ["accuracy/train", "accuracy/val", "loss/train", "loss/val", "lr"]
SGD = {
    "model.hidden": [16, 8],
    "model.dropout": 0.25,
    "training.batch_size": 64,
    "training.early_stopping": None,
    "training.optimizer.name": "sgd",
    "training.optimizer.nesterov": True,
    "training.optimizer.momentum": 0.875,
    "training.optimizer.lr": 0.0625,
}
ADAMW = {
    "model.hidden": [8],
    "model.dropout": 0.0,
    "training.batch_size": 32,
    "training.early_stopping": 3,
    "training.optimizer.name": "adamw",
    "training.optimizer.lr": 0.03125,
}


def spec(number: int = 0, values: dict[str, Any] | None = None, **known: Any) -> TrialSpec:
    values = values or SGD
    config = read_space(SPACE, "s.yaml").config(values)
    return TrialSpec(
        **{"number": number, "config": config, "seed": 1, "values": values, "history": [], "curve": {}} | known
    )


def board(folder: Path, problems: list[str] | None = None) -> TensorBoard:
    """Return the board of a process that just began; without a list of problems there may be none."""

    def on_warning(number: int, text: str) -> None:
        assert problems is not None, text
        problems.append(f"{number}: {text}")

    return TensorBoard(folder, read_space(SPACE, "s.yaml").parameters, on_warning)


def result(epoch: int) -> EpochResult:
    return EpochResult(
        epoch=epoch,
        train_loss=2 / epoch,
        train_accuracy=0.4 + epoch / 100,
        val_loss=3 / epoch,
        val_accuracy=0.5 + epoch / 100,
        lr=0.1 / epoch,
        train_s=1.0,
        val_s=0.25,
        n_images=500,
    )


def partial(share: float, accuracy: float) -> Evaluation:
    return Evaluation(epoch=share, val_accuracy=accuracy, train_s=1.0, val_s=0.1)


HISTORY = tuple(result(epoch) for epoch in range(1, 7))


def read(folder: Path) -> EventAccumulator:
    accumulator = EventAccumulator(str(folder), {"scalars": 0})
    accumulator.Reload()
    return accumulator


def steps(run: Path) -> list[list[int]]:
    """Return the steps of each curve that a run has, in TAGS' order."""
    accumulator = read(run)
    assert sorted(accumulator.Tags()["scalars"]) == TAGS
    return [[event.step for event in accumulator.Scalars(tag)] for tag in TAGS]


def values(run: Path) -> list[tuple[int, float]]:
    return [(event.step, round(event.value, 6)) for event in read(run).Scalars("accuracy/val")]


def full_files(run: Path) -> list[Path]:
    """Return a run's files that have anything in them, in the order in which TensorBoard reads them."""
    return [file for file in sorted(run.iterdir()) if file.stat().st_size]


def test_a_trial_is_a_run_with_the_curves_of_both_splits(tmp_path: Path) -> None:
    one = board(tmp_path)
    assert not one.has_run(0)
    for epoch in HISTORY:
        one.add(spec(), [epoch])
    one.end(0)
    assert one.has_run(0)
    curves = read(tmp_path / "trial-0")
    assert [e.step for e in curves.Scalars("accuracy/val")] == [1, 2, 3, 4, 5, 6]
    for tag, name in zip(TAGS, ("train_accuracy", "val_accuracy", "train_loss", "val_loss", "lr"), strict=True):
        points = [event.value for event in curves.Scalars(tag)]
        assert points == pytest.approx([getattr(r, name) for r in HISTORY], rel=1e-6)
    assert [path.name for path in tmp_path.iterdir()] == ["trial-0"]


def test_an_epoch_can_be_read_as_soon_as_it_is_reported(tmp_path: Path) -> None:
    one = board(tmp_path)
    for n in range(1, 4):
        one.add(spec(), HISTORY[n - 1 : n])
        assert steps(tmp_path / "trial-0") == [list(range(1, n + 1))] * 5


def test_epochs_reported_together_follow_one_another_in_the_past(tmp_path: Path) -> None:
    board(tmp_path).add(spec(), HISTORY[3:], known=HISTORY[:3])
    times = [event.wall_time for event in read(tmp_path / "trial-0").Scalars("accuracy/val")]
    assert [b - a for a, b in pairwise(times)] == pytest.approx([1.25] * 5, abs=0.1)
    assert 0 <= time.time() - times[-1] < 30


@pytest.mark.parametrize("n_lost", [0, 1, 30])
def test_after_a_crash_the_curves_go_on_without_gap_or_repetition(tmp_path: Path, n_lost: int) -> None:
    """The crash tears the last record, or lets epochs that only the checkpoint has be missing."""
    run = tmp_path / "trial-0"
    one = board(tmp_path)
    for n in range(1, 4):
        one.add(spec(), HISTORY[n - 1 : n])
    curves = full_files(run)[-1]
    curves.write_bytes(curves.read_bytes()[: -n_lost or None])

    other = board(tmp_path)
    other.add(spec(), HISTORY[3:5], known=HISTORY[:3])
    assert steps(run) == [[1, 2, 3, 4, 5]] * 5
    other.add(spec(), HISTORY[5:], known=HISTORY[:5])
    assert steps(run) == [[1, 2, 3, 4, 5, 6]] * 5


def test_files_do_not_pile_up(tmp_path: Path) -> None:
    for n in range(1, 6):
        board(tmp_path).add(spec(), HISTORY[n - 1 : n], known=HISTORY[: n - 1])
    run = tmp_path / "trial-0"
    assert steps(run) == [[1, 2, 3, 4, 5]] * 5
    assert len(full_files(run)) == 3  # curves, hparams, what is added to them
    assert len(list(run.iterdir())) == 6  # and those of the process before, emptied


def test_a_trial_that_pauses_has_no_open_writer_and_goes_on(tmp_path: Path) -> None:
    one, n_threads = board(tmp_path), threading.active_count()
    one.add(spec(), HISTORY[:2])
    one.close(0)
    assert threading.active_count() == n_threads
    one.add(spec(curve={1: 0.51, 2: 0.52}), HISTORY[2:3])
    assert steps(tmp_path / "trial-0") == [[1, 2, 3]] * 5
    one.end(0)
    one.end(0)
    one.close(1)
    assert threading.active_count() == n_threads


def test_an_epoch_that_is_trained_again_replaces_those_from_there_on(tmp_path: Path) -> None:
    one = board(tmp_path)
    one.add(spec(), HISTORY[:4])
    one.add(spec(), [replace(HISTORY[2], val_accuracy=0.75)])
    assert steps(tmp_path / "trial-0") == [[1, 2, 3]] * 5
    one.add(spec(), [replace(HISTORY[3], val_accuracy=0.875)])
    assert values(tmp_path / "trial-0") == [(1, 0.51), (2, 0.52), (3, 0.75), (4, 0.875)]


def test_evaluations_within_the_first_epoch_are_at_step_0_each_once(tmp_path: Path) -> None:
    run, one = tmp_path / "trial-0", board(tmp_path)
    one.add(spec(), [partial(0.25, 0.125)])
    assert values(run) == [(0, 0.125)]
    one.add(spec(), [partial(0.5, 0.25)])
    one.close(0)
    one.add(spec(curve={0.25: 0.125, 0.5: 0.25}), [partial(0.75, 0.375)])
    assert values(run) == [(0, 0.125), (0, 0.25), (0, 0.375)]
    one.add(spec(), [partial(0.75, 0.5)])  # its checkpoint was lost
    one.add(spec(), HISTORY[:1])
    assert values(run) == [(0, 0.125), (0, 0.25), (0, 0.5), (1, 0.51)]
    looked = spec(curve={0.25: 0.125, 0.5: 0.25, 0.75: 0.5})
    board(tmp_path).add(looked, HISTORY[1:2], known=HISTORY[:1])
    assert values(run) == [(0, 0.125), (0, 0.25), (0, 0.5), (1, 0.51), (2, 0.52)]


def test_a_trial_that_ends_without_another_epoch_loses_none_to_a_crash(tmp_path: Path) -> None:
    run = tmp_path / "trial-0"
    board(tmp_path).add(spec(), HISTORY[:3])
    curves = full_files(run)[0]
    curves.write_bytes(curves.read_bytes()[:-5])
    assert [e.step for e in read(run).Scalars("lr")] == [1, 2]
    one = board(tmp_path)
    for _ in range(2):
        one.add(spec(), [], known=HISTORY[:3])
        assert steps(run) == [[1, 2, 3]] * 5


def test_without_anything_new_a_run_stays_as_it_is(tmp_path: Path) -> None:
    """A trial that fails before it could go on from its checkpoint keeps its curves."""
    board(tmp_path).add(spec(), HISTORY[:3])
    one = board(tmp_path)
    one.add(spec(), [])
    one.end(0)
    assert steps(tmp_path / "trial-0") == [[1, 2, 3]] * 5
    one.add(spec(1), [])
    assert not one.has_run(1)


def test_a_folder_that_cannot_be_written_ends_nothing_and_is_told_once(tmp_path: Path) -> None:
    problems: list[str] = []
    folder = tmp_path / "tensorboard"
    folder.write_text("in the way")
    one = board(folder, problems)
    for number in (3, 4):
        for epoch in HISTORY:
            one.add(spec(number), [epoch])
        one.end(number)
    (problem,) = problems
    assert problem.startswith("3: its curves for TensorBoard cannot be written: [Errno 20] Not a directory")
    folder.unlink()
    one.add(spec(5), HISTORY)
    assert steps(folder / "trial-5") == [[1, 2, 3, 4, 5, 6]] * 5


@contextmanager
def largest_file(n_bytes: int) -> Iterator[None]:
    """Let no file of this process grow beyond a size: writes end in the middle of a record, as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_once_a_full_disk_has_room_again_the_curves_are_complete(tmp_path: Path) -> None:
    problems: list[str] = []
    run, one = tmp_path / "trial-0", board(tmp_path, problems)
    one.add(spec(), HISTORY[:1])
    with largest_file(2000):
        one.add(spec(), HISTORY[1:2])
        one.add(spec(), HISTORY[2:3])
    assert problems == ["0: its curves for TensorBoard cannot be written: [Errno 27] File too large"]
    assert steps(run) == [[1]] * 5
    one.add(spec(), HISTORY[3:4])
    assert steps(run) == [[1, 2, 3, 4]] * 5
    assert len(full_files(run)) == 3


# The thread prints its traceback, which pytest warns of.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_disk_that_is_full_within_a_write_ends_nothing_and_loses_nothing(tmp_path: Path) -> None:
    problems: list[str] = []
    history = [result(epoch) for epoch in range(1, 501)]
    run, one = tmp_path / "trial-0", board(tmp_path, problems)
    n_threads = threading.active_count()
    one.add(spec(), history[:10])
    with largest_file(70_000):
        one.add(spec(), history[10:400])
        assert [file.stat().st_size for file in full_files(run)][-1] == 70_000
    assert problems == ["0: its curves for TensorBoard cannot be written: [Errno 27] File too large"]
    one.add(spec(), history[400:])
    assert steps(run) == [list(range(1, 501))] * 5
    one.end(0)
    assert threading.active_count() == n_threads


def test_files_that_others_links_point_to_stay_as_they_are(tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.write_text("precious")
    run = tmp_path / "board" / "trial-0"
    run.mkdir(parents=True)
    (run / "events.out.tfevents.1").symlink_to(precious)
    (run / "events.out.tfevents.2").symlink_to(tmp_path / "gone")
    board(tmp_path / "board").add(spec(), HISTORY)
    assert precious.read_text() == "precious"
    assert not [path for path in run.iterdir() if path.is_symlink()]
    assert steps(run) == [[1, 2, 3, 4, 5, 6]] * 5


IN_A_PROCESS = """
import sys
from pathlib import Path
import fmnist_tune.search.driver
print([name for name in ("torch", "tensorboard") if name in sys.modules])
from tests.test_tensorboard import HISTORY, spec, board, steps
from torch.utils.tensorboard import SummaryWriter
one = board(Path(sys.argv[1]))
for number in range(35):  # among the names of each trial's three files some are numbered 9 and 10, or 99 and 100
    if number == 20:
        for _ in range(2):
            SummaryWriter(sys.argv[1] + "/other").close()
    one.add(spec(number), HISTORY[:1])
    one.add(spec(number), HISTORY[1:])
    one.end(number)
print({str(steps(Path(sys.argv[1]) / f"trial-{number}")) for number in range(35)})
"""


def test_torch_is_imported_with_the_first_write_and_any_number_of_trials_are_read_in_order(tmp_path: Path) -> None:
    words = [sys.executable, "-W", "error", "-c", IN_A_PROCESS, str(tmp_path)]
    run = subprocess.run(words, capture_output=True, text=True, cwd=Path(__file__).parents[1], check=False)
    assert run.stdout == f"[]\n{{'{[[1, 2, 3, 4, 5, 6]] * 5}'}}\n", run.stderr


def drive(folder: Path, events: list[Event] | None = None, text: str = SPACE) -> Driver:
    storage = open_database(database_url(folder), create=True)
    space = read_space(text, "s.yaml")
    record = StudyRecord.open(storage, space, StudyPaths(folder, "s"))
    return Driver(record, deadline=None, n_threads=1, on_event=[].append if events is None else events.append)


def report(driver: Driver, number: int, n: int, *, history: Any = HISTORY, stop: Any = None, new: int = 1) -> bool:
    return driver.on_report(TrialReport(number, history[n - new : n], n, stop, None, {}))


def run_folder(driver: Driver, number: int) -> Path:
    return driver.record.paths.tensorboard / f"trial-{number}"


@pytest.mark.parametrize("restart", [True, False])
def test_a_trial_that_cannot_be_resumed_keeps_its_curves(tmp_path: Path, restart: bool) -> None:
    driver = drive(tmp_path)
    driver.next_assignment()
    for n in range(1, 4):
        report(driver, 0, n)
    if restart:
        driver = drive(tmp_path)
    else:
        driver.release(0)
    driver.next_assignment()
    driver.on_report(TrialReport(0, (), 0, None, "OutOfMemoryError: too wide", {}))
    assert steps(run_folder(driver, 0)) == [[1, 2, 3]] * 5


def test_epochs_that_are_trained_again_since_their_checkpoint_was_lost_stay_as_they_were(tmp_path: Path) -> None:
    driver = drive(tmp_path)
    driver.next_assignment()
    for n in range(1, 5):
        report(driver, 0, n)
    driver.on_crash(0, "killed")
    assignment = driver.next_assignment()
    assert assignment is not None
    assert assignment.n_epochs_known == 4
    again = (*HISTORY[:2], *(replace(r, val_accuracy=0.875, train_s=2.0) for r in HISTORY[2:]))
    for n in (3, 4, 5):
        report(driver, 0, n, history=again)
    assert values(run_folder(driver, 0)) == [(1, 0.51), (2, 0.52), (3, 0.53), (4, 0.54), (5, 0.875)]
    assert [r.val_accuracy for r in driver.running[0].history] == [0.51, 0.52, 0.53, 0.54, 0.875]


def test_a_search_tells_once_that_its_curves_cannot_be_written(tmp_path: Path) -> None:
    events: list[Event] = []
    driver = drive(tmp_path, events)
    driver.record.paths.folder.mkdir()
    driver.record.paths.tensorboard.write_text("in the way")
    for number in (0, 1):
        driver.next_assignment()
        for n in range(1, 7):
            report(driver, number, n, stop="epochs" if n == 6 else None)
    assert [t.value for t in driver.record.trials] == [0.56, 0.56]
    assert [e.number for e in events if e.kind == "warning"] == [0]


def test_a_trial_that_was_only_looked_at_is_a_run(tmp_path: Path) -> None:
    text = SPACE.replace("{name: none}", "{name: asha, min_epochs: 0.5, reduction_factor: 2}")
    driver = drive(tmp_path, text=text)
    driver.next_assignment()
    driver.on_report(TrialReport(0, (partial(0.5, 0.4375),), 0, None, None, {}))
    assert values(run_folder(driver, 0)) == [(0, 0.4375)]
    shutil.rmtree(run_folder(driver, 0))
    driver = drive(tmp_path, text=text)
    assert values(run_folder(driver, 0)) == [(0, 0.4375)]


def test_a_run_that_is_missing_is_written_when_the_search_goes_on(tmp_path: Path) -> None:
    driver = drive(tmp_path)
    for number in (0, 1):
        driver.next_assignment()
        for n in range(1, 7):
            report(driver, number, n, stop="epochs" if n == 6 else None)
    shutil.rmtree(run_folder(driver, 1))
    kept = sorted(run_folder(driver, 0).iterdir())
    driver = drive(tmp_path)
    assert steps(run_folder(driver, 1)) == [[1, 2, 3, 4, 5, 6]] * 5
    assert sorted(run_folder(driver, 0).iterdir()) == kept


def ask(url: str, body: Any = None) -> Any:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"})
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # urlopen keeps a proxy of an earlier test
    with direct.open(request, timeout=10) as answer:
        return json.load(answer)


@contextmanager
def tensorboard(folder: Path, words: Sequence[str]) -> Iterator[str]:
    """Run TensorBoard on a folder that it reads again every second; yields its address."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "tensorboard.main", "--logdir", str(folder), "--host", "127.0.0.1"]
    with (folder.parent / "tensorboard.log").open("wb") as log:
        words = [*command, "--port", str(port), "--reload_interval", "1", *words]
        server = subprocess.Popen(words, stdout=log, stderr=log)
        try:
            yield f"http://127.0.0.1:{port}"
        finally:
            server.terminate()
            server.wait(timeout=30)


def wait_for(question: Any, wanted: Any, timeout_s: float = 60) -> None:
    end = time.monotonic() + timeout_s
    while True:
        try:
            answer = question()
        except (OSError, KeyError) as error:  # it is not up yet
            answer = error
        if answer == wanted:
            return
        assert time.monotonic() < end, answer
        time.sleep(0.1)


@pytest.mark.parametrize("words", [(), ("--load_fast", "false")])
def test_a_running_tensorboard_shows_scalars_and_hparams_of_trials_that_go_on(
    tmp_path: Path, words: tuple[str, ...]
) -> None:
    folder = tmp_path / "tensorboard"
    one = board(folder)
    one.add(spec(0, ADAMW), HISTORY)
    one.end(0)
    for n in range(1, 4):
        one.add(spec(1, SGD), HISTORY[n - 1 : n])
    with tensorboard(folder, words) as url:

        def seen(run: str, tag: str = "accuracy/val") -> list[tuple[int, float]]:
            points = ask(f"{url}/data/plugin/scalars/scalars?run={run}&tag={tag}")
            return [(step, round(value, 6)) for _, step, value in points]

        wait_for(lambda: seen("trial-1"), [(1, 0.51), (2, 0.52), (3, 0.53)])
        assert seen("trial-0") == [(n, 0.5 + n / 100) for n in range(1, 7)]
        assert {run: sorted(tags) for run, tags in ask(f"{url}/data/plugin/scalars/tags").items()} == {
            "trial-0": TAGS,
            "trial-1": TAGS,
        }
        one.add(spec(1, SGD), [replace(HISTORY[2], val_accuracy=0.75)])  # trained again
        wait_for(lambda: seen("trial-1"), [(1, 0.51), (2, 0.52), (3, 0.75)])
        one.close(1)
        one.add(spec(1, SGD), [replace(HISTORY[3], val_accuracy=0.875)])  # after a pause
        wait_for(lambda: seen("trial-1"), [(1, 0.51), (2, 0.52), (3, 0.75), (4, 0.875)])
        one = board(folder)  # the process is gone; another one resumes, one epoch further than it had told
        one.add(spec(1, SGD), HISTORY[4:5], known=HISTORY[:4])
        for tag in TAGS:
            wait_for(lambda tag=tag: [step for step, _ in seen("trial-1", tag)], [1, 2, 3, 4, 5])
        one.add(spec(1, SGD), HISTORY[5:])
        wait_for(lambda: seen("trial-1"), [(n, 0.5 + n / 100) for n in range(1, 7)])

        hparams_url = f"{url}/data/plugin/hparams"
        experiment = ask(f"{hparams_url}/experiment", {"experimentName": ""})
        choices = {info["name"]: info.get("domainDiscrete") for info in experiment["hparamInfos"]}
        assert choices == {
            "model.hidden": ["[8]", "[16, 8]"],
            "model.dropout": None,
            "training.batch_size": [32, 64],
            "training.early_stopping": ["null", "3"],
            "training.optimizer.name": ["sgd", "adamw"],
            "training.optimizer.nesterov": ["true", "false"],
            "training.optimizer.momentum": None,
            "training.optimizer.lr": None,
        }
        assert [info["name"]["tag"] for info in experiment["metricInfos"]] == ["accuracy/val"]
        body = {"experimentName": "", "allowedStatuses": ["STATUS_SUCCESS"], "startIndex": 0, "sliceSize": 9}
        groups = ask(f"{hparams_url}/session_groups", {**body, "colParams": []})["sessionGroups"]
        assert [g["name"] for g in groups] == ["trial-0", "trial-1"]
        assert [g["metricValues"][0]["value"] for g in groups] == pytest.approx([0.56, 0.56])
        texts = {"training.early_stopping": "3", "model.hidden": "[8]", "training.optimizer.nesterov": ""}
        assert groups[0]["hparams"] == ADAMW | texts
        texts = {"training.early_stopping": "null", "model.hidden": "[16, 8]", "training.optimizer.nesterov": "true"}
        assert groups[1]["hparams"] == SGD | texts
