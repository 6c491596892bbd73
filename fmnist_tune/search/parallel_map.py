"""A function over many items, on Ray's workers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import ray
from ray.exceptions import OutOfMemoryError, WorkerCrashedError

from fmnist_tune.errors import UserError
from fmnist_tune.search.cluster import WorkerPlan
from fmnist_tune.search.faults import read_death
from fmnist_tune.search.messages import MAX_CRASHES
from fmnist_tune.search.worker_start import WorkerStart, worker_processes


def parallel_map(
    function: Callable[..., Any], shared: Sequence[Any], items: Sequence[Any], plan: WorkerPlan
) -> list[Any]:
    """Return `function(*shared, item)` of every item, in order, computed on the cluster's workers.

    Where memory is short, Ray tries again for as long as it takes.

    Args:
        function: of this package; may be computed again if a worker dies.
        shared: arguments for all, put into Ray's object store once.
        items: the last argument of each call.
        plan: what each call gets.

    Raises:
        UserError: no worker comes up, or those that do cannot compute it.
    """
    remote = ray.remote(num_cpus=plan.cpus, num_gpus=0, max_retries=MAX_CRASHES)(function)
    references = [ray.put(argument) for argument in shared]
    results = [remote.remote(*references, item) for item in items]
    start, todo = WorkerStart(plan.logs), results
    while todo:
        _, todo = ray.wait(todo, timeout=1.0)
        if complaint := start.complaint(is_up=bool(worker_processes())):
            raise UserError(complaint)
    try:
        return list(ray.get(results))
    except (WorkerCrashedError, OutOfMemoryError, ImportError, MemoryError) as error:
        raise UserError(f"a worker died: {read_death(str(error))[1]}") from error
