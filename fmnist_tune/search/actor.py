"""A process of Ray's as a worker: Ray Tune's actor, which imports nothing that the driver alone needs.

Torch is imported there only, for the driver has no use for it.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
from typing import TYPE_CHECKING, Any

import ray
from ray.tune import Trainable

if TYPE_CHECKING:
    from fmnist_tune.search.worker import Worker

SPIN_COUNT = "5000"
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # of glibc's malloc.h
NEVER, ONE_GIB = 2**31 - 1, 2**30


class TrialActor(Trainable):  # type: ignore[misc]  # Ray's classes are untyped here
    """It lives through many trials."""

    def setup(self, config: dict[str, Any], data: Any, test_inputs: Any) -> None:
        """Start with the first assignment."""
        self._worker = start_worker(data, test_inputs)
        self._worker.assign(config["assignment"])

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Take the next assignment."""
        self._worker.assign(new_config["assignment"])
        return True

    def step(self) -> dict[str, Any]:
        """Train to the next report."""
        return {"report": self._worker.step()}


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

    keep_freed_memory()
    device = "cuda" if ray.get_gpu_ids() and torch.cuda.is_available() else "cpu"
    return Worker(data, device, test_inputs)


def keep_freed_memory() -> None:
    """Let the C library keep what a step has freed for the next one.

    glibc gives large blocks back to the kernel at once until it has seen a larger one freed, so that every step of the
    first trials pays for their pages again. Other C libraries are left as they are.
    """
    with contextlib.suppress(OSError, AttributeError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(M_MMAP_THRESHOLD, ONE_GIB)
        mallopt(M_TRIM_THRESHOLD, NEVER)
