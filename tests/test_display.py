"""What people see while something is trained."""

from __future__ import annotations

import io
import json
import os
import signal
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console, RenderableType

from fmnist_tune.retrain.jobs import JobSource
from fmnist_tune.retrain.progress import TrainingProgress
from fmnist_tune.retrain.seeds import SeedStore
from fmnist_tune.search.display import Display
from fmnist_tune.search.driver import Driver
from fmnist_tune.search.pace import Pace
from fmnist_tune.search.progress import FILE, EpochProgress, progress_of, telling
from fmnist_tune.search.screen import Screen, Work, packed
from fmnist_tune.search.signals import holding_back_ctrl_c, stopping_on_signals
from fmnist_tune.study.seed_results import Plan
from fmnist_tune.tasks import Objective
from tests.studies import drive, open_study, partial, report

SPACE = "study: s\nmodel: {name: mlp}\nsearch: {trials: 4, pruner: {name: none}}\ntraining: {epochs: 1}\n"
LONG = """
study: a-study-with-quite-a-long-name-as-people-give-them
search: {trials: 1000, timeout: 10m, pruner: {name: asha, min_epochs: 0.5, reduction_factor: 7}}
model: {name: cnn, blocks: {int: [2, 3]}, dropout: {float: [0.0, 0.5]}, head: {choice: [[], [128], [256]]}}
training: {epochs: 10, optimizer: {lr: {float: [1e-4, 1e-1], log: true}, weight_decay: {float: [1e-4, 1e-1]}}}
"""


def drawn(renderable: RenderableType, width: int) -> list[str]:
    console = Console(file=io.StringIO(), width=width, color_system=None)
    with console.capture() as captured:
        console.print(renderable)
    return [line.rstrip() for line in captured.get().splitlines()]


def tell(driver: Driver, number: int, progress: EpochProgress) -> None:
    folder = driver.record.paths.trial_folder(number)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / FILE).write_text(json.dumps(vars(progress)))


def attached(driver: Driver, **options: Any) -> Display:
    display = Display(Console(file=io.StringIO(), **options), driver.record.paths.name, started=time.monotonic() - 125)
    display.attach(driver)
    return display


@pytest.fixture
def long_search(tmp_path: Path) -> Driver:
    """A search with a trial in its third epoch that paused before, one at a look, and one that begins."""
    driver = drive(open_study(tmp_path, LONG), deadline=time.monotonic() + 475)
    for _ in range(3):
        assert driver.next_assignment() is not None
    driver.on_report(report(0, [0.8, 0.8849], n_new=2))
    tell(driver, 0, EpochProgress(3, 250, 391))
    return driver


@pytest.mark.parametrize(("left_s", "share"), [(None, 0.25), (90.0, 0.25), (10.0, 0.75)])
def test_the_bar_is_as_long_as_the_trials_or_the_time_that_is_done(
    tmp_path: Path, left_s: float | None, share: float
) -> None:
    driver = drive(open_study(tmp_path, SPACE))
    assert driver.next_assignment() is not None
    driver.on_report(report(0, [0.9], stop="epochs"))
    driver.deadline.at = None if left_s is None else time.monotonic() + left_s
    display = Display(Console(file=io.StringIO()), "s", started=time.monotonic() - 30)
    assert display.share_done() == 0
    display.attach(driver)
    assert display.share_done() == pytest.approx(share, abs=0.01)


def test_a_trial_that_goes_on_shows_where_it_stands_and_how_far_its_epoch_is(tmp_path: Path) -> None:
    first = drive(open_study(tmp_path, LONG))
    for _ in range(8):
        assert first.next_assignment() is not None
    for number, accuracy in enumerate([0.7123, *[0.5] * 6], start=1):
        assert not first.on_report(partial(number, accuracy))
    first.on_report(report(0, [0.8, 0.8849], n_new=2))
    first.release_all()

    driver = drive(open_study(tmp_path, LONG))
    assert [a.number for a in (driver.next_assignment(), driver.next_assignment()) if a is not None] == [0, 1]
    display = attached(driver)
    rows = drawn(display.view(100), 100)
    cells = [line.split() for line in rows]
    assert ["0", "2/10", "starting", "88.49", "%"] in [row[:5] for row in cells]
    assert ["1", "0/10", "starting", "71.23", "%"] in [row[:5] for row in cells]
    tell(driver, 0, EpochProgress(3, 250, 391))
    assert any("2/10    epoch 3, 64 %" in line for line in drawn(display.view(100), 100))
    tell(driver, 0, EpochProgress(3, 391, 391))
    assert any("epoch 3, 100 %" in line for line in drawn(display.view(100), 100))
    tell(driver, 0, EpochProgress(2, 100, 391))
    assert any("starting" in line for line in drawn(display.view(100), 100)), "left from an epoch that has ended"
    assert "trial 0: 2/10 epochs at 88.49 %, starting; trial 1: 0/10 epochs at 71.23 %" in display.status()


