"""Studies that nothing can break: real searches, killed at random moments, and what must hold afterwards."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.kills import check_invariants, worker_pids
from benchmarks.kills import main as kill_searches
from fmnist_tune.study.database import open_database
from tests.conftest import TINY_SPACE, CommandLine
from tests.test_search import LONG_SPACE, states, wait_for_epochs, wait_for_worker

pytestmark = pytest.mark.ray


def is_alive(pid: int) -> bool:
    try:
        return bool(Path(f"/proc/{pid}/cmdline").read_bytes())  # of a zombie nothing
    except OSError:
        return False


def test_a_study_survives_kills(command: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in command.environment.items():
        monkeypatch.setenv(name, value)
    folder = command.folder / "killed"
    kill_searches(["--kills", "2", "--seed", "1", "--folder", str(folder), "--data-dir", str(command.data_dir)])
    report = check_invariants(folder / "studies" / "kills", n_trials=6)
    # At most the epoch that each worker was in at a kill, and each trial's first one, in which it may have been pruned.
    assert report.n_interrupted_epochs <= 2 * 2 + 6


def test_a_killed_study_ends_as_an_undisturbed_one(command: CommandLine, joined: CommandLine) -> None:
    space = TINY_SPACE.replace("epochs: 4", "epochs: 30").replace("trials: 4", "trials: 5")
    undisturbed = joined.search(space, "--workers", 1, "--studies-dir", "calm", "--json")
    assert undisturbed.code == 0, undisturbed.err
    n_epochs = undisturbed.json["epochs"]
    for line, share in ((command, 0.3), (joined, 0.7)):  # Ray ends with the one, and goes on without the other
        process = line.start(
            "search", "space.yaml", "--data-dir", command.data_dir, "--workers", 1, "--studies-dir", "studies"
        )
        wait_for_epochs(command, process, int(n_epochs * share))
        process.kill()
        process.communicate(timeout=60)
    ended = joined("search", "space.yaml", "--data-dir", command.data_dir, "--workers", 1, "--json")
    assert ended.code == 0, ended.err
    calm = command("show", "tiny", "--studies-dir", "calm", "--json").json
    killed = command("show", "tiny", "--json").json
    for key in ("number", "state", "value", "params", "intermediate"):
        assert [t[key] for t in killed["all"]] == [t[key] for t in calm["all"]], key
    assert killed["best"] == calm["best"]
    assert (command.folder / "studies/tiny/best.yaml").read_text() == (
        command.folder / "calm/tiny/best.yaml"
    ).read_text()


def test_a_worker_that_hangs_is_replaced_and_its_trial_fails(command: CommandLine) -> None:
    space = LONG_SPACE.replace("epochs: 4000", "epochs: 150").replace("trials: 2", "trials: 2\n  epoch_timeout: 6s")
    (command.folder / "space.yaml").write_text(space)
    process = command.start("search", "space.yaml", "--data-dir", command.data_dir, "--workers", 1, "--json")
    wait_for_epochs(command, process, 6)
    os.kill(wait_for_worker(process.pid), signal.SIGSTOP)
    _, err = process.communicate(timeout=240)
    assert process.returncode == 0, err
    trials = command("show", "tiny", "--json").json["all"]
    assert [t["state"] for t in trials] == ["failed", "complete"]
    assert "no epoch within 6 s (search.epoch_timeout)" in err


def test_a_search_that_was_killed_goes_on_and_a_damaged_checkpoint_costs_an_epoch_at_most(
    command: CommandLine, joined: CommandLine
) -> None:
    (command.folder / "space.yaml").write_text(LONG_SPACE.replace("epochs: 4000", "epochs: 150"))
    words = ("search", "space.yaml", "--data-dir", command.data_dir, "--workers", 2)
    process = command.start(*words)
    wait_for_epochs(command, process, 10)
    workers = worker_pids(process.pid)
    process.kill()
    process.communicate(timeout=60)
    assert "RUNNING" in states(command).values()
    before = command("show", "tiny", "--json").json
    assert before["trials"]["running"] == 0, "nobody trains it, and show says so"
    assert command("show", "tiny").out.count("\n  fmnist-tune resume tiny\n") == 1
    end = time.monotonic() + 60
    while any(is_alive(pid) for pid in workers):  # they finish the epochs that they are in
        assert time.monotonic() < end
        time.sleep(0.1)
    checkpoints = sorted((command.folder / "studies/tiny/trials").glob("*/checkpoint.pt"))
    checkpoints[0].write_bytes(b"garbage")
    run = joined(*words, "--json")
    assert run.code == 0, run.err
    assert "interrupted earlier, goes on" in run.err
    assert "checkpoint unusable (checkpoint.pt: " in run.err
    trials = command("show", "tiny", "--json").json["all"]
    assert [(t["number"], t["state"], t["epochs"]) for t in trials] == [(0, "complete", 150), (1, "complete", 150)]
    assert run.json["epochs"] <= 300 - sum(t["epochs"] for t in before["all"]) + 1


def test_another_program_may_lock_the_database_for_a_while(joined: CommandLine) -> None:
    (joined.folder / "space.yaml").write_text(LONG_SPACE.replace("epochs: 4000", "epochs: 100"))
    process = joined.start("search", "space.yaml", "--data-dir", joined.data_dir, "--json")
    wait_for_epochs(joined, process, 4)
    path = joined.folder / "studies" / "studies.db"
    with sqlite3.connect(path, timeout=30) as connection:
        connection.execute("BEGIN EXCLUSIVE")
        time.sleep(7)  # longer than what SQLite's Python module waits by itself
        connection.rollback()
        assert process.poll() is None, "it ended before it had to wait"
    _, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    assert [t["epochs"] for t in joined("show", "tiny", "--json").json["all"]] == [100, 100]
    with open_database(f"sqlite:///{path}", create=False).engine.connect() as opened:
        assert opened.exec_driver_sql("PRAGMA busy_timeout").scalar() == 60_000


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 16 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", folder], capture_output=True, check=False
    ).returncode:
        pytest.skip("mounting a tmpfs needs root")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


def wait_for_checkpoint(process: subprocess.Popen[str], disk: Path, pattern: str) -> None:
    """Return once a command has left a checkpoint."""
    end = time.monotonic() + 120
    while not list(disk.glob(pattern)):
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < end
        time.sleep(0.05)


def fill(disk: Path) -> None:
    """Leave no space on a disk but that of its file `ballast`."""
    with (disk / "ballast").open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(4096))


def test_a_full_disk_stops_the_search_with_a_message_and_it_goes_on_later(
    joined: CommandLine, small_disk: Path
) -> None:
    (joined.folder / "space.yaml").write_text(LONG_SPACE.replace("epochs: 4000", "epochs: 150"))
    words = ("search", "space.yaml", "--data-dir", joined.data_dir, "--studies-dir", small_disk, "--json")
    process = joined.start(*words)
    wait_for_checkpoint(process, small_disk, "tiny/trials/*/checkpoint.pt")
    fill(small_disk)
    _, err = process.communicate(timeout=240)
    assert process.returncode == 2, err
    assert "study tiny cannot be written any more" in err
    assert "Traceback" not in err
    (small_disk / "ballast").unlink()
    again = joined(*words)
    assert again.code == 0, again.err
    trials = joined("show", "tiny", "--studies-dir", small_disk, "--json").json["all"]
    assert [(t["state"], t["epochs"]) for t in trials] == [("complete", 150)] * 2
    with sqlite3.connect(small_disk / "studies.db") as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)


@pytest.mark.parametrize("is_database_there", [True, False])
def test_a_full_disk_stops_a_training_with_a_message_and_it_goes_on_later(
    joined: CommandLine, small_disk: Path, is_database_there: bool
) -> None:
    recipe = "study: plain\nmodel: {name: mlp, hidden: [8]}\ntraining: {epochs: 100, batch_size: 32}\ndata: {val_size: 100}\n"
    (joined.folder / "recipe.yaml").write_text(recipe)
    words = ("train", "recipe.yaml", "--seeds", 1, "--data-dir", joined.data_dir, "--studies-dir", small_disk)
    if not is_database_there:
        words = (*words, "--storage", f"sqlite:///{joined.folder}/elsewhere.db")
    process = joined.start(*words)
    wait_for_checkpoint(process, small_disk, "plain/retrain/recipe/seed-0/checkpoint.pt")
    fill(small_disk)
    _, err = process.communicate(timeout=240)
    assert process.returncode == 2, err
    assert "plain: cannot be written: " in err
    assert "the same command goes on" in err
    assert "Traceback" not in err
    (small_disk / "ballast").unlink()
    if is_database_there:  # going on is the same in both cases
        again = joined(*words, "--json")
        assert again.code == 0, again.err
        assert again.json["epochs"] == 100


def test_warm_start_takes_over_what_fits(study: CommandLine) -> None:
    wider = (
        TINY_SPACE.replace("study: tiny", "study: wide")
        .replace("1e-1]", "1.0]")
        .replace("[32, 64]", "[64]")
        .replace("name: asha", "name: none")
    )
    wider = wider.replace("  trials: 4\n", "  trials: 4\n  initial: [{model.dropout: 0.125}]\n")
    run = study.search(wider, "--warm-start", "tiny", "--trials", 5, "--json")
    assert run.code == 0, run.err
    old = {t["number"]: t for t in study("show", "tiny", "--json").json["all"]}
    new = study("show", "wide", "--json").json["all"]
    taken = [t for t in new if "taken_from" in t["attributes"]]
    assert [t["attributes"]["taken_from"]["trial"] for t in taken] == [
        n for n, t in old.items() if t["params"]["training.batch_size"] == 64
    ]
    for trial in taken:
        source = old[trial["attributes"]["taken_from"]["trial"]]
        assert (trial["intermediate"], trial["value"], trial["state"]) == (
            source["intermediate"],
            source["value"],
            source["state"],
        )
    assert len(new) == 5
    assert f"{len(taken)} of 4 trials of study tiny fit" in run.err
    assert "initial points that have not begun yet: 1; they come before what is sampled" in run.err
    assert new[len(taken)]["params"]["model.dropout"] == 0.125
    assert [t["number"] for t in new if t["attributes"].get("initial")] == [len(taken)]
    split = wider.replace("study: wide", "study: split").replace("val_size: 100", "val_size: 120")
    refused = study.search_here(split, "--warm-start", "tiny")
    assert refused.code == 2
    assert "--warm-start tiny: that study was trained on other data or another split" in refused.err
    assert "Ray" not in refused.err
    assert not (study.folder / "studies" / "split").exists()
    again = study.search(wider, "--warm-start", "tiny", "--trials", 5)
    assert again.code == 0
    assert len(study("show", "wide", "--json").json["all"]) == 5


@pytest.mark.parametrize(
    ("warm_start", "message"),
    [
        ("absent", "--warm-start absent: no such study"),
        ("wide", "--warm-start wide: a study cannot take over its own trials"),
    ],
)
def test_warm_start_from_nowhere_is_refused(command: CommandLine, warm_start: str, message: str) -> None:
    run = command.search_here(TINY_SPACE.replace("study: tiny", "study: wide"), "--warm-start", warm_start)
    assert run.code == 2
    assert message in run.err
    assert not (command.folder / "studies" / "wide").exists()


def test_a_read_only_disk_is_refused_and_untouched(study: CommandLine, small_disk: Path) -> None:
    words = ("--studies-dir", small_disk)
    shutil.copytree(study.folder / "studies", small_disk, dirs_exist_ok=True)
    before = (small_disk / "studies.db").read_bytes()
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    more = study.here("resume", "tiny", "--trials", 6, "--data-dir", study.data_dir, *words)
    assert more.code == 2
    assert "Traceback" not in more.err
    assert "studies.db: read-only" in more.err
    assert (small_disk / "studies.db").read_bytes() == before


def test_a_trial_that_alone_needs_too_much_memory_fails_after_three_deaths_and_the_study_goes_on(
    command: CommandLine,
) -> None:
    lines = Path("/proc/meminfo").read_text().splitlines()
    kib = {name: int(rest.split()[0]) for name, rest in (line.split(":") for line in lines)}
    if kib["MemAvailable"] < 8 * 2**20:
        pytest.skip("needs 8 GiB of free memory")
    used = 1 - kib["MemAvailable"] / kib["MemTotal"]
    command.environment["RAY_memory_usage_threshold"] = f"{used + 4 * 2**20 / kib['MemTotal']:.3f}"
    command.environment["RAY_memory_monitor_refresh_ms"] = "50"
    command.environment["CUDA_VISIBLE_DEVICES"] = ""  # it is the host's memory that is too small
    space = (
        TINY_SPACE.replace("name: tpe", "name: grid")
        .replace(
            "hidden: [8]", "hidden: {choice: [[20480, 20480], [8]]}"
        )  # 1.7 GB, four times that to train it; 4 more are allowed
        .replace("{float: [0.0, 0.5]}", "0.0")
        .replace("{choice: [32, 64]}", "32")
        .replace("{float: [1e-3, 1e-1], log: true}", "0.01")
    )
    run = command.search(space, "--workers", 1, "--json")
    assert run.code == 0, run.err
    assert run.json["trials"]["failed"] == 1
    assert run.json["trials"]["complete"] == 1
    assert "its worker died 3 times in epoch 1: out of memory" in run.err


BROKEN_TORCH = """\
import sys
from importlib.abc import MetaPathFinder

