"""A search by another system on the same simulated clock."""

from __future__ import annotations

import heapq
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from benchmarks.engine.outcome import Outcome, Seen, noise_of
from benchmarks.engine.tables import Table


@dataclass(frozen=True)
class Job:
    """What a worker is to do: train a trial to an epoch.

    Attributes:
        trial: a number; numbers are counted from 0.
        values: of the trial.
        until: epoch.
    """

    trial: int
    values: Mapping[str, Any]
    until: int


class System(Protocol):
    """Decides."""

    def next_job(self, left_s: float) -> Job | None:
        """Return what a free worker does; None for nothing as long as nothing else is reported."""

    def on_report(self, trial: int, epoch: int, accuracy: float) -> bool:
        """Take an evaluation; return whether the worker goes on with its job."""


def simulate(table: Table, system: System, *, time_s: float, n_workers: int, seed: int) -> Outcome:
    """Search a table until the time is over; trials are evaluated after each epoch.

    Args:
        table: to search.
        system: that decides.
        time_s: simulated seconds.
        n_workers: trials at a time.
        seed: of the noise.
    """
    seen = Seen(table, time_s)
    trained: dict[int, int] = {}
    events: list[tuple[float, int, Job]] = []
    idle, now, n_steps, decide_s, n_decisions = n_workers, 0.0, 0, 0.0, 0

    def step(job: Job) -> None:
        nonlocal n_steps
        if job.trial not in trained:
            seen.curves[job.trial], trained[job.trial] = table.source.curve(job.values), 0
        n_steps += 1
        heapq.heappush(events, (now + seen.curves[job.trial].epoch_s, n_steps, job))

    while True:
        while idle:
            start = time.perf_counter()
            job = system.next_job(time_s - now)
            decide_s, n_decisions = decide_s + time.perf_counter() - start, n_decisions + 1
            if job is None:
                break
            idle -= 1
            step(job)
        if not events or events[0][0] > time_s:
            return seen.outcome(len(trained), decide_s / max(n_decisions, 1))
        now, _, job = heapq.heappop(events)
        trained[job.trial] = epoch = trained[job.trial] + 1
        curve = seen.curves[job.trial]
        observed = float(curve.accuracy[epoch - 1] + noise_of(table, seed, job.trial)[epoch - 1])
        seen.add(now, job.trial, epoch, observed)
        if system.on_report(job.trial, epoch, observed) and epoch < job.until:
            step(job)
        else:
            idle += 1
