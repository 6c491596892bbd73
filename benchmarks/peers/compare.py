"""How good the best model so far is after a given time, ours and hand-written: `python -m benchmarks.peers.compare`.

Every search is a process of its own on the whole machine, one after another: systems in an order that is shuffled for
each seed and space. A model is what any trial has after any epoch, whether the trial has ended or not, and whether the
system would keep that model or not. A search that runs on for more than a fifth of its time is ended: nothing it would
still find counts. What has run is kept in a file and not run again, so that an interrupted comparison goes on.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks.throughput import unpack
from fmnist_tune import load_study
from fmnist_tune.config import load_space
from fmnist_tune.config.yaml_text import dump_yaml
from fmnist_tune.data.fashion_mnist import load_part
from fmnist_tune.data.fetch import locate_data
from fmnist_tune.data.split import stratified_split
from fmnist_tune.training.precision import has_fast_bf16

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
PLAIN = {"plain Optuna": "plain_optuna", "plain Ray Tune": "plain_ray"}
OURS, BARE = "fmnist-tune", "fmnist-tune, drawn first trials, latest weights"
COLD = "fmnist-tune, nothing but the space"
WITHOUT = {"search.initial": [], "training.average_weights": False}  # of BARE: what is not as in the file
# Of COLD: what the file does not say, so that the defaults decide.
UNSAID = ("search.sampler", "search.pruner", "search.initial", "training.average_weights", "resources")
ALL = (*PLAIN, BARE, COLD, OURS)
SPACES = {name: HERE / "spaces" / f"{name}.yaml" for name in ("cnn", "mlp", "conditional")}
SPACES["shipped"] = ROOT / "search_spaces" / "cnn.yaml"
SYSTEMS = {"cnn": ALL, "mlp": (*PLAIN, COLD, OURS), "conditional": (*PLAIN, COLD, OURS), "shipped": (OURS,)}
AT_S = (60, 120, 180, 300, 420, 600)
OVERRUN = 0.2  # of its time; a search that takes more is ended


@dataclass(frozen=True)
class Run:
    """One search.

    Attributes:
        commit: of the code that ran.
        n_epochs: how many it trained in its time.
        bests: seconds since its start and validation accuracy, of every epoch that was better than all before it.
        wall_s: seconds until it ended or was ended.
        seconds: it was given.
        started: date and time.
        kept: validation accuracy of the best finished trial, which is what fmnist-tune hands out; 0 where there was
            none; None where that is not known, and for the scripts.
    """

    space: str
    who: str
    seed: int
    commit: str
    n_epochs: int
    bests: list[tuple[float, float]]
    wall_s: float
    seconds: float = 600
    started: str = ""
    kept: float | None = None
    cpu: str = ""

    def best(self, at_s: float) -> float:
        """Return the best validation accuracy after so many seconds; 0 before the first epoch."""
        return max((accuracy for t, accuracy in self.bests if t <= at_s), default=0.0)


def search(space: str, who: str, seed: int, seconds: float, folder: Path, data: Path) -> Run:
    """Run a search to its end."""
    if who not in PLAIN:
        file = folder / SPACES[space].name
        file.write_text(
            _unsaid(SPACES[space])
            if who == COLD
            else load_space(SPACES[space], WITHOUT if who == BARE else None).to_yaml()
        )
        log = folder / "studies" / SPACES[space].stem / "training.log"
        command = [sys.executable, "-m", "fmnist_tune.cli", "search", str(file), "--seed", str(seed)]
        command += ["--timeout", f"{seconds:g}s", "--studies-dir", str(folder / "studies")]
    else:
        log = folder / "epochs.jsonl"
        command = [sys.executable, "-m", f"benchmarks.peers.{PLAIN[who]}", space, str(data), str(data / "split.json")]
        command += [str(log), "--seconds", f"{seconds:g}", "--seed", str(seed)]
    commit = subprocess.check_output(["git", "describe", "--always", "--dirty"], cwd=ROOT, text=True).strip()
    start = time.time()
    environment = os.environ | {"RAY_ADDRESS": "local"}  # plain Ray would look for a cluster that once was here
    with (folder / "output.txt").open("w+") as output:
        process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=output, stderr=output)
        try:
            code = process.wait(seconds * (1 + OVERRUN))
        except subprocess.TimeoutExpired:
            code = 0
            process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(60)
        finally:
            process.kill()
            process.wait()
        wall_s = time.time() - start
        if code:
            output.seek(0)
            raise SystemExit(f"{output.read()}\n{who} ended with code {code}")
    lines = [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []
    epochs = sorted((round(line["time"] - start, 1), line["val_accuracy"]) for line in lines if "val_accuracy" in line)
    bests: list[tuple[float, float]] = []
    for at_s, accuracy in epochs:
        if not bests or accuracy > bests[-1][1]:
            bests.append((at_s, round(accuracy, 4)))
    started = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(start))
    kept = None if who in PLAIN else _kept(log.parent)
    n_epochs = sum(at_s <= seconds for at_s, _ in epochs)
    return Run(space, who, seed, commit, n_epochs, bests, round(wall_s, 1), seconds, started, kept, _cpu())


def _unsaid(space: Path) -> str:
    """Return a file without the keys that COLD leaves to the defaults."""
    tree = load_space(space).tree
    for path in UNSAID:
        *sections, key = path.split(".")
        section = tree
        for name in sections:
            section = section[name]
        section.pop(key, None)
    return dump_yaml(tree)


def _cpu() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    name = next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return f"{name}, {'bf16' if has_fast_bf16('cpu') else 'no bf16'}"


def _kept(folder: Path) -> float:
    """Return the value of a study's best trial, 0 without one; `folder` is the study's."""
    best = load_study(folder.name, folder.parent).best
    return 0.0 if best is None else round(best["value"], 4)


def _median(runs: list[Run], at_s: float) -> str:
    """Return the median of the best accuracies; a search without a model counts as the worst."""
    values = sorted(run.best(at_s) for run in runs)
    if values[(len(values) - 1) // 2]:
        return f"{statistics.median(values):.4f}"
    return f"none yet of {sum(not value for value in values)}"


def table(runs: list[Run]) -> str:
    """Return the medians over the seeds."""
    moments = [at for at in AT_S if not runs or at <= runs[0].seconds]
    lines = [
        "| | n | " + " | ".join(f"{at} s" for at in moments) + " | epochs | ends after |",
        "| --- " * (len(moments) + 4) + "|",
    ]
    for who in ALL:
        mine = [run for run in runs if run.who == who]
        if mine:
            cells = [_median(mine, at) for at in moments]
            epochs = f"{statistics.median(run.n_epochs for run in mine):.0f}"
            wall_s = statistics.median(run.wall_s for run in mine)
            limit_s = mine[0].seconds * (1 + OVERRUN)
            wall = f"{wall_s:.0f} s" if wall_s < limit_s else f"over {limit_s:.0f} s"
            lines.append(f"| {who} | {len(mine)} | " + " | ".join([*cells, epochs, wall]) + " |")
    lines += ["", *_passed(runs)]
    lines.append("")
    for who in ALL:
        ran = sorted({(run.cpu, run.commit) for run in runs if run.who == who})
        lines += [f"{who}: commit {commit} on {cpu}" for cpu, commit in ran]
    return "\n".join(lines)


def _passed(runs: list[Run]) -> list[str]:
    """Say between which figures each system's seeds end, and from when on our median is above a script's last one."""
    ours = [run for run in runs if run.who == OURS]
    lines = []
    for who in ALL:
        mine = [run for run in runs if run.who == who]
        if not mine:
            continue
        seconds = mine[0].seconds
        last = [run.best(seconds) for run in mine]
        text = f"{who}: {min(last):.4f} to {max(last):.4f} at the end"
        if who != OURS and ours:
            curve = [(at, statistics.median(run.best(at) for run in ours)) for at in range(math.ceil(seconds) + 1)]
            at_s = next((at for at, median in curve if median >= statistics.median(last)), None)
            text += "; ours has its median " + ("never" if at_s is None else f"after {at_s} s")
        kept = [run.kept for run in mine if run.kept is not None]
        if kept:
            text += (
                f"; of the best finished trial {statistics.median(kept):.4f} (n = {len(kept)}, none in {kept.count(0)})"
            )
        lines.append(text)
    return lines


def plot(runs: dict[str, list[Run]], path: Path) -> None:
    """Draw each space's best accuracy over time: the median over the seeds, and a band from the worst to the best."""
    import matplotlib.pyplot as plt
    import numpy as np

    figure, panels = plt.subplots(1, len(runs), figsize=(5 * len(runs), 4), layout="constrained", squeeze=False)
    for axes, (space, of_space) in zip(panels[0], runs.items(), strict=True):
        seconds = of_space[0].seconds if of_space else 600
        times = np.arange(5, seconds + 1, 5)
        for i, who in enumerate(ALL):
            curves = np.array([[run.best(t) for t in times] for run in of_space if run.who == who])
            if len(curves):  # where there is no model yet, below the axis
                axes.plot(times, np.median(curves, axis=0), f"C{i}", label=f"{who} (n = {len(curves)})")
                axes.fill_between(times, curves.min(axis=0), curves.max(axis=0), color=f"C{i}", alpha=0.2)
        top = max((run.best(seconds) for run in of_space), default=1.0)
        axes.set(xlabel="seconds since the command", title=f"{space} space", ylim=(top - 0.06, top + 0.003))
        axes.grid(alpha=0.3)
        axes.legend(loc="lower right", fontsize="small")
    panels[0][0].set_ylabel("best validation accuracy")
    figure.savefig(path, dpi=110)
    plt.close(figure)