class Broken(MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name == "torch":
            raise ImportError("libtorch_cpu.so: cannot open shared object file: No such file or directory")

if any("default_worker.py" in word for word in sys.orig_argv):
    sys.meta_path.insert(0, Broken())
"""


def test_workers_that_cannot_start_end_a_search_or_a_retraining_with_the_cause_and_use_up_no_trial(
    command: CommandLine, joined: CommandLine
) -> None:
    folder = command.folder / "broken"
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(BROKEN_TORCH)
    cause = "workers cannot start: ImportError: libtorch_cpu.so: cannot open shared object file"
    command.environment["PYTHONPATH"] = str(folder)
    run = command.search(TINY_SPACE, "--workers", 2, "--json")
    assert run.code == 2
    assert f"study 'tiny': {cause}" in run.err
    assert "`fmnist-tune resume tiny` goes on" in run.err
    assert "Traceback" not in run.err
    assert (run.json["trials"]["waiting"], run.json["trials"]["failed"]) == (2, 0)

    del command.environment["PYTHONPATH"]
    again = joined("resume", "tiny", "--data-dir", command.data_dir, "--json")
    assert again.code == 0, again.err
    assert again.json["trials"]["complete"] + again.json["trials"]["pruned"] == 4

    command.environment["PYTHONPATH"] = str(folder)
    retraining = command("retrain", "tiny", "--seeds", 1, "--data-dir", command.data_dir)
    assert retraining.code == 2
    assert cause in retraining.err
    assert "Traceback" not in retraining.err


def test_a_search_without_memory_waits_for_it_and_uses_up_no_trial(command: CommandLine, joined: CommandLine) -> None:
    command.environment["RAY_memory_usage_threshold"] = "0.001"  # other programs use more
    command.environment["RAY_memory_monitor_refresh_ms"] = "50"
    (command.folder / "space.yaml").write_text(TINY_SPACE)
    words = ("search", "space.yaml", "--data-dir", command.data_dir, "--workers", 2, "--json")
    process = command.start(*words)
    assert process.stderr is not None
    assert any("tries again after 10 s at the latest" in line for line in process.stderr)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 130, err
    trials = json.loads(out)["trials"]
    assert (trials["failed"], trials["waiting"]) == (0, trials["total"])
    assert trials["total"] <= 2

    del command.environment["RAY_memory_usage_threshold"]
    again = joined(*words)
    assert again.code == 0, again.err
    assert again.json["trials"]["complete"] + again.json["trials"]["pruned"] == 4


def test_a_search_in_which_every_trial_failed_says_so_in_its_exit_code(joined: CommandLine) -> None:
    space = TINY_SPACE.replace("name: adam, lr: {float: [1e-3, 1e-1], log: true}", "name: sgd, lr: 1.0e+30")
    run = joined.search(space, "--json")
    assert run.code == 2
    assert re.search(r"study 'tiny': all 4 trials failed(, \d of them)?: NonFiniteLossError: loss is ", run.err), (
        run.err
    )
    assert run.json["trials"]["failed"] == 4
    again = joined.here("resume", "tiny", "--data-dir", joined.data_dir)
    assert again.code == 2
    assert re.search(r"all 4 trials failed(, \d of them)?: NonFiniteLossError", again.err), again.err
