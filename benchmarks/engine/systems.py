"""Who decides: the engine, and what it is measured against."""

from __future__ import annotations

import math
import warnings
from collections import defaultdict
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.trial import FrozenTrial, create_trial
from optuna.trial import TrialState as OptunaState

from benchmarks.engine.simulator import Job, System
from benchmarks.engine.tables import Table
from fmnist_tune.config.domain import ChoiceDomain, IntDomain
from fmnist_tune.config.parameters import Parameter, is_active
from fmnist_tune.engine import Begin, Encoding, Engine, Point, SearchState, Settings, TrialState

optuna.logging.set_verbosity(optuna.logging.ERROR)


class EngineSystem:
    """The engine, given what a driver would know."""

    def __init__(self, table: Table, *, n_workers: int, seed: int, settings: Settings | None = None) -> None:
        self._engine = Engine(
            Encoding(table.parameters),
            max_epochs=table.epochs,
            seed=seed,
            partial=table.looks,
            known_seconds=table.source.known_seconds,
            settings=settings,
        )
        self._n_workers = n_workers
        self.trials: list[TrialState] = []
        self._n_reports = self._decision = 0

    def next_job(self, left_s: float) -> Job | None:
        """Ask the engine."""
        state = SearchState(trials=self.trials, decision=self._decision, left_s=left_s)
        self._decision += 1
        decision = self._engine.decide(state)
        if decision is None:
            return None
        if isinstance(decision, Begin):
            number = len(self.trials)
            self.trials.append(TrialState(number=number, values=decision.values, until=decision.until))
        else:
            number = decision.trial
            self._change(number, until=decision.until)
        return Job(number, self.trials[number].values, decision.until)

    def _change(self, number: int, *, until: float | None, point: Point | None = None, seconds: float = 0.0) -> None:
        trial = self.trials[number]
        self.trials[number] = TrialState(
            number=number,
            values=trial.values,
            points=trial.points if point is None else (*trial.points, point),
            seconds=trial.seconds + seconds,
            until=until,
        )

    def on_report(self, trial: int, epoch: float, accuracy: float, seconds: float) -> bool:
        """Note it; a job is never cut short."""
        point = Point(epoch=epoch, value=accuracy, order=self._n_reports)
        self._n_reports += 1
        self._change(trial, until=self.trials[trial].until, point=point, seconds=seconds)
        return True

    def on_end(self, trial: int) -> None:
        """Note that nobody trains it."""
        self._change(trial, until=None)


def random_values(parameters: tuple[Parameter, ...], rng: np.random.Generator) -> dict[str, Any]:
    """Return a random configuration."""
    encoding = Encoding(parameters)
    return encoding.values(encoding.draw(rng, 1)[0])


def distribution(parameter: Parameter) -> BaseDistribution:
    """Return a parameter as Optuna has it."""
    domain = parameter.domain
    if isinstance(domain, ChoiceDomain):
        return CategoricalDistribution(domain.labels)
    if isinstance(domain, IntDomain):
        return IntDistribution(domain.low, domain.high, log=domain.log, step=1 if domain.log else domain.step)
    return FloatDistribution(domain.low, domain.high, log=domain.log, step=domain.step)


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


