"""Sampling a trial's values from a search space, by Optuna's samplers."""

from __future__ import annotations

import copy
import heapq
import json
import math
import random
import warnings
from collections.abc import Container, Mapping, Sequence
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.exceptions import ExperimentalWarning
from optuna.samplers import BaseSampler, CmaEsSampler, GPSampler, RandomSampler, TPESampler
from optuna.storages import InMemoryStorage
from optuna.trial import FrozenTrial, TrialState

from fmnist_tune.config import Parameter, SearchSpace
from fmnist_tune.config.domain import ChoiceDomain, Domain, FloatDomain, IntDomain
from fmnist_tune.seeds import derive_seed
from fmnist_tune.study.trial_data import latest_of

# A sampler is shown up to this many trials; of more, so many of the best ones (of the complete ones and of the pruned
# ones, by value and by epoch) and the latest. TPE counts at most 25 as good ones (optuna.samplers.TPESampler, gamma),
# and its time grows with the number of the others.
MOST_SHOWN, BEST_SHOWN = 300, 25


def distribution(parameter: Parameter) -> BaseDistribution:
    """Return a parameter's domain in Optuna's terms."""
    domain = parameter.domain
    if isinstance(domain, ChoiceDomain):
        return CategoricalDistribution(domain.labels)
    low, high = domain.low, domain.ends()[1]
    if isinstance(domain, FloatDomain):
        return FloatDistribution(low, high, log=domain.log, step=domain.step)
    return IntDistribution(int(low), high, log=domain.log, step=domain.step)


def sample(space: SearchSpace, others: Sequence[FrozenTrial], number: int, *, given: Mapping[str, Any]) -> FrozenTrial:
    """Sample a trial's parameters, in an in-memory study that shows the sampler other trials.

    The sample is determined by the study's seed, the number and the other trials.

    Args:
        space: the search space.
        others: as `ShownTrials` selects them.
        number: of the trial.
        given: parameters already set, as Optuna stores them.

    Returns:
        The trial with its parameters, their distributions and the sampler's system attributes.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        sampler = sampler_for(space, number)
        study = optuna.create_study(storage=_Seen(others, number), sampler=sampler, direction="maximize")
        if given:
            study.enqueue_trial(dict(given))
        trial, values = study.ask(), dict[str, Any]()
        for parameter in space.parameters:
            if space.is_active(parameter, values):
                values[parameter.path] = value_of(parameter, _suggest(trial, parameter.path, distribution(parameter)))
    return study.get_trials(deepcopy=False)[-1]


class _Seen(InMemoryStorage):
    """A study as a sampler sees it while it samples one trial."""

    def __init__(self, others: Sequence[FrozenTrial], number: int) -> None:
        super().__init__()
        self._others = others
        self._number = number

    def get_trial(self, trial_id: int) -> FrozenTrial:
        """Return the trial that is sampled, under its future number."""
        trial = copy.copy(super().get_trial(trial_id))
        trial.number = self._number
        return trial

    def get_all_trials(
        self, study_id: int, deepcopy: bool = True, states: Container[TrialState] | None = None
    ) -> list[FrozenTrial]:
        """Return the other trials, and last the trial that is sampled."""
        sampled = [copy.copy(trial) for trial in super().get_all_trials(study_id, deepcopy=False, states=states)]
        for trial in sampled:
            trial.number = self._number
        return [*(t for t in self._others if states is None or t.state in states), *sampled]


class ShownTrials:
    """The trials of a growing study that its sampler is shown: of more than MOST_SHOWN the best ones and the latest.

    A grid's sampler is shown all. What has ended is looked at once.
    A waiting or running trial with evaluations is shown as pruned, so that they are used at once; TPE would count a
    running trial as a bad one. A trial that has not ended its first epoch is shown as pruned after step 0.
    """

    def __init__(self, trials: Sequence[FrozenTrial], *, shows_all: bool = False) -> None:
        """Select from `trials`, to which others may be appended."""
        self._trials = trials
        self._shows_all = shows_all
        self._n_known = 0
        self._open: list[int] = []
        self._best: dict[tuple[TrialState, str], list[tuple[float, ...]]] = {
            (state, by): [] for state in (TrialState.COMPLETE, TrialState.PRUNED) for by in ("value", "epoch")
        }

    def select(self, *, without: int | None = None) -> list[FrozenTrial]:
        """Return the trials as they are shown, by number, but for one."""
        trials = self._trials
        if len(trials) > MOST_SHOWN and not self._shows_all:
            self._note_ended()
            kept = {int(i) for best in self._best.values() for *_, i in best}
            kept.update(range(len(trials) - (MOST_SHOWN - len(self._best) * BEST_SHOWN), len(trials)))
            trials = [trials[i] for i in sorted(kept)]
        return [_as_seen(trial) for trial in trials if trial.number != without]

    def _note_ended(self) -> None:
        unknown = [*self._open, *range(self._n_known, len(self._trials))]
        self._n_known = len(self._trials)
        self._open = []
        for i in unknown:
            trial = self._trials[i]
            if not trial.state.is_finished():
                self._open.append(i)
            elif trial.state != TrialState.FAIL:
                value = trial.value or 0.0
                for by, rank in (("value", (value, i)), ("epoch", (trial.last_step or 0, value, i))):
                    best = self._best[trial.state, by]
                    heapq.heappush(best, rank)
                    if len(best) > BEST_SHOWN:
                        heapq.heappop(best)


def _as_seen(trial: FrozenTrial) -> FrozenTrial:
    if trial.state.is_finished() and (trial.intermediate_values or trial.state != TrialState.PRUNED):
        return trial
    curve = trial.intermediate_values
    if not curve and (latest := latest_of(trial)) is not None:
        curve = {0: latest.accuracy}
    seen = copy.copy(trial)
    seen.state = TrialState.PRUNED if curve or trial.state.is_finished() else TrialState.RUNNING
    seen.intermediate_values = curve
    if curve:
        seen.value = curve[max(curve)]
    return seen


def _suggest(trial: optuna.Trial, name: str, domain: BaseDistribution) -> Any:
    if isinstance(domain, CategoricalDistribution):
        return trial.suggest_categorical(name, domain.choices)
    if isinstance(domain, FloatDistribution):
        return trial.suggest_float(name, domain.low, domain.high, step=domain.step, log=domain.log)
    assert isinstance(domain, IntDistribution)
    return trial.suggest_int(name, domain.low, domain.high, step=domain.step, log=domain.log)


def values_of(params: Mapping[str, Any], space: SearchSpace) -> dict[str, Any]:
    """Return a trial's values as in the file, from its parameters as Optuna stores them."""
    return {p.path: value_of(p, params[p.path]) for p in space.parameters if p.path in params}