@pytest.mark.parametrize("width", [60, 80, 120, 200])
def test_nothing_in_the_view_is_broken_or_cut_that_matters(long_search: Driver, width: int) -> None:
    lines = drawn(attached(long_search).view(width), width)
    assert len(lines) == 9, lines
    assert all(len(line) <= width for line in lines)
    text = "\n".join(lines)
    for part in ("02:05 elapsed, at most 07:5", "0 of 1000 trials ended", "highest so far 88.49 % (trial 0, epoch 2)"):
        assert part in text
    assert "2/10" in text
    assert "epoch 3, 64 %" in text


def test_the_highest_accuracy_is_a_looks_until_an_epoch_has_ended(tmp_path: Path) -> None:
    driver = drive(open_study(tmp_path, LONG))
    for _ in range(2):
        driver.next_assignment()
    driver.on_report(partial(0, 0.95))
    display = attached(driver)
    assert "highest so far 95.00 % (trial 0, epoch 0.5)" in display.status()


@pytest.mark.parametrize(
    ("width", "expected"),
    [(20, "one, two, three"), (12, "one, two,\nthree"), (3, "one,\ntwo,\nthree"), (1, "one,\ntwo,\nthree")],
)
def test_parts_are_packed_onto_lines_and_never_broken(width: int, expected: str) -> None:
    assert packed(["one", "two", "three"], ", ", width) == expected


class Phase(Screen):
    text = "starting Ray"

    def status(self) -> str:
        return f"{self.text} ..."

    def view(self, width: int) -> str:
        return self.text[:width]


def test_what_is_piped_is_never_silent_while_nothing_happens() -> None:
    out = io.StringIO()
    with Phase(Console(file=out, width=60), time.monotonic(), status_every_s=0.02) as screen:
        _wait_for(out, "] starting Ray ...\n", 2)
        screen.text = "2 workers"
        _wait_for(out, "] 2 workers ...\n", 2)
    n = len(out.getvalue())
    time.sleep(0.1)
    assert len(out.getvalue()) == n, "it ends with the work"
    assert "\x1b" not in out.getvalue()


def _wait_for(out: io.StringIO, text: str, n: int) -> None:
    end = time.monotonic() + 30
    while out.getvalue().count(text) < n:
        assert time.monotonic() < end, out.getvalue()
        time.sleep(0.02)


def test_a_long_line_goes_on_below_its_own_text_on_a_terminal_and_is_whole_in_a_file() -> None:
    text = "trial 3   failed   RuntimeError: a reason that is longer than a narrow terminal is wide, by far"
    for is_terminal, expected in ((True, "        longer"), (False, "[")):
        out = io.StringIO()
        console = Console(file=out, width=60, force_terminal=is_terminal, color_system=None)
        Work(console, time.monotonic()).line(text)
        lines = out.getvalue().splitlines()
        assert len(lines) == (2 if is_terminal else 1)
        assert lines[-1].startswith(expected)
        assert " ".join(out.getvalue().split())[8:] == " ".join(text.split())


def test_a_quiet_screen_prints_nothing(long_search: Driver) -> None:
    for is_terminal in (True, False):
        console = Console(file=io.StringIO(), force_terminal=is_terminal, quiet=True)
        display = Display(console, "s", time.monotonic())
        with display:
            display.attach(long_search)
            display.line("one")
        assert isinstance(console.file, io.StringIO)
        assert console.file.getvalue() == ""


def test_a_worker_tells_once_a_second_how_far_it_is(tmp_path: Path) -> None:
    steps = iter(range(1000))
    with telling(tmp_path, lambda: EpochProgress(2, next(steps), 10)):
        end = time.monotonic() + 30
        while progress_of(tmp_path, 2) is None:
            assert time.monotonic() < end
            time.sleep(0.05)
    assert progress_of(tmp_path, 2) == EpochProgress(2, 0, 10)
    assert progress_of(tmp_path, 3) is None
    with telling(tmp_path / "absent", lambda: EpochProgress(1, 1, 1)):
        time.sleep(1.2)
    assert not (tmp_path / "absent").exists(), "a trial that has ended keeps no folder"
    (tmp_path / FILE).write_text('{"epoch": 2}')
    assert progress_of(tmp_path, 2) is None


