"""Whole searches: real Ray, real SQLite, a tiny real data set."""

from __future__ import annotations

import json
import operator
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from benchmarks.kills import worker_pids
from fmnist_tune.config.schema import Resources
from fmnist_tune.data.fashion_mnist import DEBIAN_DIR, has_part
from fmnist_tune.errors import UserError
from fmnist_tune.search.cluster import WorkerPlan, plan_workers
from fmnist_tune.seeds import derive_seed
from tests.cluster import Cluster
from tests.conftest import TINY_SPACE, CommandLine

pytestmark = pytest.mark.ray

LONG_SPACE = (
    TINY_SPACE.replace("trials: 4", "trials: 2")
    .replace("epochs: 4", "epochs: 4000")
    .replace("name: asha", "name: none")
)


def states(command: CommandLine) -> dict[int, str]:
    with sqlite3.connect(command.folder / "studies" / "studies.db", timeout=30) as connection:
        return dict(connection.execute("SELECT number, state FROM trials").fetchall())


EPOCHS_OF_TRIALS = "SELECT COUNT(*) FROM trial_intermediate_values GROUP BY trial_id ORDER BY trial_id"


def wait_for_epochs(command: CommandLine, process: subprocess.Popen[str], n: int | list[int]) -> None:
    """Return once the study that a search trains knows of so many epochs, or each of its trials of so many of its own."""
    path = command.folder / "studies" / "studies.db"
    end = time.monotonic() + 120
    while time.monotonic() < end:
        has_ended = process.poll() is not None
        if path.exists():
            with sqlite3.connect(path, timeout=30) as connection:
                try:
                    known = [epochs for (epochs,) in connection.execute(EPOCHS_OF_TRIALS)]
                except sqlite3.OperationalError:  # no tables yet
                    known = []
            if sum(known) >= n if isinstance(n, int) else all(map(operator.ge, known, n)) and len(known) == len(n):
                return
        assert not has_ended, f"fewer than {n} epochs: {process.communicate()[1]}"
        time.sleep(0.2)
    raise AssertionError(f"fewer than {n} epochs after 120 s")


def wait_for_worker(driver: int) -> int:
    """Return a process that trains for a driver, once there is one."""
    end = time.monotonic() + 30
    while not (workers := worker_pids(driver)):
        assert time.monotonic() < end, "no worker after 30 s"
        time.sleep(0.1)
    return workers[0]


def test_a_search_without_the_test_files_finds_a_best_trial_and_leaves_a_whole_study(
    command: CommandLine, joined: CommandLine, tmp_path: Path
) -> None:
    blind = Path(shutil.copytree(command.data_dir, tmp_path / "blind"))
    for path in blind.glob("t10k*"):
        path.unlink()
    (tmp_path / "space.yaml").write_text(TINY_SPACE)
    run = command("search", "space.yaml", "--data-dir", blind, "--json", "--workers", 2)
    assert run.code == 0, run.err
    out = run.json
    assert out["study"] == "tiny"
    assert out["workers"] == 2
    assert out["trials"]["total"] == 4
    assert out["trials"]["running"] == out["trials"]["waiting"] == out["trials"]["failed"] == 0
    assert out["trials"]["complete"] > 0
    assert out["trials"]["pruned"] > 0
    assert out["trials"]["complete"] + out["trials"]["pruned"] == 4
    assert out["storage"] == "sqlite:///studies/studies.db"
    assert out["best"]["value"] > 0.5
    assert out["ended_by"] == "trials"
    assert out["highest"]["value"] >= out["best"]["value"]
    assert 0 < out["train_s"] < 2 * out["wall_s"]
    assert out["startup_s"] < out["first_step_s"] < out["wall_s"]

    shown = command("show", "tiny", "--json").json
    assert set(out) - set(shown) == {"startup_s", "first_step_s"}
    assert (shown["workers"], shown["epochs"], shown["train_s"]) == (None, 0, 0.0), "of this command"
    assert "next:" not in command("show", "tiny").out
    assert out["epochs"] == sum(trial["epochs"] for trial in shown["all"])
    for trial in shown["all"]:
        assert list(trial["intermediate"]) == [str(epoch + 1) for epoch in range(trial["epochs"])]
        assert trial["attributes"]["params"] == 784 * 8 + 8 + 8 * 10 + 10
        assert {"seed", "duration_s", "images_per_s", "ran_on", "numerics", "stop_reason"} <= set(trial["attributes"])
        if trial["state"] == "complete":
            assert trial["epochs"] == 4
            assert trial["value"] == trial["intermediate"]["4"]
        else:
            assert trial["attributes"]["stop_reason"].startswith("asha: ")

    assert out["best"]["value"] == max(t["value"] for t in shown["all"] if t["state"] == "complete")
    assert shown["all"][out["best"]["number"]]["value"] == out["best"]["value"]

    recipe = (command.folder / "studies" / "tiny" / "best.yaml").read_text()
    best = yaml.safe_load(recipe)
    assert best["training"] == out["best"]["config"]["training"]
    assert not list((command.folder / "studies" / "tiny" / "trials").iterdir())
    assert not re.search(r"ray|optuna|warning|traceback", run.err.replace("starting Ray", ""), re.IGNORECASE), run.err

    (command.folder / "studies" / "tiny" / "best.yaml").write_text("# as a kill may leave it")
    again = command.here("search", "space.yaml", "--data-dir", blind)
    assert again.code == 0
    assert (command.folder / "studies" / "tiny" / "best.yaml").read_text() == recipe
    assert "study tiny has all of its 4 trials; --trials 8 would extend it" in again.err
    assert "best trial" in again.out

    more = joined("resume", "tiny", "--data-dir", blind, "--trials", 6, "--json").json
    assert more["trials"]["total"] == 6
    assert 0 < more["epochs"] <= 2 * 4, "of this command alone"