class Asha:
    """Asynchronous successive halving with promotions, and someone who draws configurations."""

    def __init__(self, table: Table, draw: Callable[[Asha], dict[str, Any]], eta: int = 3) -> None:
        self.table = table
        self._draw = draw
        self._eta = eta
        self.rungs = [eta**i for i in range(50) if eta**i < table.epochs] + [table.epochs]
        self.values: list[dict[str, Any]] = []
        self.curves: list[dict[int, float]] = []
        self.running: set[int] = set()
        self._at: defaultdict[int, dict[int, float]] = defaultdict(dict)
        self._promoted: defaultdict[int, set[int]] = defaultdict(set)

    def next_job(self, left_s: float) -> Job | None:
        """Promote the best of a rung, or begin."""
        for k in range(len(self.rungs) - 2, -1, -1):
            at = self._at[k]
            top = sorted(at, key=lambda i: -at[i])[: len(at) // self._eta]
            for i in top:
                if i not in self._promoted[k] and i not in self.running:
                    self._promoted[k].add(i)
                    return self._job(i, self.rungs[k + 1])
        self.values.append(self._draw(self))
        self.curves.append({})
        return self._job(len(self.values) - 1, self.rungs[0])

    def _job(self, trial: int, until: int) -> Job:
        self.running.add(trial)
        return Job(trial, self.values[trial], until)

    def on_report(self, trial: int, epoch: float, accuracy: float, seconds: float) -> bool:
        """Note it."""
        self.curves[trial][int(epoch)] = accuracy
        if int(epoch) in self.rungs:
            self._at[self.rungs.index(int(epoch))][trial] = accuracy
        return True

    def on_end(self, trial: int) -> None:
        """Pause it."""
        self.running.discard(trial)


def draw_randomly(seed: int) -> Callable[[Asha], dict[str, Any]]:
    """Return who draws at random."""
    rng = np.random.default_rng([seed, 7])
    return lambda asha: random_values(asha.table.parameters, rng)


def draw_by_tpe(seed: int) -> Callable[[Asha], dict[str, Any]]:
    """Return who asks TPE, shown all trials as pruned where they are now, as this package shows them."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        sampler = optuna.samplers.TPESampler(multivariate=True, group=True, seed=seed, constant_liar=True)

    def frozen(asha: Asha, i: int) -> FrozenTrial:
        curve, table = asha.curves[i], asha.table
        params = {
            p.path: p.domain.labels[p.domain.values.index(v)] if isinstance(p.domain, ChoiceDomain) else v
            for p in table.parameters
            if (v := asha.values[i].get(p.path)) is not None
        }
        is_complete = table.epochs in curve
        return create_trial(
            state=OptunaState.COMPLETE if is_complete else OptunaState.PRUNED if curve else OptunaState.RUNNING,
            value=max(curve.values()) if is_complete else None,
            params=params,
            distributions={p.path: distribution(p) for p in table.parameters if p.path in params},
            intermediate_values=curve,
        )

    def draw(asha: Asha) -> dict[str, Any]:
        study = optuna.create_study(direction="maximize", sampler=sampler)
        study.add_trials([frozen(asha, i) for i in range(len(asha.values))])
        return suggest(study.ask(), asha.table.parameters)

    return draw


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

    def on_report(self, trial: int, epoch: float, accuracy: float, seconds: float) -> bool:
        """Ask the pruner."""
        self._trials[trial].report(accuracy, int(epoch))
        self._best[trial] = max(accuracy, self._best.get(trial, -math.inf))
        if epoch == self._table.epochs:
            self._study.tell(trial, self._best[trial])
        elif self._trials[trial].should_prune():
            self._study.tell(trial, state=OptunaState.PRUNED)
            return False
        return True

    def on_end(self, trial: int) -> None:
        """Say nothing: Optuna was told."""


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

    def on_report(self, trial: int, epoch: float, accuracy: float, seconds: float) -> bool:
        """Note the first one."""
        if epoch == 1:
            self._paused[trial] = accuracy
        return True

    def on_end(self, trial: int) -> None:
        """Nothing is to be done."""


Maker = Callable[[Table, int, int], System]  # from table, workers and seed
SYSTEMS: Mapping[str, Maker] = {
    "default": lambda table, n_workers, seed: EngineSystem(table, n_workers=n_workers, seed=seed),
    "random+asha": lambda table, n_workers, seed: Asha(table, draw_randomly(seed)),
    "tpe+asha": lambda table, n_workers, seed: Asha(table, draw_by_tpe(seed)),
    "optuna": lambda table, n_workers, seed: PlainOptuna(table, seed, optuna.pruners.SuccessiveHalvingPruner()),
    "optuna-hyperband": lambda table, n_workers, seed: PlainOptuna(
        table, seed, optuna.pruners.HyperbandPruner(min_resource=1, max_resource=table.epochs)
    ),
    "one-epoch": lambda table, n_workers, seed: OneEpoch(table, seed),
}
