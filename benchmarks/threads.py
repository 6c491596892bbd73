"""Whether two cores train more as one trial of two threads or as two trials of one: `python -m benchmarks.threads`.

Two processes on random pictures: in turn, the first trains alone with two threads, and both at once with one each. What
is printed is the median of pictures per second, of both together, and of the paired ratios.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import statistics
import time
from multiprocessing.queues import Queue
from multiprocessing.synchronize import Barrier
from typing import Any

import torch

from benchmarks.numerics import trial
from fmnist_tune.search.start import SPIN_COUNT
from fmnist_tune.training.memory import keep_freed_memory
from fmnist_tune.training.run import TrainingRun
from fmnist_tune.training.tensors import TrainingData

LENET = {
    "name": "cnn",
    "channels": [6, 16],
    "kernel_size": 5,
    "padding": "valid",
    "norm": "none",
    "pool": "avg",
    "head": [120, 84],
}
CASES: dict[str, tuple[dict[str, Any], int]] = {
    "MLP 128-64, batch 64": ({"name": "mlp", "hidden": [128, 64]}, 64),
    "MLP 512-512, batch 64": ({"name": "mlp", "hidden": [512, 512]}, 64),
    "MLP 512-512, batch 256": ({"name": "mlp", "hidden": [512, 512]}, 256),
    "LeNet, batch 64": (LENET, 64),
    "CNN 8-16, batch 256": ({"name": "cnn", "channels": [8, 16]}, 256),
    "CNN 16-32, batch 64": ({"name": "cnn", "channels": [16, 32]}, 64),
    "CNN 16-32-64, batch 64": ({"name": "cnn", "channels": [16, 32, 64]}, 64),
    "CNN 24-48-96, batch 64": ({"name": "cnn", "channels": [24, 48, 96]}, 64),
    "CNN 32-64-128, batch 64": ({"name": "cnn", "channels": [32, 64, 128]}, 64),
    "CNN 32-64-128, batch 256": ({"name": "cnn", "channels": [32, 64, 128]}, 256),
}


def train(case: str, is_first: bool, repeats: int, seconds: float, together: Barrier, rates: Queue[Any]) -> None:
    """Train in rounds; puts a pair of rates into the queue for each, with two threads and with one (pictures/s)."""
    model, batch_size = CASES[case]
    keep_freed_memory()
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(20 * batch_size, 1, 28, 28, generator=generator)
    y = torch.randint(10, (len(x),), generator=generator)
    run = TrainingRun(trial(model, batch_size), TrainingData(x, y, x[:10], y[:10], 0.0), seed=0)
    run.model.train()
    batches = run.draw_batches()

    def rate(n_threads: int) -> float:
        together.wait()
        if n_threads == 2 and not is_first:
            return 0.0
        torch.set_num_threads(n_threads)
        n, start = 0, time.perf_counter()
        while time.perf_counter() - start < seconds:
            for batch in batches:
                run.train_batch(batch, 1e-3)
            n += len(x)
        return n / (time.perf_counter() - start)

    rate(1)  # warms up
    for _ in range(repeats):
        rates.put((rate(2), rate(1)))


def main() -> None:
    """Print each case's rates and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES))
    arguments = parser.parse_args()
    os.environ["GOMP_SPINCOUNT"] = SPIN_COUNT
    context = multiprocessing.get_context("spawn")
    for case in arguments.cases:
        together, rates = context.Barrier(2), [context.Queue(), context.Queue()]
        processes = [
            context.Process(target=train, args=(case, not i, arguments.repeats, arguments.seconds, together, rates[i]))
            for i in range(2)
        ]
        for process in processes:
            process.start()
        pairs = [[queue.get() for _ in range(arguments.repeats)] for queue in rates]
        for process in processes:
            process.join()
        one = [first[0] for first in pairs[0]]
        two = [first[1] + second[1] for first, second in zip(*pairs, strict=True)]
        ratio = statistics.median(a / b for a, b in zip(one, two, strict=True))
        print(
            f"{case}: one trial of two threads {statistics.median(one):,.0f}/s, two of one "
            f"{statistics.median(two):,.0f}/s, ratio {ratio:.2f} (medians of {arguments.repeats})",
            flush=True,
        )


if __name__ == "__main__":
    main()
