"""Kills real searches at random moments until their studies end: `python -m benchmarks.kills --kills 200`.

Each kill is a SIGKILL of the driver, of a worker, or of Ray's node process (raylet): one in five at any moment of the
start, the others while epochs are trained. A study that ends is checked, and the next one begins. What is checked is
written by the workers themselves (training.log) and compared with the database, which is read on the way too.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

SPACE = """\
study: kills
search:
  trials: 6
  sampler: {name: tpe, seed: 0}
  pruner: {name: asha, min_epochs: 0.5, reduction_factor: 4}
model: {name: mlp, hidden: [8], dropout: {float: [0.0, 0.5]}}
training:
  epochs: 128
  batch_size: {choice: [32, 64]}
  average_weights: {choice: [true, false]}
  optimizer: {name: adam, lr: {float: [1e-3, 1e-1], log: true}}
data: {val_size: 100}
"""
STATES = {"COMPLETE", "PRUNED"}
SHARE_AT_START = 0.2
SHARE_LEFT_ALONE = 0.5  # of the searches whose Ray was killed


@dataclass(frozen=True)
class Report:
    """What a study went through.

    Attributes:
        n_interrupted_epochs: begun, but not finished: ended by a kill, or by a pause at a look within the first one.
    """

    n_trials: int
    n_epochs: int
    n_interrupted_epochs: int


def check_invariants(folder: Path, *, n_trials: int) -> Report:
    """Compare an ended study with the workers' own log.

    Args:
        folder: the study's.
        n_trials: that it was to have.

    Raises:
        AssertionError: an epoch was trained twice or lost, a state is not truthful, or a file is damaged.
    """
    log = [json.loads(line) for line in (folder / "training.log").read_text().splitlines()]
    ended = Counter((line["trial"], line["epoch"]) for line in log if line["event"] == "end")
    begun = Counter((line["trial"], line["epoch"]) for line in log if line["event"] == "begin")
    twice = {key: n for key, n in ended.items() if n > 1}
    assert not twice, f"finished epochs that were trained again: {twice}"
    with sqlite3.connect(folder.parent / "studies.db") as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        trials = connection.execute(
            "SELECT trial_id, number, state FROM trials JOIN studies USING (study_id) "
            "WHERE study_name = ? ORDER BY number",
            (folder.name,),
        ).fetchall()
        curves: dict[int, dict[int, float]] = {number: {} for _, number, _ in trials}
        numbers = {trial_id: number for trial_id, number, _ in trials}
        query = "SELECT trial_id, step, intermediate_value FROM trial_intermediate_values"
        for trial_id, step, value in connection.execute(query):
            if trial_id in numbers:
                curves[numbers[trial_id]][step] = value
        values = dict(connection.execute("SELECT trial_id, value FROM trial_values").fetchall())
    assert [number for _, number, _ in trials] == list(range(n_trials)), "a trial is lost or doubled"
    assert {state for _, _, state in trials} <= STATES, trials
    trained = {(line["trial"], line["epoch"]): line["val_accuracy"] for line in log if line["event"] == "end"}
    stored = {(number, epoch): value for number, curve in curves.items() for epoch, value in curve.items()}
    assert stored.keys() >= trained.keys(), f"trained but not in the study: {sorted(trained.keys() - stored.keys())}"
    unlogged = stored.keys() - trained.keys()  # killed between the checkpoint and the log's line: begun
    assert all(begun[key] for key in unlogged), f"in the study but never trained: {sorted(unlogged)}"
    assert all(stored[key] == value for key, value in trained.items())
    n_epochs = yaml.safe_load((folder / "best.yaml").read_text())["training"]["epochs"]
    complete = [(values[trial_id], -number) for trial_id, number, state in trials if state == "COMPLETE"]
    for trial_id, number, state in trials:
        assert list(curves[number]) == list(range(1, len(curves[number]) + 1)), f"trial {number} has gaps"
        assert (len(curves[number]) == n_epochs) == (state == "COMPLETE"), (number, state, len(curves[number]))
        assert state != "COMPLETE" or values[trial_id] == curves[number][n_epochs]
    head = (folder / "best.yaml").read_text().splitlines()[0]
    assert head.startswith(f"# Trial {-max(complete)[1]} of study "), head
    assert not list((folder / "trials").iterdir()), "checkpoints of ended trials are left"
    return Report(
        len(trials),
        sum(len(curve) for curve in curves.values()),
        sum(begun.values()) - len(stored),
    )


def worker_pids(driver: int) -> list[int]:
    """Return the processes that train for a driver."""
    return [pid for pid, name in _descendants(driver).items() if name.startswith("ray::ResourceTrainable")]


def _descendants(ancestor: int) -> dict[int, str]:
    """Return the command lines of all processes below one."""
    parents, names = {}, {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parents[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
                names[int(entry.name)] = (entry / "cmdline").read_bytes().decode(errors="replace").replace("\0", " ")
            except OSError:
                continue

    def below(pid: int) -> bool:
        while pid in parents:
            pid = parents[pid]
            if pid == ancestor:
                return True
        return False

    return {pid: name for pid, name in names.items() if below(pid)}


def _kill_something(driver: int, rng: random.Random) -> str:
    """Kill one of a search's processes; returns which kind, or nothing if it ended by itself just now."""
    processes = _descendants(driver)
    victims = {
        "driver": [driver],
        "worker": worker_pids(driver),
        "raylet": [pid for pid, name in processes.items() if "/raylet/raylet " in name],
    }
    kind = rng.choice([kind for kind, pids in victims.items() if pids])
    try:
        os.kill(rng.choice(victims[kind]), signal.SIGKILL)
    except ProcessLookupError:
        return ""
    return kind


