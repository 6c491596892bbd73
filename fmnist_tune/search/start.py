"""Makes a process of Ray's a worker; imports torch only there, for the driver has no use for it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import ray

if TYPE_CHECKING:
    from fmnist_tune.search.worker import Worker

SPIN_COUNT = "5000"


def start_worker(data: Any, test_inputs: Any = None) -> Worker:
    """Make this process a worker.

    Args:
        data, test_inputs: as `Worker` takes them.
    """
    # A thread that waits for another one soon sleeps: spinning for milliseconds, as is OpenMP's default, it keeps the
    # other one from a core that someone else shares (benchmarks/RESULTS.md). To be set before torch is loaded.
    os.environ.setdefault("GOMP_SPINCOUNT", SPIN_COUNT)
    import torch

    from fmnist_tune.search.worker import Worker
    from fmnist_tune.training.memory import keep_freed_memory

    keep_freed_memory()
    device = "cuda" if ray.get_gpu_ids() and torch.cuda.is_available() else "cpu"
    return Worker(data, device, test_inputs)