def read(path: Path, spaces: Sequence[str], seconds: float) -> dict[str, list[Run]]:
    """Return the runs of that length that are kept, by space."""
    lines = path.read_text().splitlines() if path.exists() else []
    runs = [Run(**json.loads(line)) for line in lines]
    return {space: [run for run in runs if (run.space, run.seconds) == (space, seconds)] for space in spaces}


def main() -> None:
    """Run what has not run yet, then print the tables and draw the plot."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--spaces", nargs="+", choices=SPACES, default=["cnn", "mlp", "conditional"])
    parser.add_argument("--systems", nargs="+", choices=ALL, default=ALL)
    parser.add_argument("--seeds", type=int, nargs="*", default=list(range(5)), help="none: only show what is kept")
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--results", type=Path, default=HERE / "compare.jsonl", help="where they are kept")
    parser.add_argument("--plot", type=Path, help="write a PNG")
    arguments = parser.parse_args()
    runs = read(arguments.results, arguments.spaces, arguments.seconds)
    todo = []
    for seed in arguments.seeds:
        for space in arguments.spaces:
            systems = SYSTEMS[space]
            todo += [(space, who, seed) for who in random.Random(f"{seed} {space}").sample(systems, len(systems))]
    images = locate_data(None, print)
    with tempfile.TemporaryDirectory() as name:
        data = Path(name)
        raw = data / "FashionMNIST" / "raw"
        raw.mkdir(parents=True)
        unpack(images, raw)
        split = stratified_split(load_part(images, "train").labels_N, 10_000)
        (data / "split.json").write_text(json.dumps([part.tolist() for part in split]))
        for space, who, seed in todo:
            if who not in arguments.systems or any((run.who, run.seed) == (who, seed) for run in runs[space]):
                continue
            folder = data / "run"
            folder.mkdir()
            run = search(space, who, seed, arguments.seconds, folder, data)
            shutil.rmtree(folder)
            runs[space].append(run)
            with arguments.results.open("a", encoding="utf-8") as file:
                file.write(json.dumps(asdict(run)) + "\n")
            print(f"{space}, seed {seed}, {who}: {run.best(arguments.seconds):.4f}", flush=True)
    for space in arguments.spaces:
        print(f"\n{space} space\n\n{table(runs[space])}")
    if arguments.plot is not None:
        plot(runs, arguments.plot)


if __name__ == "__main__":
    main()