def _wait_for_epochs(search: subprocess.Popen[str], log: Path) -> None:
    """Return once epochs have been trained from now on, or the search has ended."""
    size = log.stat().st_size if log.exists() else 0
    while search.poll() is None and not (log.exists() and log.stat().st_size > size):
        time.sleep(0.05)


def _look(database: Path, n_known: int) -> int:
    """Read the database as `fmnist-tune show` does in another window; returns how many epochs it has by now."""
    if not database.exists():
        return n_known
    with contextlib.closing(sqlite3.connect(database, timeout=60)) as connection:
        if not connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'trial_intermediate_values'").fetchone():
            return n_known
        (n,) = connection.execute("SELECT COUNT(*) FROM trial_intermediate_values").fetchone()
    assert n >= n_known, f"the study knew of {n_known} epochs, and now of {n}"
    return int(n)


def run_study(space: Path, folder: Path, n_kills: int, rng: random.Random, data: list[str]) -> tuple[Counter[str], int]:
    """Search until the study ends, killing on the way; returns what was killed, and the number of starts."""
    kills: Counter[str] = Counter()
    n_starts = n_known = 0
    log = folder / "studies" / space.stem / "training.log"
    command = [sys.executable, "-m", "fmnist_tune.cli", "search", str(space)]
    command += ["--studies-dir", str(folder / "studies"), *data]
    while True:
        n_starts += 1
        kind = ""
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
            try:
                while kills.total() < n_kills:
                    if rng.random() < SHARE_AT_START:
                        time.sleep(rng.uniform(0.5, 9.0))
                    else:
                        _wait_for_epochs(process, log)
                        n_known = _look(folder / "studies" / "studies.db", n_known)
                        time.sleep(rng.uniform(0.0, 1.5))
                    if process.poll() is not None:
                        break
                    kind = _kill_something(process.pid, rng)
                    kills[kind] += bool(kind)
                    if kind == "raylet" and rng.random() < SHARE_LEFT_ALONE:
                        process.wait(timeout=600)  # it ends by itself, whatever its orphaned workers do meanwhile
                _, err = process.communicate(timeout=600)
            finally:
                process.kill()  # it still runs if an assertion failed or it hangs
        if process.returncode == 0:
            kills[kind] -= kind == "driver"  # it had ended by itself before
            return +kills, n_starts
        if n_starts > 3 * n_kills + 3:
            raise AssertionError(f"the study does not end:\n{err}")
        time.sleep(0.5)


def main(argv: list[str] | None = None) -> None:
    """Kill until there were enough kills, and print what happened."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--kills-per-study", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--data-dir", type=Path)
    arguments = parser.parse_args(argv)
    rng = random.Random(arguments.seed)
    folder = arguments.folder or Path(tempfile.mkdtemp(prefix="kills-"))
    folder.mkdir(exist_ok=True)
    data = ["--data-dir", str(arguments.data_dir)] if arguments.data_dir else []
    kills: Counter[str] = Counter()
    totals: Counter[str] = Counter()
    start = time.monotonic()
    while kills.total() < arguments.kills:
        tree: dict[str, Any] = yaml.safe_load(SPACE)
        if arguments.data_dir is None:  # the whole data set: one image in a hundred, so that epochs are short
            tree["data"]["keep"] = dict.fromkeys(range(10), 0.01)
        name = "kills" if not totals["studies"] else f"kills-{totals['studies']}"
        space = folder / f"{name}.yaml"
        space.write_text(yaml.safe_dump({**tree, "study": name}))
        wanted = min(arguments.kills_per_study, arguments.kills - kills.total())
        killed, n_starts = run_study(space, folder, wanted, rng, data)
        kills += killed
        report = check_invariants(folder / "studies" / name, n_trials=tree["search"]["trials"])
        totals += Counter(studies=1, starts=n_starts, trials=report.n_trials, epochs=report.n_epochs)
        totals["interrupted epochs"] += report.n_interrupted_epochs
        print(f"{name}: {dict(killed)}, {report}", file=sys.stderr, flush=True)
    took_s = time.monotonic() - start
    print(f"{kills.total()} kills ({dict(kills)}) in {took_s:.0f} s: {dict(totals)}; every invariant held")


if __name__ == "__main__":
    main()
