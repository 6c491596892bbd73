"""Where the time of a search goes: `python -m benchmarks.waterfall search_spaces/cnn.yaml`.

Runs the search in this process with its driver timed, and adds up the workers' seconds; what they trained is compared
with the rate at which the same cores, or the GPU, multiply matrices in the format that they train convolutions in.
"""

from __future__ import annotations

import argparse
import itertools
import json
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from torch.utils.flop_counter import FlopCounterMode

from fmnist_tune.config import load_space
from fmnist_tune.search.driver import Driver
from fmnist_tune.search.limits import Limits
from fmnist_tune.search.messages import Assignment, TrialReport
from fmnist_tune.search.run import RunOptions, run_search
from fmnist_tune.tasks.images import ImageConfig
from fmnist_tune.training.precision import has_fast_bf16
from fmnist_tune.units import seconds as duration_s

PARTIAL = "first epochs of trials that never went on"

MATMUL = """
import sys, time, torch
torch.set_num_threads(int(sys.argv[3]))
device, size = sys.argv[2], 2048 if sys.argv[2] == "cpu" else 8192
a = torch.randn(size, size, device=device).to(getattr(torch, sys.argv[1]))
(a @ a)[0, 0].item()
n, start = 0, time.perf_counter()
while time.perf_counter() - start < 3:
    (a @ a)[0, 0].item()
    n += 1
print(2 * size**3 * n / (time.perf_counter() - start))
"""


def matmul_rate(n_processes: int, n_threads: int, number_format: str, device: str) -> float:
    """Return the matrix multiplications of a process in flop/s, with so many at once; the mean over them."""
    command = [sys.executable, "-c", MATMUL, number_format, device, str(n_threads)]
    running = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(n_processes)]
    return sum(float(process.communicate()[0]) for process in running) / n_processes


def flop_per_picture(config: ImageConfig) -> float:
    """Return the multiplications and additions of a training step per image: convolutions and dense layers alone."""
    model = config.build()
    with FlopCounterMode(display=False) as counter:
        model(torch.zeros(8, *config.images.shape)).sum().backward()
    return float(counter.get_total_flops()) / 8


def worker_seconds(log: list[dict[str, Any]], start: float, end: float) -> dict[str, float]:
    """Add up what the workers' log says of a search, in seconds.

    Args:
        log: its lines.
        start, end: of the command, as time.time().

    Returns:
        Until the first epoch, in epochs and on the way to evaluations within the first, between them, after the last
        one; summed over the workers.
    """
    by_worker: dict[int, list[dict[str, Any]]] = defaultdict(list)
    for line in log:
        by_worker[line["process"]].append(line)
    found: dict[str, float] = defaultdict(float)
    for lines in by_worker.values():
        found["start-up"] += lines[0]["time"] - start
        for one, other in itertools.pairwise(lines):
            found["between epochs" if other["event"] == "begin" else "in epochs"] += other["time"] - one["time"]
        found["after the last epoch"] += end - lines[-1]["time"]
    return dict(found)


def timed_driver(spent: dict[str, float], n_pictures: dict[int, int], partial_s: dict[int, float]) -> type[Driver]:
    """Return a driver that adds up what happens while its search runs.

    Args:
        spent: gets the driver's seconds, and those of training and validation in epochs that the workers report.
        n_pictures: gets how many images each trial trained on, by its number.
        partial_s: gets the seconds until the evaluation within its first epoch at which a trial paused, by its number.
    """

    class TimedDriver(Driver):
        def next_assignment(self) -> Assignment | None:
            start = time.perf_counter()
            assignment = super().next_assignment()
            spent["asking: sampler, database"] += time.perf_counter() - start
            return assignment

        def on_report(self, report: TrialReport) -> bool:
            for result in report.epochs:
                spent["training"] += result.train_s
                spent["validation"] += result.val_s
                n_pictures[report.number] += result.n_images
            start = time.perf_counter()
            goes_on = super().on_report(report)
            spent["recording: database, curves"] += time.perf_counter() - start
            latest = report.evaluations[-1] if report.evaluations else None
            if latest is not None and latest.epoch < 1 and not goes_on:
                partial_s[report.number] = latest.train_s + latest.val_s
            return goes_on

    return TimedDriver


def main() -> None:
    """Search, and print where the workers' seconds went."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("space", type=Path)
    parser.add_argument("--timeout", type=duration_s, default="10m")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    spent: dict[str, float] = defaultdict(float)
    n_pictures: dict[int, int] = defaultdict(int)
    partial_s: dict[int, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        start, started = time.time(), time.monotonic()
        space = load_space(arguments.space, {"search.sampler.seed": arguments.seed})
        outcome = run_search(
            space,
            RunOptions(Path(folder)),
            Limits(timeout_s=arguments.timeout),
            Console(stderr=True),
            started,
            make_driver=timed_driver(spent, n_pictures, partial_s),
        )
        end = time.time()
        record, n_workers = outcome.record, outcome.n_workers
        log = [json.loads(line) for line in record.paths.training_log.read_text().splitlines()]
        seconds = worker_seconds(log, start, end)
        flop = 0.0
        for trial in record.trials:
            config = record.config_of(trial)
            assert isinstance(config, ImageConfig)
            flop += flop_per_picture(config) * n_pictures[trial.number]
    spent[PARTIAL] = sum(seconds for number, seconds in partial_s.items() if not n_pictures[number])
    in_epochs = seconds.pop("in epochs") - spent["training"] - spent["validation"] - spent[PARTIAL]
    between = seconds.pop("between epochs") - sum(v for k, v in spent.items() if ":" in k)
    parts = {
        "start-up": seconds["start-up"],
        **spent,
        "checkpoints and log": in_epochs,
        "Ray, building models, waiting": between,
        "after the last epoch": seconds["after the last epoch"],
    }
    total = n_workers * (end - start)
    for name, value in parts.items():
        print(f"{name:36}{value:9.1f} s {value / total:7.1%}")
    device = "cuda" if torch.cuda.is_available() else "cpu"
    number_format = "bfloat16" if has_fast_bf16(device) else "float32"
    rate = matmul_rate(n_workers, record.space.settings.resources.cpus, number_format, device)
    print(f"{n_workers} workers for {end - start:.1f} s; the sum is {sum(parts.values()) / total:.1%} of that")
    print(
        f"training steps: {flop / spent['training'] / 1e9:.0f} Gflop/s of {rate / 1e9:.0f} at which a worker "
        f"multiplies matrices in {number_format}: {flop / spent['training'] / rate:.1%}"
    )


if __name__ == "__main__":
    main()
