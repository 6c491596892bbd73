"""Curves and hparams for TensorBoard, read back as TensorBoard reads them."""

from __future__ import annotations

import json
import resource
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams import api_pb2, metadata

from fmnist_tune.config import read_space
from fmnist_tune.search.driver import Driver
from fmnist_tune.search.events import Event
from fmnist_tune.search.messages import TrialReport
from fmnist_tune.study.database import database_url, open_database
from fmnist_tune.study.layout import StudyPaths
from fmnist_tune.study.record import StudyRecord
from fmnist_tune.study.tensorboard import TensorBoard
from fmnist_tune.training.results import EpochResult, Look

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


def drive(folder: Path, events: list[Event] | None = None, text: str = SPACE) -> Driver:
    storage = open_database(database_url(folder), create=True)
    space = read_space(text, "s.yaml")
    record = StudyRecord.open(storage, space, StudyPaths(folder, "s"))
    return Driver(record, deadline=None, n_threads=1, on_event=[].append if events is None else events.append)


def result(epoch: int) -> EpochResult:
    return EpochResult(epoch, 2 / epoch, 0.4 + epoch / 100, 3 / epoch, 0.5 + epoch / 100, 0.1 / epoch, 1.0, 0.25, 500)


HISTORY = tuple(result(epoch) for epoch in range(1, 7))


def report(driver: Driver, number: int, n: int, *, history: Any = HISTORY, stop: Any = None, new: int = 1) -> bool:
    return driver.on_report(TrialReport(number, history[n - new : n], n, stop, None, {}))


def run_folder(driver: Driver, number: int) -> Path:
    return driver.record.paths.tensorboard / f"trial-{number}"


def read(folder: Path) -> EventAccumulator:
    accumulator = EventAccumulator(str(folder))
    accumulator.Reload()
    return accumulator


def steps(folder: Path) -> list[list[int]]:
    """Return the steps of each curve that a run has, in TAGS' order."""
    accumulator = read(folder)
    assert accumulator.Tags()["scalars"] == TAGS
    return [[event.step for event in accumulator.Scalars(tag)] for tag in TAGS]


def sizes(folder: Path) -> dict[str, bool]:
    """Return a run's files, and whether there is anything in them."""
    return {path.name: path.stat().st_size > 0 for path in sorted(folder.iterdir())}


def hparams(folder: Path, tag: str) -> Any:
    content = read(folder).SummaryMetadata(tag).plugin_data.content
    return {
        metadata.SESSION_START_INFO_TAG: metadata.parse_session_start_info_plugin_data,
        metadata.SESSION_END_INFO_TAG: metadata.parse_session_end_info_plugin_data,
        metadata.EXPERIMENT_TAG: metadata.parse_experiment_plugin_data,
    }[tag](content)


def test_a_trial_is_a_run_with_the_curves_of_both_splits(tmp_path: Path) -> None:
    driver = drive(tmp_path)
    driver.next_assignment()
    for n in range(1, 7):
        report(driver, 0, n, stop="epochs" if n == 6 else None)
    curves = read(run_folder(driver, 0))
    assert [e.step for e in curves.Scalars("accuracy/val")] == [1, 2, 3, 4, 5, 6]
    for tag, name in zip(TAGS, ("train_accuracy", "val_accuracy", "train_loss", "val_loss", "lr"), strict=True):
        values = [event.value for event in curves.Scalars(tag)]
        assert values == pytest.approx([getattr(r, name) for r in HISTORY], rel=1e-6)
    assert [p.name for p in driver.record.paths.tensorboard.iterdir()] == ["trial-0"]
    assert len(list(run_folder(driver, 0).iterdir())) == 1


def test_an_epoch_can_be_read_as_soon_as_it_is_reported(tmp_path: Path) -> None:
    driver = drive(tmp_path)
    driver.next_assignment()
    for n in range(1, 4):
        report(driver, 0, n)
        assert steps(run_folder(driver, 0)) == [list(range(1, n + 1))] * 5


