"""Trials that cannot go on: whose fault that is, and that no study is used up by a machine that is short or broken."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from optuna.trial import TrialState

from fmnist_tune.search.driver import Driver
from fmnist_tune.search.ending import ending_of
from fmnist_tune.search.events import Event
from fmnist_tune.search.faults import Cause, is_out_of_memory, read_death
from fmnist_tune.search.memory import THRESHOLD_VARIABLE, Room
from fmnist_tune.search.messages import Assignment, TrialReport
from fmnist_tune.search.pace import Fate, Pace
from fmnist_tune.search.setbacks import Decision, Setbacks
from fmnist_tune.study.trial_data import metadata_of
from tests.studies import SPACE, drive, open_study, report

FULL, EMPTY = "0.0001", "1.0"  # shares of its memory that Ray may use of this machine

CREATION = """\
The actor died because of an error raised in its creation task, \x1b[36mray::ResourceTrainable.__init__()\x1b[39m (pid=17338)
  File "trainable.py", line 123, in __init__
    self.setup(copy.deepcopy(self.config))
  File "start.py", line 39, in start_worker
    import torch
ImportError: libtorch_cpu.so: cannot open shared object file: No such file or directory
"""
BROKEN = """\
\x1b[36mray::ResourceTrainable.train()\x1b[39m (pid=17338, ip=192.0.2.2)
  File "worker.py", line 120, in step
    raise BrokenWorkerError(self._failure)
fmnist_tune.search.faults.BrokenWorkerError: AcceleratorError: CUDA error: an illegal memory access was encountered
"""
SHORT = """\
1 worker(s) were killed due to the node running low on memory. Memory on the node (IP: 192.0.2.2, ID: fe81) was
1.48GB used / 23.54GB limit (0.062968)
"""
DIED = """\
The actor died unexpectedly before finishing this task.
	class_name: ResourceTrainable
Worker unexpectedly exits with a connection error code 2. End of file. There are some potential root causes. (1) The
process is killed by SIGKILL by OOM killer due to high memory usage.
"""


def unknown(number: int, reason: str) -> TrialReport:
    return replace(report(number, [], failure=reason, n_new=0), cause=Cause.UNKNOWN)


def begin(driver: Driver) -> int:
    """Return the number of the next trial, once it may begin."""
    end = time.monotonic() + 60
    while (assignment := driver.next_assignment()) is None:
        assert driver.is_waiting
        assert time.monotonic() < end
        time.sleep(0.05)
    assert isinstance(assignment, Assignment)
    return assignment.number


def states(driver: Driver) -> list[TrialState]:
    return [trial.state for trial in driver.record.trials]


def test_a_trial_killed_while_others_fill_the_memory_waits_and_goes_on_when_there_is_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    events: list[Event] = []
    driver = drive(open_study(tmp_path), events)
    for _ in range(3):
        monkeypatch.setenv(THRESHOLD_VARIABLE, EMPTY)
        assert begin(driver) == 0
        monkeypatch.setenv(THRESHOLD_VARIABLE, FULL)
        driver.on_crash(0, "out of memory", Cause.MEMORY)
        assert driver.is_waiting
        assert driver.next_assignment() is None
    assert states(driver) == [TrialState.WAITING]
    texts = [event.text for event in events]
    assert all(" GiB of memory are in use, and 0.0 may be: waits for more" in text for text in texts)
    assert [text.split(" after ")[1] for text in texts] == [f"{s} s at the latest" for s in (10, 20, 40)]
    assert ending_of(driver, None).by == "failed"
    assert "memory is short: " in ending_of(driver, None).text
    monkeypatch.setenv(THRESHOLD_VARIABLE, EMPTY)
    assert begin(driver) == 0
    driver.on_report(report(0, [0.5]))
    assert driver.failure is None


def test_fewer_trials_run_at_a_time_after_one_was_killed_among_others(tmp_path: Path) -> None:
    events: list[Event] = []
    driver = drive(open_study(tmp_path), events)
    assert [begin(driver) for _ in range(4)] == [0, 1, 2, 3]
    driver.on_crash(3, "out of memory", Cause.MEMORY)
    assert events[-1].text == "out of memory: it goes on, with at most 2 workers at a time while memory is short"
    assert driver.next_assignment() is None
    driver.release(0)
    assert driver.next_assignment() is None
    driver.release(1)
    assert begin(driver) == 0
    assert TrialState.FAIL not in states(driver)


def test_all_trials_go_on_when_ray_tune_ends_them_together(tmp_path: Path) -> None:
    driver = drive(open_study(tmp_path))
    assert [begin(driver) for _ in range(2)] == [0, 1]
    driver.on_lost_workers("out of memory")
    assert states(driver) == [TrialState.WAITING] * 2
    assert begin(driver) == 0
    assert driver.next_assignment() is None, "one at a time"


def test_a_trial_that_dies_alone_again_and_again_with_enough_memory_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(THRESHOLD_VARIABLE, EMPTY)
    driver = drive(open_study(tmp_path))
    assert begin(driver) == 0
    driver.on_report(report(0, [0.5]))
    for _ in range(3):
        assert begin(driver) == 1
        driver.on_crash(1, "out of memory", Cause.MEMORY)
    assert states(driver) == [TrialState.WAITING, TrialState.FAIL]
    reason = metadata_of(driver.record.trials[1])["reason"]
    assert reason.startswith("its worker died 3 times in epoch 1: out of memory (as the only one that ran, with ")


def test_a_trial_that_needs_more_gpu_memory_than_others_leave_lets_others_go_first(tmp_path: Path) -> None:
    driver = drive(open_study(tmp_path))
    failure = replace(unknown(0, "OutOfMemoryError: CUDA out of memory"), cause=Cause.MEMORY)
    assert begin(driver) == 0
    driver.on_report(replace(failure, room=Room(2**20, 2**34)))
    assert driver.next_assignment() is None, "the GPU is full: all wait"
    assert states(driver) == [TrialState.WAITING]


def test_a_trial_that_needs_more_than_others_leave_lets_other_trials_go_first(tmp_path: Path) -> None:
    driver = drive(open_study(tmp_path))
    failure = replace(unknown(0, "OutOfMemoryError: CUDA out of memory"), cause=Cause.MEMORY, room=Room(2**31, 2**34))
    assert begin(driver) == 0
    driver.on_report(failure)
    assert states(driver) == [TrialState.WAITING]
    assert begin(driver) == 1


def test_workers_that_cannot_start_end_the_search_and_use_up_no_trial(tmp_path: Path) -> None:
    events: list[Event] = []
    driver = drive(open_study(tmp_path), events)
    for number in (0, 1):
        assert begin(driver) == number
    driver.on_crash(0, "ImportError: libtorch.so, process 17", Cause.START)
    driver.on_crash(1, "ImportError: libtorch.so, process 18", Cause.START)
    assert driver.failure is None
    assert begin(driver) == 0
    driver.on_crash(0, "ImportError: libtorch.so, process 19", Cause.START)
    assert driver.next_assignment() is None
    assert ending_of(driver, None).text == "workers cannot start: ImportError: libtorch.so, process 19"
    assert events[0].text == "its worker could not start: ImportError: libtorch.so, process 17"
    assert states(driver) == [TrialState.WAITING] * 2
    assert begin(drive(open_study(tmp_path))) == 0


def test_workers_that_cannot_start_beside_others_are_done_without(tmp_path: Path) -> None:
    driver = drive(open_study(tmp_path, SPACE.replace("name: asha", "name: none")))
    assert begin(driver) == 0
    assert driver.on_report(report(0, [0.5]))
    for _ in range(3):
        assert begin(driver) == 1
        driver.on_crash(1, "ImportError: libtorch.so", Cause.START)
    assert driver.next_assignment() is None
    assert not driver.on_report(report(0, [0.5] * 4, stop="epochs", n_new=3))
    assert driver.failure is None
    assert begin(driver) == 1


def test_three_trials_that_fail_alike_before_anything_was_trained_end_the_search_and_are_not_used_up(
    tmp_path: Path,
) -> None:
    driver = drive(open_study(tmp_path))
    for number in range(3):
        assert driver.failure is None
        assert begin(driver) == number
        assert not driver.on_report(unknown(number, f"OSError: no disk {number}"))
    assert driver.next_assignment() is None
    assert ending_of(driver, None).text == "trials fail before anything is trained: OSError: no disk 2"
    assert states(driver) == [TrialState.WAITING] * 3

    again = drive(open_study(tmp_path))
    assert [begin(again) for _ in range(3)] == [3, 4, 5], "those that never failed go first"
    for number in (3, 4, 5):
        again.on_report(report(number, [0.5] * 4, stop="epochs", n_new=4))
    assert begin(again) == 0
    again.on_report(report(0, [0.5] * 4, stop="epochs", n_new=4))
    assert begin(again) == 1
    again.on_report(unknown(1, "OSError: no disk 1"))
    assert states(again)[:2] == [TrialState.COMPLETE, TrialState.FAIL]


def test_a_trial_whose_values_are_at_fault_fails_at_once(tmp_path: Path) -> None:
    driver = drive(open_study(tmp_path))
    for number in range(6):
        assert begin(driver) == number
        driver.on_report(report(number, [], failure="NonFiniteLossError: loss is nan", n_new=0))
    assert states(driver) == [TrialState.FAIL] * 6
    assert ending_of(driver, None).text == "all 6 trials failed: NonFiniteLossError: loss is nan"


@pytest.mark.parametrize(
    ("text", "kernel_killed", "cause", "reason"),
    [
        (
            CREATION,
            False,
            Cause.START,
            "ImportError: libtorch_cpu.so: cannot open shared object file: No such file or directory",
        ),
        (BROKEN, False, Cause.WORKER, "AcceleratorError: CUDA error: an illegal memory access was encountered"),
        (SHORT, False, Cause.MEMORY, "out of memory"),
        (DIED, True, Cause.MEMORY, "out of memory"),
        (DIED, False, Cause.WORKER, "The actor died unexpectedly before finishing this task."),
        ("", False, Cause.WORKER, "no reason given"),
    ],
)
def test_the_cause_of_a_workers_death_is_dug_out(text: str, kernel_killed: bool, cause: Cause, reason: str) -> None:
    assert read_death(text, kernel_killed=kernel_killed) == (cause, reason)


@pytest.mark.parametrize(
    "text",
    [
        "RuntimeError: [enforce fail at alloc_cpu.cpp:117] err == 0. DefaultCPUAllocator: can't allocate memory: you tried",
        "OutOfMemoryError: CUDA out of memory. Tried to allocate 20.00 GiB",
        "AcceleratorError: CUDA error: out of memory",
        "RuntimeError: CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
        "OSError: [Errno 12] Cannot allocate memory",
        "_ArrayMemoryError: Unable to allocate 3.50 GiB for an array with shape (1, 2)",
    ],
)
def test_a_lack_of_memory_is_known_by_what_is_said_of_it(text: str) -> None:
    assert is_out_of_memory(text)


def test_other_errors_are_no_lack_of_memory() -> None:
    assert not is_out_of_memory("AcceleratorError: CUDA error: an illegal memory access was encountered")
    assert not is_out_of_memory("RuntimeError: mat1 and mat2 shapes cannot be multiplied (64x32 and 64x10)")


@pytest.fixture
def small_cgroup() -> Iterator[Path]:
    """A cgroup that may use 256 MiB."""
    for parent, limit in (("memory", "memory.limit_in_bytes"), (".", "memory.max")):
        folder = Path("/sys/fs/cgroup") / parent / f"fmnist-tune-test-{os.getpid()}"
        try:
            folder.mkdir()
            (folder / limit).write_text(str(256 * 2**20))
        except OSError:
            if folder.is_dir():
                folder.rmdir()
            continue
        yield folder
        folder.rmdir()
        return
    pytest.skip("making a cgroup with a limit needs root")


def test_room_is_that_of_the_cgroup_without_what_rays_monitor_keeps_free(small_cgroup: Path) -> None:
    program = (
        "import os, pathlib, sys; pathlib.Path(sys.argv[1], 'cgroup.procs').write_text(str(os.getpid())); "
        "from fmnist_tune.search.memory import measure_room; before = measure_room(); held = bytearray(2**26); "
        "print(before.total, before.free - measure_room().free)"
    )
    environment = {**os.environ, THRESHOLD_VARIABLE: "0.5"}
    run = subprocess.run(
        [sys.executable, "-c", program, small_cgroup], env=environment, capture_output=True, text=True, check=True
    )
    total, used = map(int, run.stdout.split())
    assert total == 128 * 2**20
    assert 60 * 2**20 < used < 80 * 2**20


def decide(setbacks: Setbacks, trial: int, cause: Cause, *, n_others: int = 0, n_training: int = 0) -> Decision:
    return setbacks.decide(
        trial, "ImportError: no", cause, epoch=1, n_others=n_others, n_training=n_training, room=None
    )


def test_workers_that_fail_to_start_now_and_then_end_no_search_that_trains() -> None:
    setbacks = Setbacks(Pace())
    for _ in range(12):
        assert decide(setbacks, 0, Cause.START).end is None
        setbacks.on_progress()


def test_workers_that_fail_to_start_end_no_search_while_others_are_coming_up() -> None:
    setbacks = Setbacks(Pace())
    for _ in range(6):
        assert decide(setbacks, 0, Cause.START, n_others=15).end is None
    for _ in range(3):
        last = decide(setbacks, 0, Cause.START)
    assert last.end == "workers cannot start: ImportError: no"


def test_a_trial_that_fails_again_and_again_with_nothing_else_left_to_train_fails() -> None:
    setbacks = Setbacks(Pace())
    fates = [decide(setbacks, 7, Cause.UNKNOWN).fate for _ in range(3)]
    assert fates == [Fate.LAST, Fate.LAST, Fate.FAILS]