def test_trials_that_fail_tell_why_and_the_study_goes_on(joined: CommandLine) -> None:
    space = (
        TINY_SPACE.replace("{float: [1e-3, 1e-1], log: true}", "{choice: [0.01, 1.0e+30]}")
        .replace("name: adam,", "name: sgd,")
        .replace("trials: 4", "trials: 8")
    )
    storage = ("--storage", f"sqlite:///{joined.folder}/elsewhere.db")
    run = joined.search(space, "--study", "other", "--seed", 3, *storage, "--json")
    assert run.code == 0, run.err
    assert (run.json["study"], run.json["storage"]) == ("other", storage[1])
    trials = joined("show", "other", *storage, "--json").json["all"]
    assert [t["attributes"]["seed"] for t in trials] == [derive_seed(3, t["number"], "training") for t in trials]
    failed = [t for t in trials if t["state"] == "failed"]
    good = [t for t in trials if t["state"] != "failed"]
    assert failed
    assert good
    assert all(t["params"]["training.optimizer.lr"] == 1e30 for t in failed)
    assert all(t["attributes"]["reason"].startswith("NonFiniteLossError: loss is ") for t in failed)
    assert "failed" in run.err
    assert [s["study"] for s in joined("studies", *storage, "--json").json["studies"]] == ["other"]
    assert not (joined.folder / "studies" / "studies.db").exists()


def test_ctrl_c_stops_after_the_epoch_and_the_search_goes_on_from_there(
    command: CommandLine, joined: CommandLine
) -> None:
    (command.folder / "space.yaml").write_text(LONG_SPACE)
    process = command.start("search", "space.yaml", "--data-dir", command.data_dir, "--workers", 2, "--json")
    wait_for_epochs(command, process, 6)
    second = command.here("search", "space.yaml", "--data-dir", command.data_dir)
    assert second.code == 2
    assert f"study tiny is being searched or trained already by process {process.pid} on " in second.err
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to everything in the foreground
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert '"waiting": 2' in out
    assert "Traceback" not in err
    assert set(states(command).values()) == {"WAITING"}
    before = command("show", "tiny", "--json").json["all"]

    process = joined.start("resume", "tiny", "--data-dir", joined.data_dir, "--workers", 2, "--json")
    wait_for_epochs(command, process, [t["epochs"] + 2 for t in before])
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)
    assert process.returncode == 130
    after = command("show", "tiny", "--json").json["all"]
    assert len(after) == 2
    for then, now in zip(before, after, strict=True):
        assert now["epochs"] > then["epochs"]
        assert {epoch: now["intermediate"][epoch] for epoch in then["intermediate"]} == then["intermediate"]
        assert list(now["intermediate"]) == [str(epoch + 1) for epoch in range(now["epochs"])]


def test_a_second_ctrl_c_waits_for_no_epoch(command: CommandLine) -> None:
    (command.folder / "space.yaml").write_text(LONG_SPACE)
    process = command.start("search", "space.yaml", "--data-dir", command.data_dir, "--workers", 1)
    wait_for_epochs(command, process, 2)
    os.kill(wait_for_worker(process.pid), signal.SIGSTOP)  # its epoch does not end
    process.send_signal(signal.SIGINT)
    assert process.stderr is not None
    assert any("once more stops at once" in line for line in process.stderr)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 130, err
    assert "Traceback" not in err
    assert set(states(command).values()) == {"WAITING"}