@pytest.mark.parametrize("n_lost", [0, 1, 30])
def test_after_a_crash_the_curves_go_on_without_gap_or_repetition(tmp_path: Path, n_lost: int) -> None:
    """The crash tears the last record, or lets epochs that only the checkpoint has be missing."""
    driver = drive(tmp_path)
    driver.next_assignment()
    for n in range(1, 4):
        report(driver, 0, n)
    (file,) = run_folder(driver, 0).iterdir()
    file.write_bytes(file.read_bytes()[: -n_lost or None])
    del driver

    driver = drive(tmp_path)
    assert driver.next_assignment() is not None
    report(driver, 0, 5, new=2)
    assert steps(run_folder(driver, 0)) == [[1, 2, 3, 4, 5]] * 5
    report(driver, 0, 6, stop="epochs")
    assert steps(run_folder(driver, 0)) == [[1, 2, 3, 4, 5, 6]] * 5
    times = [event.wall_time for event in read(run_folder(driver, 0)).Scalars("loss/val")]
    assert [b - a for a, b in pairwise(times[:5])] == pytest.approx([1.25] * 4, abs=1e-3)
    assert sizes(run_folder(driver, 0)) == {"events.out.tfevents.000001": False, "events.out.tfevents.000002": True}
    assert drive(tmp_path).record.trials[0].value == 0.56


def test_files_do_not_pile_up(tmp_path: Path) -> None:
    for n in range(1, 6):
        driver = drive(tmp_path)
        driver.next_assignment()
        report(driver, 0, n)
    assert sizes(run_folder(driver, 0)) == {"events.out.tfevents.000004": False, "events.out.tfevents.000005": True}
    assert steps(run_folder(driver, 0)) == [[1, 2, 3, 4, 5]] * 5


def test_a_trial_that_goes_back_to_an_older_checkpoint_has_each_epoch_once(tmp_path: Path) -> None:
    driver = drive(tmp_path)
    driver.next_assignment()
    for n in range(1, 5):
        report(driver, 0, n)
    driver.on_crash(0, "killed")
    driver.next_assignment()
    again = (*HISTORY[:2], *(replace(r, val_accuracy=0.9, train_s=2.0) for r in HISTORY[2:]))
    report(driver, 0, 3, history=again)
    assert steps(run_folder(driver, 0)) == [[1, 2, 3]] * 5
    report(driver, 0, 4, history=again)
    values = [event.value for event in read(run_folder(driver, 0)).Scalars("accuracy/val")]
    assert values == pytest.approx([0.51, 0.52, 0.9, 0.9])


def test_the_end_of_a_trial_whose_file_is_torn_is_told(tmp_path: Path) -> None:
    """It ends without another epoch: the driver that resumes it has nothing to write the file anew from."""
    driver = drive(tmp_path)
    driver.next_assignment()
    for n in range(1, 4):
        report(driver, 0, n)
    (file,) = run_folder(driver, 0).iterdir()
    file.write_bytes(file.read_bytes()[:-5])

    driver = drive(tmp_path)
    driver.next_assignment()
    driver.on_hang(0)
    assert steps(run_folder(driver, 0)) == [[1, 2]] * 5
    assert hparams(run_folder(driver, 0), metadata.SESSION_END_INFO_TAG).status == api_pb2.STATUS_FAILURE


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
    assert hparams(run_folder(driver, 0), metadata.SESSION_END_INFO_TAG).status == api_pb2.STATUS_FAILURE


