"""Who decides: the engine, and what it is measured against."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from optuna.trial import TrialState

from benchmarks.engine.outcome import Outcome
from benchmarks.engine.recorded import search_by_driver
from benchmarks.engine.simulator import Job, System, simulate
from benchmarks.engine.tables import Table, load_table
from fmnist_tune.config.domain import ChoiceDomain, IntDomain
from fmnist_tune.config.parameters import Parameter, is_active
from fmnist_tune.engine import Encoding
from fmnist_tune.search.scheduler import LessonData

optuna.logging.set_verbosity(optuna.logging.ERROR)


def random_values(parameters: tuple[Parameter, ...], rng: np.random.Generator) -> dict[str, Any]:
    """Return a random configuration."""
    encoding = Encoding(parameters)
    return encoding.values(encoding.draw(rng, 1)[0])


def suggest(trial: optuna.Trial, parameters: tuple[Parameter, ...]) -> dict[str, Any]:
    """Return the values that Optuna draws."""
    values: dict[str, Any] = {}
    for parameter in parameters:
        if not is_active(parameter, values, {}):
            continue
        domain = parameter.domain
        if isinstance(domain, ChoiceDomain):
            label = trial.suggest_categorical(parameter.path, domain.labels)
            values[parameter.path] = domain.values[domain.labels.index(label)]
        elif isinstance(domain, IntDomain):
            values[parameter.path] = trial.suggest_int(parameter.path, domain.low, domain.high, log=domain.log)
        else:
            values[parameter.path] = trial.suggest_float(
                parameter.path, domain.low, domain.high, log=domain.log, step=domain.step
            )
    return values


class PlainOptuna:
    """Optuna's own sampler and pruner, trials in parallel, none of them resumed."""

    def __init__(self, table: Table, seed: int, pruner: optuna.pruners.BasePruner) -> None:
        self._table = table
        sampler = optuna.samplers.TPESampler(seed=seed)
        self._study = optuna.create_study(direction="maximize", sampler=sampler, pruner=pruner)
        self._trials: list[optuna.Trial] = []
        self._best: dict[int, float] = {}

    def next_job(self, left_s: float) -> Job | None:
        """Begin a trial."""
        trial = self._study.ask()
        self._trials.append(trial)
        return Job(trial.number, suggest(trial, self._table.parameters), self._table.epochs)

    def on_report(self, trial: int, epoch: int, accuracy: float) -> bool:
        """Ask the pruner."""
        self._trials[trial].report(accuracy, int(epoch))
        self._best[trial] = max(accuracy, self._best.get(trial, -math.inf))
        if epoch == self._table.epochs:
            self._study.tell(trial, self._best[trial])
        elif self._trials[trial].should_prune():
            self._study.tell(trial, state=TrialState.PRUNED)
            return False
        return True


class OneEpoch:
    """One epoch of random configurations for half the time, then the best to their ends (Egele et al. 2023)."""

    def __init__(self, table: Table, seed: int) -> None:
        self._table = table
        self._rng = np.random.default_rng([seed, 7])
        self._values: list[dict[str, Any]] = []
        self._paused: dict[int, float] = {}
        self._accuracy: dict[int, float] = {}
        self._whole_s: float | None = None

    def next_job(self, left_s: float) -> Job | None:
        """Begin a trial, or finish the best."""
        self._whole_s = self._whole_s or left_s
        if left_s < self._whole_s / 2 and self._paused:
            best = max(self._paused, key=lambda i: self._paused[i])
            del self._paused[best]
            return Job(best, self._values[best], self._table.epochs)
        self._values.append(random_values(self._table.parameters, self._rng))
        return Job(len(self._values) - 1, self._values[-1], 1)

    def on_report(self, trial: int, epoch: int, accuracy: float) -> bool:
        """Note the first one."""
        if epoch == 1:
            self._paused[trial] = accuracy
        return True


@dataclass(frozen=True)
class Ours:
    """This package, as a file has it.

    Attributes:
        section: `search` of the file.
    """

    section: Mapping[str, Any]

    def search(self, table: Table, *, time_s: float, n_workers: int, seed: int) -> Outcome:
        """Search a table."""
        return search_by_driver(table, self.section, time_s=time_s, n_workers=n_workers, seed=seed)[0]


@dataclass(frozen=True)
class Learning:
    """The default, which learns from a search of every other table of the same kind.

    Attributes:
        budget: of these searches, in median full trainings.
    """

    budget: float

    def search(self, table: Table, *, time_s: float, n_workers: int, seed: int) -> Outcome:
        """Search a table."""
        kind = table.name.partition("-")[0]
        others = [file for file in sorted(table.file.parent.glob(f"{kind}-*.json")) if file != table.file]
        lessons = [_lesson(file, self.budget, n_workers, seed) for file in others]
        known = [lesson for lesson in lessons if lesson is not None]
        return search_by_driver(table, {}, time_s=time_s, n_workers=n_workers, seed=seed, lessons=known)[0]


@dataclass(frozen=True)
class Misled:
    """The default with initial points that are no better than others, as those of one task may be on another.

    Attributes:
        n_points: of random configurations, those next to the median final accuracy.
    """

    n_points: int

    def search(self, table: Table, *, time_s: float, n_workers: int, seed: int) -> Outcome:
        """Search a table."""
        rng = np.random.default_rng([seed, 11])
        drawn = [random_values(table.parameters, rng) for _ in range(32)]
        drawn.sort(key=lambda values: abs(table.source.curve(values).accuracy[-1] - table.median_final))
        points = drawn[: self.n_points]
        return search_by_driver(table, {}, time_s=time_s, n_workers=n_workers, seed=seed, initial=points)[0]


@cache
def _lesson(file: Path, budget: float, n_workers: int, seed: int) -> LessonData | None:
    table = load_table(file)
    time_s = budget * table.full_training_s
    return search_by_driver(table, {}, time_s=time_s, n_workers=n_workers, seed=seed)[1]


@dataclass(frozen=True)
class Other:
    """Another system.

    Attributes:
        make: returns it, for a table and a seed.
    """

    make: Callable[[Table, int], System]

    def search(self, table: Table, *, time_s: float, n_workers: int, seed: int) -> Outcome:
        """Search a table."""
        return simulate(table, self.make(table, seed), time_s=time_s, n_workers=n_workers, seed=seed)


SYSTEMS: Mapping[str, Ours | Learning | Misled | Other] = {
    "default": Ours({}),
    "learning": Learning(4),
    "misled": Misled(3),
    "tpe+asha": Ours({"sampler": {"name": "tpe"}, "pruner": {"name": "asha"}}),
    "random+asha": Ours({"sampler": {"name": "random"}, "pruner": {"name": "asha"}}),
    "optuna": Other(lambda table, seed: PlainOptuna(table, seed, optuna.pruners.SuccessiveHalvingPruner())),
    "optuna-hyperband": Other(
        lambda table, seed: PlainOptuna(
            table, seed, optuna.pruners.HyperbandPruner(min_resource=1, max_resource=table.epochs)
        )
    ),
    "one-epoch": Other(OneEpoch),
}
# The default that is told something: no rivals of it, so only where they are named.
TOLD = ("learning", "misled")