def test_the_timeout_is_kept(joined: CommandLine) -> None:
    run = joined.search(LONG_SPACE.replace("4000", "40000"), "--timeout", "26s", "--workers", 2, "--json")
    assert run.code == 0
    assert run.json["epochs"] > 0
    assert run.json["trials"]["waiting"] == 2
    assert run.json["best"] is None
    assert run.json["ended_by"] == "timeout"
    assert 0 < run.json["highest"]["value"] <= 1
    assert re.search(r"\] 0 of 2 trials ended; trial 0: \d+/40000 epochs", run.err), "while no trial ends"
    started = time.time() - run.json["wall_s"]  # at the earliest
    lines = (joined.folder / "studies" / "tiny" / "training.log").read_text().splitlines()
    begun = [json.loads(line)["time"] for line in lines if '"begin"' in line]
    assert len(begun) >= run.json["epochs"]
    assert sum(time > started + 26 for time in begun) <= 2  # a worker may still have been starting


def test_a_worker_that_is_killed_is_replaced_and_its_trial_goes_on(command: CommandLine) -> None:
    (command.folder / "space.yaml").write_text(LONG_SPACE.replace("epochs: 4000", "epochs: 150"))
    process = command.start("search", "space.yaml", "--data-dir", command.data_dir, "--json")
    wait_for_epochs(command, process, 8)
    os.kill(wait_for_worker(process.pid), signal.SIGKILL)
    _, err = process.communicate(timeout=240)
    assert process.returncode == 0, err
    assert "its worker died" in err
    assert "Traceback" not in err
    trials = command("show", "tiny", "--json").json["all"]
    assert [(t["state"], t["epochs"]) for t in trials] == [("complete", 150)] * 2


def test_a_search_goes_on_when_nobody_reads_its_progress_any_more(joined: CommandLine) -> None:
    (joined.folder / "space.yaml").write_text(TINY_SPACE)
    process = joined.start("search", "space.yaml", "--data-dir", joined.data_dir, "--json")
    assert process.stderr is not None
    process.stderr.readline()
    process.stderr.close()
    process.stderr = None
    out, _ = process.communicate(timeout=240)
    assert process.returncode == 0
    counts = json.loads(out)["trials"]
    assert counts["complete"] + counts["pruned"] == counts["total"] == 4


def test_a_running_cluster_is_joined_gpus_are_shared_and_who_gets_no_place_ends_in_time(
    joined: CommandLine, cluster: Cluster
) -> None:
    more = joined.search(TINY_SPACE, "--workers", "999")
    assert more.code == 2
    assert "--workers 999: this cluster has" in more.err
    assert not (joined.folder / "studies").exists()
    run = joined.search(TINY_SPACE, "--workers", "2", "--json")
    assert run.code == 0, run.err
    assert "2 workers, each with 1 CPU and 0.5 GPU" in run.err
    assert run.json["trials"]["total"] == 4

    space, place = joined.folder / "space.yaml", ("--data-dir", joined.data_dir)
    space.write_text(LONG_SPACE.replace("study: tiny", "study: long"))
    other = joined.start("search", space, *place, "--workers", "2")
    wait_for_epochs(joined, other, 20)
    run = joined("search", space, *place, "--studies-dir", "mine", "--timeout", "12s", "--json")
    assert run.code == 0, run.err
    assert run.json["epochs"] == 0
    assert run.json["trials"]["waiting"] == run.json["trials"]["total"] > 0
    assert other.poll() is None, "it would have gone on for hours"
    other.kill()
    other.communicate(timeout=60)


@pytest.mark.parametrize("address", ["banana", "127.0.0.1:1", "ray://127.0.0.1:1"])
def test_a_cluster_that_is_not_there_is_named_at_once(command: CommandLine, address: str) -> None:
    run = command.search_here(TINY_SPACE, "--address", address)
    assert run.code == 2
    assert f"--address {address}: no Ray cluster answers there: " in run.err
    assert not (command.folder / "studies").exists()