def test_hparams_have_the_searched_values_and_what_became_of_the_trial(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fmnist_tune.search.asha.PAUSED_BEYOND", 0)  # what does not go on is given up
    driver = drive(tmp_path, text=SPACE.replace("{name: none}", "{name: asha, reduction_factor: 2}"))
    attempts = [driver.next_assignment() for _ in range(4)]
    values = {number: dict(trial.attempt.values) for number, trial in driver.running.items()}
    report(driver, 0, 6, new=6, stop="epochs")
    report(driver, 1, 1, history=[replace(HISTORY[0], val_accuracy=0.1)])
    driver.on_report(TrialReport(2, (), 0, None, "OutOfMemoryError: too wide", {}))
    report(driver, 3, 1, history=[replace(HISTORY[0], val_accuracy=0.9)])
    assert len(attempts) == 4
    seen = set()
    for number in range(4):
        start = hparams(run_folder(driver, number), metadata.SESSION_START_INFO_TAG)
        told = {name: getattr(value, value.WhichOneof("kind")) for name, value in start.hparams.items()}
        expected = values[number]
        seen |= set(expected)
        expected["model.hidden"] = json.dumps(expected["model.hidden"])
        expected["training.early_stopping"] = json.dumps(expected["training.early_stopping"])
        assert told == expected
    assert len(seen) == 8
    ends = [hparams(run_folder(driver, number), metadata.SESSION_END_INFO_TAG).status for number in range(3)]
    assert ends == [api_pb2.STATUS_SUCCESS, api_pb2.STATUS_UNKNOWN, api_pb2.STATUS_FAILURE]
    assert metadata.SESSION_END_INFO_TAG not in read(run_folder(driver, 3)).Tags()["tensors"]

    experiment = hparams(run_folder(driver, 0), metadata.EXPERIMENT_TAG)
    infos = {info.name: info for info in experiment.hparam_infos}
    assert list(infos["model.hidden"].domain_discrete) == ["[8]", "[16, 8]"]
    assert infos["model.hidden"].type == api_pb2.DATA_TYPE_STRING
    assert list(infos["training.batch_size"].domain_discrete) == [32, 64]
    assert infos["training.batch_size"].type == api_pb2.DATA_TYPE_FLOAT64
    assert list(infos["training.early_stopping"].domain_discrete) == ["null", "3"]
    assert list(infos["training.optimizer.nesterov"].domain_discrete) == [True, False]
    assert infos["training.optimizer.nesterov"].type == api_pb2.DATA_TYPE_BOOL
    assert infos["training.optimizer.lr"].domain_interval.max_value == 0.1
    assert [metric.name.tag for metric in experiment.metric_infos] == ["accuracy/val"]


def test_a_folder_that_cannot_be_written_ends_nothing_and_is_told_once(tmp_path: Path) -> None:
    events: list[Event] = []
    driver = drive(tmp_path, events)
    driver.record.paths.folder.mkdir()
    driver.record.paths.tensorboard.write_text("in the way")
    driver.next_assignment()
    driver.next_assignment()
    for number in (0, 1):
        for n in range(1, 7):
            report(driver, number, n, stop="epochs" if n == 6 else None)
    assert [t.value for t in driver.record.trials] == [0.56, 0.56]
    troubles = [e for e in events if e.kind == "trouble"]
    assert [e.number for e in troubles] == [0]
    assert "its curves for TensorBoard cannot be written: [Errno 20] Not a directory" in troubles[0].text


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
    driver = drive(tmp_path)
    record, attempt = driver.record, driver.writer.begin()
    assert attempt is not None
    troubles: list[str] = []
    board = TensorBoard(tmp_path, record.space.parameters, lambda number, text: troubles.append(text))
    run = tmp_path / "trial-0"
    board.add(attempt, HISTORY[:1])
    (file,) = run.iterdir()
    size = file.stat().st_size
    with largest_file(size + 20):
        board.add(attempt, HISTORY[:2])
        assert file.stat().st_size == size + 20
        board.add(attempt, HISTORY[:3])
    assert troubles == ["its curves for TensorBoard cannot be written: [Errno 27] File too large"]
    assert sizes(run) == {"events.out.tfevents.000001": True}
    assert steps(run) == [[1]] * 5
    board.add(attempt, HISTORY[:4])
    assert sizes(run) == {"events.out.tfevents.000001": False, "events.out.tfevents.000002": True}
    assert steps(run) == [[1, 2, 3, 4]] * 5


LOOKING = SPACE.replace("{name: none}", "{name: asha, min_epochs: 0.5, reduction_factor: 2}")


def test_a_trial_that_was_only_looked_at_is_a_run_with_its_accuracy_at_step_0(tmp_path: Path) -> None:
    driver = drive(tmp_path, text=LOOKING)
    driver.next_assignment()
    look = Look(0.5, 0.4375, 1.0, 0.1)
    driver.on_report(TrialReport(0, (), 0, None, None, {}, look))
    (event,) = read(run_folder(driver, 0)).Scalars("accuracy/val")
    assert (event.step, event.value) == (0, 0.4375)
    attempt = driver.writer.attempt(0)
    assert attempt.looks == {0.5: 0.4375}
    board = TensorBoard(tmp_path, driver.record.space.parameters, lambda number, text: None)
    for n in (0, 1, 2):
        board.add(attempt, HISTORY[:n])
    assert [e.step for e in read(tmp_path / "trial-0").Scalars("accuracy/val")] == [0, 1, 2]


def test_a_run_that_is_missing_is_written_when_the_search_goes_on(tmp_path: Path) -> None:
    driver = drive(tmp_path)
    for number in (0, 1):
        driver.next_assignment()
        for n in range(1, 7):
            report(driver, number, n, stop="epochs" if n == 6 else None)
    shutil.rmtree(run_folder(driver, 1))
    driver = drive(tmp_path)
    assert steps(run_folder(driver, 1)) == [[1, 2, 3, 4, 5, 6]] * 5
    assert hparams(run_folder(driver, 1), metadata.SESSION_END_INFO_TAG).status == api_pb2.STATUS_SUCCESS
    assert sizes(run_folder(driver, 0)) == {"events.out.tfevents.000001": True}


def test_the_driver_writes_curves_without_torch_or_tensorflow(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; import fmnist_tune.search.driver; print('tensorboard' in sys.modules); "
        "from tests.test_tensorboard import drive, report; d = drive(Path(sys.argv[1])); d.next_assignment(); "
        "report(d, 0, 1); print([m for m in ('torch', 'tensorflow') if m in sys.modules], len(list(Path(sys.argv[1]).rglob('*tfevents*'))))"
    )
    words = [sys.executable, "-W", "error", "-c", code, str(tmp_path)]
    run = subprocess.run(words, capture_output=True, text=True, cwd=Path(__file__).parents[1], check=False)
    assert run.stderr == ""
    assert run.stdout == "False\n[] 1\n"


def ask(url: str, body: Any = None) -> Any:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=10) as answer:
        return json.load(answer)


