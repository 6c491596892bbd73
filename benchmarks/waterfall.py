"""Where the time of a search goes: `python -m benchmarks.waterfall search_spaces/cnn.yaml`.

Runs the search in this process with its driver timed, and adds up the workers' seconds; what they trained is compared
with the rate at which the same cores, or the GPU, multiply matrices in the format that they train convolutions in.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import io
import itertools
import json
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from torch.utils.flop_counter import FlopCounterMode

from fmnist_tune import cli
from fmnist_tune.config import TrialConfig, load_space
from fmnist_tune.search.driver import Driver
from fmnist_tune.study.database import database_url, open_database
from fmnist_tune.study.layout import StudyPaths
from fmnist_tune.study.record import StudyRecord
from fmnist_tune.training.numerics import has_fast_bf16

LOOKS = "looks of trials that never went on"

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


def flop_per_picture(config: TrialConfig) -> float:
    """Return the multiplications and additions of a training step per picture: convolutions and dense layers alone."""
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
        Until the first epoch, in epochs and on the way to looks, between them, after the last one; summed over the
        workers.
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


@contextlib.contextmanager
def timed(spent: dict[str, float], n_pictures: dict[int, int], looks_s: dict[int, float]) -> Iterator[None]:
    """Add up what happens while a search runs.

    Args:
        spent: gets the driver's seconds, and those of training and validation in epochs that the workers report.
        n_pictures: gets how many pictures each trial trained on, by its number.
        looks_s: gets the seconds until the look at which a trial paused, by its number.
    """

    def wrap(name: str, method: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(method)
        def call(driver: Driver, *arguments: Any) -> Any:
            for report in arguments:
                for result in report.epochs:
                    spent["training"] += result.train_s
                    spent["validation"] += result.val_s
                    n_pictures[report.number] += result.n_images
            start = time.perf_counter()
            answer = method(driver, *arguments)
            spent[name] += time.perf_counter() - start
            for report in arguments:
                if report.look is not None and not answer:
                    looks_s[report.number] = report.look.train_s + report.look.val_s
            return answer

        return call

    with (
        mock.patch.object(Driver, "next_assignment", wrap("asking: sampler, database", Driver.next_assignment)),
        mock.patch.object(Driver, "on_report", wrap("recording: database, curves", Driver.on_report)),
    ):
        yield


def main() -> None:
    """Search, and print where the workers' seconds went."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("space", type=Path)
    parser.add_argument("--timeout", default="10m")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    spent: dict[str, float] = defaultdict(float)
    n_pictures: dict[int, int] = defaultdict(int)
    looks_s: dict[int, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        words = ["search", str(arguments.space), "--timeout", arguments.timeout, "--seed", str(arguments.seed)]
        start = time.time()
        with timed(spent, n_pictures, looks_s), contextlib.redirect_stdout(io.StringIO()) as out:
            code = cli.main([*words, "--studies-dir", folder, "--json"])
        end = time.time()
        if code:
            raise SystemExit(code)
        n_workers = json.loads(out.getvalue())["workers"]
        paths = StudyPaths(Path(folder), load_space(arguments.space).settings.study)
        seconds = worker_seconds([json.loads(line) for line in paths.training_log.read_text().splitlines()], start, end)
        record = StudyRecord.load(open_database(database_url(Path(folder)), create=False), paths)
        flop = 0.0
        for trial in record.trials:
            config = record.config_of(trial)
            assert isinstance(config, TrialConfig)
            flop += flop_per_picture(config) * n_pictures[trial.number]
    spent[LOOKS] = sum(look_s for number, look_s in looks_s.items() if not n_pictures[number])
    in_epochs = seconds.pop("in epochs") - spent["training"] - spent["validation"] - spent[LOOKS]
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
