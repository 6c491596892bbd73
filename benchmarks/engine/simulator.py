"""A search on a simulated clock: workers that know their results beforehand, and a system that decides."""

from __future__ import annotations

import heapq
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from benchmarks.engine.tables import Recorded, Table

NOISE = 0.003
FRACTIONS = (0.1, 0.2, 0.4, 0.7, 1.0)


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
    until: float


class System(Protocol):
    """Decides."""

    def next_job(self, left_s: float) -> Job | None:
        """Return what a free worker does; None for nothing as long as nothing else is reported."""

    def on_report(self, trial: int, epoch: float, accuracy: float, seconds: float) -> bool:
        """Take an evaluation; return whether the worker goes on with its job."""

    def on_end(self, trial: int) -> None:
        """Take the end of a job."""


@dataclass
class Outcome:
    """Of a search.

    Attributes:
        regret: at each fraction of its time.
        n_trials: begun.
        decide_s: seconds of computing a decision, on average.
    """

    regret: dict[float, float]
    n_trials: int
    decide_s: float


class Trainings:
    """All trials of a search: how far each is, and its noise."""

    def __init__(self, table: Table, seed: int) -> None:
        self._table = table
        self._seed = seed
        self._curves: dict[int, Recorded] = {}
        self._noise: dict[int, Any] = {}
        self.epoch: dict[int, float] = {}

    def curve(self, job: Job) -> Recorded:
        """Return the curve of a job's trial."""
        if job.trial not in self._curves:
            self._curves[job.trial] = self._table.source.curve(job.values)
            rng = np.random.default_rng([self._seed, job.trial])
            self._noise[job.trial] = NOISE * rng.standard_normal(self._table.epochs + 1 + len(self._table.looks))
            self.epoch[job.trial] = 0.0
        return self._curves[job.trial]

    def next_epoch(self, job: Job) -> float:
        """Return where the trial is evaluated next."""
        epoch = self.epoch[job.trial]
        shares = [share for share in self._table.looks if epoch < share <= job.until] if epoch < 1 else []
        return shares[0] if shares and job.until < 1 else float(int(epoch) + 1)

    def values_at(self, trial: int, epoch: float) -> tuple[float, float]:
        """Return true and observed accuracy."""
        curve = self._curves[trial]
        if epoch < 1:
            i = self._table.epochs + self._table.looks.index(epoch)
            true = curve.looks[epoch]
        else:
            i = int(epoch) - 1
            true = float(curve.accuracy[i])
        return true, true + float(self._noise[trial][i])


def search(table: Table, system: System, *, time_s: float, n_workers: int, seed: int) -> Outcome:
    """Search until the time is over, and return how good the best was that had been seen at any time."""
    trainings = Trainings(table, seed)
    events: list[tuple[float, int, Job, float]] = []
    idle, now, n_steps, decide_s, n_decisions = n_workers, 0.0, 0, 0.0, 0
    best, best_true, seen = -np.inf, 0.0, []

    def step(job: Job) -> None:
        nonlocal n_steps
        curve = trainings.curve(job)
        epoch = trainings.next_epoch(job)
        n_steps += 1
        heapq.heappush(events, (now + (epoch - trainings.epoch[job.trial]) * curve.epoch_s, n_steps, job, epoch))

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
            break
        now, _, job, epoch = heapq.heappop(events)
        trained = trainings.epoch[job.trial]
        trainings.epoch[job.trial] = epoch
        true, observed = trainings.values_at(job.trial, epoch)
        if observed > best:
            best, best_true = observed, true
            seen.append((now, best_true))
        goes_on = system.on_report(job.trial, epoch, observed, (epoch - trained) * trainings.curve(job).epoch_s)
        if goes_on and epoch < job.until:
            step(job)
        else:
            system.on_end(job.trial)
            idle += 1
    regret = {}
    for fraction in FRACTIONS:
        until = [accuracy for at, accuracy in seen if at <= fraction * time_s]
        regret[fraction] = table.regret(until[-1] if until else min(0.0, table.median_final))
    return Outcome(regret, len(trainings.epoch), decide_s / max(n_decisions, 1))