def params_of(values: Mapping[str, Any], space: SearchSpace) -> tuple[dict[str, Any], dict[str, BaseDistribution]]:
    """Return values as Optuna stores them, and their distributions; the inverse of `values_of`."""
    used = [p for p in space.parameters if p.path in values]
    return {p.path: _stored(p, values[p.path]) for p in used}, {p.path: distribution(p) for p in used}


def _stored(parameter: Parameter, value: Any) -> Any:
    domain = parameter.domain
    return domain.labels[domain.values.index(value)] if isinstance(domain, ChoiceDomain) else value


def value_of(parameter: Parameter, stored: Any) -> Any:
    """Return the value of a stored parameter: choices that are lists are stored as text."""
    domain = parameter.domain
    if isinstance(domain, ChoiceDomain):
        return domain.values[domain.labels.index(stored)]
    return stored


def sampler_for(space: SearchSpace, number: int) -> BaseSampler:
    """Return the sampler for one trial; its draws are determined by the study's seed, the number and the other trials.

    Args:
        space: the search space.
        number: the trial's.
    """
    settings = space.settings.search.sampler
    seed = derive_seed(settings.seed, number, "sampler")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        match settings.name:
            case "tpe":
                return TPESampler(seed=seed, multivariate=True, group=True)
            case "random":
                return RandomSampler(seed)
            case "grid":
                return _GridSampler(space, settings.seed)
            case "qmc":
                return _WholeSpaceQmc(space, settings.seed)
            case "gp":
                return GPSampler(seed=seed, independent_sampler=RandomSampler(seed))
            case "cmaes":
                return CmaEsSampler(seed=seed, independent_sampler=RandomSampler(seed), warn_independent_sampling=False)


class _WholeSpaceSampler(BaseSampler):
    """Draws all parameters at once, including those that turn out to be inactive."""

    def __init__(self, space: SearchSpace, seed: int) -> None:
        self._space = space
        self._seed = seed

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        return {p.path: distribution(p) for p in self._space.parameters}

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        raise RuntimeError(f"{param_name} was not sampled with the others")


class _WholeSpaceQmc(_WholeSpaceSampler):
    """A scrambled Sobol sequence over all parameters, indexed by the trial's number.

    Optuna's own takes the parameters from the first ended trial; all trials before that one would be random, which are
    most of a short study whose trials pause.
    """

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        from scipy.stats.qmc import Sobol  # takes a second to import

        sequence = Sobol(len(search_space), scramble=True, seed=self._seed)
        if trial.number:
            sequence.fast_forward(trial.number)
        place = sequence.random(1)[0]
        return {p.path: _stored(p, _at(p.domain, float(u))) for p, u in zip(self._space.parameters, place, strict=True)}


def _at(domain: Domain, share: float) -> Any:
    """Return the value at a share of a domain, in [0, 1); all values have equal shares."""
    if isinstance(domain, ChoiceDomain) or (domain.n_values is not None and not domain.log):
        return domain.value(int(share * (domain.n_values or 1)))
    low, high = domain.ends()
    if isinstance(domain, IntDomain):  # on a logarithmic scale: each value spans half below to half above it
        low, high = low - 0.5, high + 0.5
    value = math.exp(math.log(low) + share * math.log(high / low)) if domain.log else low + share * (high - low)
    return min(max(round(value), domain.low), domain.high) if isinstance(domain, IntDomain) else value


class _GridSampler(_WholeSpaceSampler):
    """Gives each trial the first unused configuration, in an order shuffled by the seed.

    Unlike Optuna's, it knows conditions: configurations that differ only in unused values are not repeated. An enqueued
    trial gets the first configuration with the given values, preferably an unused one.
    """

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        order = list(self._space.grid())
        random.Random(self._seed).shuffle(order)
        given = values_of(trial.system_attrs.get("fixed_params", {}), self._space)
        order = [v for v in order if all(v.get(path) == value for path, value in given.items())] or order
        others = (t for t in study.get_trials(deepcopy=False) if t.number != trial.number)
        visited = {key_of(values_of(t.params, self._space)) for t in others}
        return params_of(next((v for v in order if key_of(v) not in visited), order[0]), self._space)[0]


def key_of(values: Mapping[str, Any]) -> str:
    """Return values as text; numbers that differ only by rounding give the same text."""
    return json.dumps({k: float(f"{v:.12g}") if isinstance(v, float) else v for k, v in sorted(values.items())})