@contextmanager
def tensorboard(folder: Path, *words: str) -> Iterator[str]:
    """Run TensorBoard on a folder that it reads again every second; yields its address."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    command = [
        sys.executable,
        "-m",
        "tensorboard.main",
        "--logdir",
        str(folder),
        "--host",
        "127.0.0.1",
        "--port",
        str(port),
    ]
    with (folder.parent / "tensorboard.log").open("wb") as log:
        server = subprocess.Popen([*command, "--reload_interval", "1", *words], stdout=log, stderr=log)
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
def test_a_running_tensorboard_shows_scalars_and_hparams_across_a_resume(
    tmp_path: Path, words: tuple[str, ...]
) -> None:
    driver = drive(tmp_path)
    for _ in range(2):
        driver.next_assignment()
    report(driver, 0, 6, new=6, stop="epochs")
    for n in range(1, 4):
        report(driver, 1, n)
    with tensorboard(driver.record.paths.tensorboard, *words) as url:

        def seen_steps(run: str, tag: str) -> list[int]:
            return [step for _, step, _ in ask(f"{url}/data/plugin/scalars/scalars?run={run}&tag={tag}")]

        wait_for(lambda: seen_steps("trial-1", "accuracy/val"), [1, 2, 3])
        assert {run: sorted(tags) for run, tags in ask(f"{url}/data/plugin/scalars/tags").items()} == {
            "trial-0": TAGS,
            "trial-1": TAGS,
        }
        driver = drive(tmp_path)  # the process is gone; another one resumes
        driver.next_assignment()
        report(driver, 1, 5, new=2)  # one epoch more than the other one had told of
        for tag in TAGS:
            wait_for(lambda tag=tag: seen_steps("trial-1", tag), [1, 2, 3, 4, 5])
        report(driver, 1, 6, stop="epochs")
        wait_for(lambda: seen_steps("trial-1", "accuracy/val"), [1, 2, 3, 4, 5, 6])

        hparams_url = f"{url}/data/plugin/hparams"
        experiment = ask(f"{hparams_url}/experiment", {"experimentName": ""})
        assert len(experiment["hparamInfos"]) == 8
        assert [info["name"]["tag"] for info in experiment["metricInfos"]] == ["accuracy/val"]
        statuses = ["STATUS_UNKNOWN", "STATUS_SUCCESS", "STATUS_FAILURE", "STATUS_RUNNING"]
        body = {"experimentName": "", "allowedStatuses": statuses, "colParams": [], "startIndex": 0, "sliceSize": 9}

        def session_groups() -> Any:
            return ask(f"{hparams_url}/session_groups", body)["sessionGroups"]

        wait_for(lambda: [g["sessions"][0]["status"] for g in session_groups()], ["STATUS_SUCCESS"] * 2)
        groups = session_groups()
        assert [g["name"] for g in groups] == ["trial-0", "trial-1"]
        assert [g["metricValues"][0]["value"] for g in groups] == pytest.approx([0.56, 0.56])
        for group, trial in zip(groups, driver.record.trials, strict=True):
            assert group["hparams"]["training.optimizer.lr"] == pytest.approx(trial.params["training.optimizer.lr"])
