"""How good the best trial is after a given time, ours and hand-written: `python -m benchmarks.peers.compare cnn`.

Every search is a process of its own on the whole machine, one after another, in an order that is shuffled anew for each
seed. What has run is kept in a file and not run again, so that an interrupted comparison goes on.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks.throughput import unpack
from fmnist_tune.data.fashion_mnist import load_part
from fmnist_tune.data.fetch import locate_data
from fmnist_tune.data.split import stratified_split

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
PLAIN = {"plain Optuna": "plain_optuna", "plain Ray Tune": "plain_ray"}
OURS, UNAVERAGED = "fmnist-tune", "fmnist-tune, latest weights"
ALL = (*PLAIN, UNAVERAGED, OURS)
SPACES = {name: HERE / "spaces" / f"{name}.yaml" for name in ("cnn", "mlp", "conditional")}
SPACES["shipped"] = ROOT / "search_spaces" / "cnn.yaml"
AT_S = (60, 120, 180, 300, 420, 600)


@dataclass(frozen=True)
class Run:
    """One search.

    Attributes:
        epochs: seconds since its start and validation accuracy, of every epoch.
        wall_s: seconds until it ended.
    """

    space: str
    who: str
    seed: int
    epochs: list[tuple[float, float]]
    wall_s: float

    def best(self, at_s: float) -> float:
        """Return the best validation accuracy after so many seconds; 0 before the first epoch."""
        return max((accuracy for t, accuracy in self.epochs if t <= at_s), default=0.0)


def search(space: str, who: str, seed: int, seconds: float, folder: Path, data: Path) -> Run:
    """Run a search to its end."""
    if who not in PLAIN:
        file = folder / SPACES[space].name
        text = SPACES[space].read_text()
        file.write_text(text if who == OURS else text.replace("average_weights: true", "average_weights: false"))
        log = folder / "studies" / SPACES[space].stem / "training.log"
        command = [sys.executable, "-m", "fmnist_tune.cli", "search", str(file), "--seed", str(seed)]
        command += ["--timeout", f"{seconds:g}s", "--studies-dir", str(folder / "studies")]
    else:
        log = folder / "epochs.jsonl"
        command = [sys.executable, "-m", f"benchmarks.peers.{PLAIN[who]}", space, str(data), str(data / "split.json")]
        command += [str(log), "--seconds", f"{seconds:g}", "--seed", str(seed)]
    start = time.time()
    subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wall_s = time.time() - start
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    epochs = [(round(line["time"] - start, 1), line["val_accuracy"]) for line in lines if "val_accuracy" in line]
    return Run(space, who, seed, epochs, round(wall_s, 1))


def table(runs: list[Run]) -> str:
    """Return the medians over the seeds."""
    lines = [
        "| | n | " + " | ".join(f"{at} s" for at in AT_S) + " | epochs | ends after |",
        "| --- " * (len(AT_S) + 4) + "|",
    ]
    for who in ALL:
        mine = [run for run in runs if run.who == who]
        if mine:
            cells = [f"{statistics.median(run.best(at) for run in mine):.4f}" for at in AT_S]
            epochs = f"{statistics.median(len(run.epochs) for run in mine):.0f}"
            wall = f"{statistics.median(run.wall_s for run in mine):.0f} s"
            lines.append(f"| {who} | {len(mine)} | " + " | ".join([*cells, epochs, wall]) + " |")
    return "\n".join(lines)


def plot(runs: list[Run], title: str, path: Path) -> None:
    """Draw the median over the seeds of the best accuracy over time, and the band from the worst to the best seed."""
    import matplotlib.pyplot as plt
    import numpy as np

    figure, axes = plt.subplots(figsize=(7, 4), layout="constrained")
    times = range(5, 601, 5)
    for who in ALL:
        curves = np.array([[run.best(t) or np.nan for t in times] for run in runs if run.who == who])
        if len(curves):
            known = ~np.isnan(curves).any(axis=0)
            axes.plot(np.array(times)[known], np.median(curves[:, known], axis=0), label=f"{who} (n = {len(curves)})")
            axes.fill_between(
                np.array(times)[known], curves[:, known].min(axis=0), curves[:, known].max(axis=0), alpha=0.2
            )
    axes.set(xlabel="seconds since the command", ylabel="best validation accuracy", title=title, ylim=(0.85, None))
    axes.legend(loc="lower right")
    axes.grid(alpha=0.3)
    figure.savefig(path, dpi=150)
    plt.close(figure)


def main() -> None:
    """Run what has not run yet, then print the table and draw the plot."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("space", choices=SPACES)
    parser.add_argument("--seeds", type=int, nargs="+", default=list(range(5)))
    parser.add_argument("--only", nargs="+", choices=ALL, help="of the searches (all; the shipped space: fmnist-tune)")
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--results", type=Path, default=Path("compare.jsonl"), help="kept results (compare.jsonl)")
    parser.add_argument("--plot", type=Path, help="write a PNG")
    arguments = parser.parse_args()
    who = arguments.only or ([OURS] if arguments.space == "shipped" else list(ALL))
    lines = arguments.results.read_text().splitlines() if arguments.results.exists() else []
    runs = [run for run in (Run(**json.loads(line)) for line in lines) if run.space == arguments.space]
    images = locate_data(None, print)
    with tempfile.TemporaryDirectory() as name:
        data = Path(name)
        raw = data / "FashionMNIST" / "raw"
        raw.mkdir(parents=True)
        unpack(images, raw)
        split = stratified_split(load_part(images, "train").labels_N, 10_000)
        (data / "split.json").write_text(json.dumps([part.tolist() for part in split]))
        for seed in arguments.seeds:
            for each in random.Random(seed).sample(who, len(who)):
                if any((run.who, run.seed) == (each, seed) for run in runs):
                    continue
                folder = data / "run"
                folder.mkdir()
                run = search(arguments.space, each, seed, arguments.seconds, folder, data)
                shutil.rmtree(folder)
                runs.append(run)
                with arguments.results.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(asdict(run)) + "\n")
                print(f"seed {seed}, {each}: {run.best(arguments.seconds):.4f}", flush=True)
    print(table(runs))
    if arguments.plot is not None:
        plot(runs, f"{arguments.space} space", arguments.plot)


if __name__ == "__main__":
    main()