@pytest.mark.parametrize("width", [60, 80, 120])
def test_seeds_show_their_epochs_accuracy_and_how_far_they_are(tmp_path: Path, width: int) -> None:
    record = open_study(tmp_path, "study: s\nmodel: {name: mlp}\ntraining: {epochs: 4}")
    plan = Plan("trial-12", "trial 12", record.space.config({}), 4, with_val=False)
    jobs = SeedStore(record).jobs([plan], range(3), n_threads=1)
    progress = TrainingProgress(
        Console(file=io.StringIO(), width=width), started=time.monotonic() - 65, objective=Objective()
    )
    progress.line("starting Ray")
    assert drawn(progress.view(width), width) == ["starting Ray, 01:05"]
    source = JobSource(
        jobs, record.hold, pace=Pace(), epoch_timeout_s=60, say=progress.line, keep=lambda job, report: None
    )
    progress.attach(source)
    assert [a.seed for _ in jobs if (a := source.next_assignment()) is not None] == [0, 1, 2]
    assert source.on_report(report(0, [0.5] * 4, stop="epochs", n_new=4)), "its model is to be saved"
    assert not source.on_report(replace(report(0, [0.5] * 4, stop="epochs", n_new=0), is_saved=True))
    assert source.on_report(report(1, [0.7, 0.875], n_new=2))
    (jobs[1].folder / FILE).write_text(json.dumps({"epoch": 3, "step": 5, "n_steps": 10}))
    lines = drawn(progress.view(width), width)
    assert len(lines) == 5, lines
    assert lines[1].startswith("1 of 3 trainings ended")
    assert lines[1].endswith("01:05 elapsed")
    assert all(word in lines[3] for word in ("trial 12, seed 1", "2/4", "epoch 3, 50 %", "87.50 %"))
    assert all(word in lines[4] for word in ("trial 12, seed 2", "0/4", "starting", "-"))
    assert progress.status() == (
        "1 of 3 trainings ended; trial 12, seed 1: 2/4 epochs at 87.50 %, epoch 3, 50 %; "
        "trial 12, seed 2: 0/4 epochs, starting"
    )


class Interrupted(io.RawIOBase):
    """A file into whose first write Ctrl-C falls."""

    def __init__(self) -> None:
        self.text = ""

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        if not self.text:
            signal.raise_signal(signal.SIGINT)
        self.text += bytes(data).decode()
        return len(data)


def test_ctrl_c_in_the_middle_of_a_line_stops_the_work_and_spoils_no_line(long_search: Driver) -> None:
    raw = Interrupted()
    console = Console(file=io.TextIOWrapper(io.BufferedWriter(raw), line_buffering=True), width=200)
    display = Display(console, "s", time.monotonic())
    with stopping_on_signals(long_search, display.line):
        display.line("a line")
    assert long_search.stop_requested
    lines = raw.text.splitlines()
    assert lines[0].endswith("] a line")
    assert lines[1].endswith("loses no finished epoch either")


def test_ctrl_c_stops_the_work_where_nobody_reads(long_search: Driver) -> None:
    def refuse(text: str) -> None:
        raise BrokenPipeError(text)

    with stopping_on_signals(long_search, refuse):
        signal.raise_signal(signal.SIGTERM)
        assert long_search.stop_requested
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)


def test_a_status_says_what_is_going_on_once_however_often_it_is_said() -> None:
    out = io.StringIO()
    with TrainingProgress(Console(file=out, width=60), time.monotonic(), Objective(), status_every_s=0.02) as progress:
        progress.line("robustness audit")
        _wait_for(out, "] robustness audit ...\n", 3)
    assert "... ..." not in out.getvalue()


def hold_back(*signals: signal.Signals, handler: Any = None) -> list[signal.Signals]:
    """Send signals to this process while they are held back; returns those after which it went on."""
    went_on: list[signal.Signals] = []
    try:
        with holding_back_ctrl_c():
            if handler is not None:
                signal.signal(signals[0], handler)
            for number in signals:
                os.kill(os.getpid(), number)
                went_on.append(number)
    except KeyboardInterrupt:
        return went_on
    raise AssertionError("no KeyboardInterrupt")


def test_a_signal_is_held_back_to_the_end_and_the_second_is_not() -> None:
    assert hold_back(signal.SIGTERM) == [signal.SIGTERM]
    assert hold_back(signal.SIGINT, signal.SIGTERM) == [signal.SIGINT]


def test_a_signal_that_another_handler_takes_counts_all_the_same() -> None:
    assert hold_back(signal.SIGTERM, handler=lambda number, frame: None) == [signal.SIGTERM]