@pytest.mark.parametrize(
    ("resources", "machines", "wanted", "expected"),
    [
        ({}, [{"CPU": 2}], None, (2, 1, 0)),
        ({"cpus": 2}, [{"CPU": 8}], None, (4, 2, 0)),
        ({}, [{"CPU": 16, "GPU": 1}], None, (1, 1, 1)),
        ({}, [{"CPU": 16, "GPU": 1}], 4, (4, 1, 0.25)),
        ({"gpus": 0.5}, [{"CPU": 16, "GPU": 2}], None, (4, 1, 0.5)),
        ({"gpus": 0}, [{"CPU": 4, "GPU": 2}], None, (4, 1, 0)),
        ({"gpus": 2}, [{"CPU": 16, "GPU": 4}], None, (2, 1, 2)),
        ({"cpus": 3}, [{"CPU": 4}, {"CPU": 5}], None, (2, 3, 0)),  # a trial is on one machine
        ({}, [{"CPU": 16}, {"CPU": 8, "GPU": 2}], None, (2, 1, 1)),
    ],
)
def test_workers_fill_the_cluster(
    resources: dict[str, float], machines: list[dict[str, float]], wanted: int | None, expected: tuple[float, ...]
) -> None:
    plan = plan_workers(Resources.model_validate(resources), machines, wanted)
    assert (plan.n_workers, plan.cpus, plan.gpus) == expected


@pytest.mark.parametrize(
    ("plan", "expected"),
    [
        (WorkerPlan(1, 1, 0), "1 worker with 1 CPU"),
        (WorkerPlan(1, 2, 0), "1 worker with 2 CPUs"),
        (WorkerPlan(4, 1, 0.25), "4 workers, each with 1 CPU and 0.25 GPU"),
    ],
)
def test_a_plan_says_what_each_worker_gets(plan: WorkerPlan, expected: str) -> None:
    assert str(plan) == expected


@pytest.mark.parametrize(
    ("resources", "n_machines", "wanted", "message"),
    [
        ({"cpus": 4}, 1, None, "one trial wants 4 CPUs and 0 GPUs, but this machine has 2 CPUs and 0 GPUs"),
        ({"gpus": 1}, 1, None, "one trial wants 1 CPUs and 1 GPUs"),
        ({"cpus": 3}, 2, None, "one trial wants 3 CPUs and 0 GPUs, but this cluster of 2 machines has 4 CPUs"),
        ({}, 1, 3, "--workers 3: this cluster has 2 CPUs and 0 GPUs, enough for 2 trials"),
    ],
)
def test_more_than_there_is_is_refused(
    resources: dict[str, float], n_machines: int, wanted: int | None, message: str
) -> None:
    with pytest.raises(UserError, match=re.escape(message)):
        plan_workers(Resources.model_validate(resources), n_machines * [{"CPU": 2}], wanted)


def test_a_trial_whose_time_is_over_before_its_worker_takes_it_waits_for_the_next_run(
    joined: CommandLine, cluster: Cluster
) -> None:
    (joined.folder / "late.py").write_text("""
import json, sys, time
from pathlib import Path
from rich.console import Console
from fmnist_tune.config import load_space
from fmnist_tune.search.driver import Driver
from fmnist_tune.search.limits import Limits
from fmnist_tune.search.run import RunOptions, run_search
from fmnist_tune.study.summary import count_states
class LateOnce(Driver):
    n_late = 0
    def is_over(self, number):
        if number == 2 and number in self.running and self.running[number].report is None and not LateOnce.n_late:
            LateOnce.n_late += 1
            return True
        return super().is_over(number)
place = RunOptions(Path("studies"), data_dir=Path(sys.argv[1]), address=sys.argv[2], n_workers=1)
console = Console(stderr=True)
outcome = run_search(load_space("space.yaml"), place, Limits(), console, time.monotonic(), make_driver=LateOnce)
print(json.dumps([LateOnce.n_late, count_states(outcome.record.trials, is_running=False)]))
""")
    (joined.folder / "space.yaml").write_text(TINY_SPACE)
    run = subprocess.run(
        [sys.executable, "late.py", str(joined.data_dir), cluster.address],
        cwd=joined.folder,
        env=joined.environment,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert run.returncode == 0, run.stderr
    assert "trial 2   interrupted can go on later" in run.stderr
    n_late, trials = json.loads(run.stdout)  # of which Ray Tune has said nothing
    assert n_late == 1
    assert trials["total"] == trials["complete"] + trials["pruned"] == 4


@pytest.mark.real
@pytest.mark.skipif(not has_part(DEBIAN_DIR, "train"), reason="the real data set is not on this machine")
def test_a_short_search_on_the_real_data_learns(joined: CommandLine) -> None:
    del joined.environment["FMNIST_TUNE_MD5SUMS"]
    (joined.folder / "space.yaml").write_text(
        "study: real\nsearch: {trials: 2}\nmodel: {name: mlp, width: {int: [64, 128]}}\n"
        "training: {epochs: 2, batch_size: 256, optimizer: {lr: 2e-3}}"
    )
    run = joined("search", "space.yaml", "--data-dir", DEBIAN_DIR, "--json")
    assert run.code == 0, run.err
    assert run.json["best"]["value"] > 0.84
