"""What threads cost and bring where two cores are shared: `python -m benchmarks.threads`.

Two processes train on random images, in turn: the first alone with two threads, both at once with one thread each,
and both at once with two, as two searches on one machine would. What is printed is the median of images per second,
of both processes together, and of their ratios to the second way, round by round.
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

from benchmarks.precision import trial
from fmnist_tune.search.actor import SPIN_COUNT, keep_freed_memory
from fmnist_tune.training.run import TrainingRun
from fmnist_tune.training.tensors import TrainingData

CASES: dict[str, tuple[dict[str, Any], int]] = {
    "MLP 512-512, batch 64": ({"name": "mlp", "hidden": [512, 512]}, 64),
    "CNN 16-32-64, batch 64": ({"name": "cnn", "channels": [16, 32, 64]}, 64),
    "CNN 32-64-128, batch 64": ({"name": "cnn", "channels": [32, 64, 128]}, 64),
}
WAYS = {"one of two threads": (2, 0), "two of one": (1, 1), "two of two": (2, 2)}  # threads of each process


def train(case: str, place: int, repeats: int, seconds: float, together: Barrier, rates: Queue[list[float]]) -> None:
    """Train in rounds; puts this process's images per second into the queue for each, one way after another."""
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
        if not n_threads:
            return 0.0
        torch.set_num_threads(n_threads)
        n, start = 0, time.perf_counter()
        while time.perf_counter() - start < seconds:
            for batch in batches:
                run.train_batch(batch, 1e-3)
                n += len(batch)
                if time.perf_counter() - start > seconds:
                    break
        return n / (time.perf_counter() - start)

    rate(1)  # warms up
    for _ in range(repeats):
        rates.put([rate(threads[place]) for threads in WAYS.values()])


def main() -> None:
    """Print each case's rates and their ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--spin-count", default=SPIN_COUNT, help="GOMP_SPINCOUNT; OpenMP's own default is 300000")
    arguments = parser.parse_args()
    os.environ["GOMP_SPINCOUNT"] = arguments.spin_count
    context = multiprocessing.get_context("spawn")
    for case in arguments.cases:
        together, rates = context.Barrier(2), [context.Queue(), context.Queue()]
        processes = [
            context.Process(target=train, args=(case, i, arguments.repeats, arguments.seconds, together, rates[i]))
            for i in range(2)
        ]
        for process in processes:
            process.start()
        rounds = [
            [a + b for a, b in zip(*(queue.get() for queue in rates), strict=True)] for _ in range(arguments.repeats)
        ]
        for process in processes:
            process.join()
        texts = []
        for i, way in enumerate(WAYS):
            ratio = statistics.median(one[i] / one[1] for one in rounds)
            texts.append(f"{way} {statistics.median(one[i] for one in rounds):,.0f}/s ({ratio:.2f})")
        print(f"{case}: {', '.join(texts)} (medians of {arguments.repeats})", flush=True)


if __name__ == "__main__":
    main()
