"""From a search space to one trial's values, by Optuna's samplers."""

from __future__ import annotations

import copy
import heapq
import json
import random
import warnings
from collections.abc import Container, Mapping
from typing import Any, cast

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.exceptions import ExperimentalWarning
from optuna.samplers import BaseSampler, CmaEsSampler, GPSampler, QMCSampler, RandomSampler, TPESampler
from optuna.trial import FrozenTrial, TrialState

from fmnist_tune.config import Parameter, SearchSpace
from fmnist_tune.config.domain import ChoiceDomain, FloatDomain
from fmnist_tune.seeds import derive_seed
from fmnist_tune.study.curves import looks_of

# Up to so many trials TPE sees them all; beyond, these best ones (by value, and by how far they got) and the latest.
TPE_TRIALS, TPE_BEST = 1000, 25
# TPE draws at random until there are so many trials: Optuna's default, and where some of them are known to do well, as
# it then knows where to look.
TPE_STARTUP, TPE_STARTUP_KNOWING = 10, 4


def distribution(parameter: Parameter) -> BaseDistribution:
    """Return a parameter's domain in Optuna's terms."""
    domain = parameter.domain
    if isinstance(domain, ChoiceDomain):
        return CategoricalDistribution(domain.labels)
    low, high = domain.low, domain.ends()[1]
    if isinstance(domain, FloatDomain):
        return FloatDistribution(low, high, log=domain.log, step=domain.step)
    return IntDistribution(int(low), high, log=domain.log, step=domain.step)


def suggest(trial: optuna.Trial, space: SearchSpace) -> dict[str, Any]:
    """Draw the values of a trial's active parameters; those it already has stay."""
    values: dict[str, Any] = {}
    for parameter in space.parameters:
        if space.is_active(parameter, values):
            values[parameter.path] = value_of(parameter, _draw(trial, parameter.path, distribution(parameter)))
    return values


def _draw(trial: optuna.Trial, name: str, domain: BaseDistribution) -> Any:
    if isinstance(domain, CategoricalDistribution):
        return trial.suggest_categorical(name, domain.choices)
    if isinstance(domain, FloatDistribution):
        return trial.suggest_float(name, domain.low, domain.high, step=domain.step, log=domain.log)
    assert isinstance(domain, IntDistribution)
    return trial.suggest_int(name, domain.low, domain.high, step=domain.step, log=domain.log)


def values_of(params: Mapping[str, Any], space: SearchSpace) -> dict[str, Any]:
    """Return a trial's values as they stand in the file, from its parameters as Optuna stores them."""
    return {p.path: value_of(p, params[p.path]) for p in space.parameters if p.path in params}


def params_of(values: Mapping[str, Any], space: SearchSpace) -> tuple[dict[str, Any], dict[str, BaseDistribution]]:
    """Return values as Optuna stores them, and their distributions; the inverse of `values_of`."""
    used = [p for p in space.parameters if p.path in values]
    return {p.path: _stored(p, values[p.path]) for p in used}, {p.path: distribution(p) for p in used}


def _stored(parameter: Parameter, value: Any) -> Any:
    domain = parameter.domain
    return domain.labels[domain.values.index(value)] if isinstance(domain, ChoiceDomain) else value


def value_of(parameter: Parameter, stored: Any) -> Any:
    """Return the value that a stored one stands for: choices that are lists are stored as text."""
    domain = parameter.domain
    if isinstance(domain, ChoiceDomain):
        return domain.values[domain.labels.index(stored)]
    return stored


def sampler_for(space: SearchSpace, number: int, *, has_known_good: bool = False) -> BaseSampler:
    """Return the sampler for one trial; its draws follow from the study's seed, the number and the trials before.

    Args:
        space: what is searched.
        number: the trial's.
        has_known_good: whether the study begins with trials that are known to do well.
    """
    settings = space.settings.search.sampler
    seed = derive_seed(settings.seed, number, "sampler")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        match settings.name:
            case "tpe":
                n_startup = TPE_STARTUP_KNOWING if has_known_good else TPE_STARTUP
                return _BoundedTpe(seed, n_startup)
            case "random":
                return _RandomByName(seed)
            case "grid":
                return _GridSampler(space, settings.seed)
            case "qmc":
                return _WholeSpaceQmc(space, settings.seed, number)
            case "gp":
                return GPSampler(seed=seed, independent_sampler=_RandomByName(seed))
            case "cmaes":
                return CmaEsSampler(seed=seed, independent_sampler=_RandomByName(seed), warn_independent_sampling=False)


class _RandomByName(RandomSampler):
    """Draws each parameter from a seed of its own, so that a trial killed between two of them gets the same values."""

    def __init__(self, seed: int) -> None:
        super().__init__(seed)
        self._seed = seed

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        self._rng.rng.seed(derive_seed(self._seed, param_name))
        return super().sample_independent(study, trial, param_name, param_distribution)


class _BoundedTpe(TPESampler):
    """TPE that is shown the best and the latest trials alone beyond TPE_TRIALS, since its time grows with their number.

    It takes 25 trials at most for good ones (optuna.samplers._tpe.sampler.default_gamma). To be used for one trial.
    What it draws one parameter at a time, each comes from a seed of its own, as in _RandomByName.
    """

    def __init__(self, seed: int, n_startup_trials: int) -> None:
        super().__init__(seed=seed, multivariate=True, group=True, n_startup_trials=n_startup_trials)
        self._random_sampler = _RandomByName(seed)
        self._seed = seed
        self._study: _BoundedStudy | None = None

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        return super().infer_relative_search_space(self._bounded(study), trial)

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        return super().sample_relative(self._bounded(study), trial, search_space)

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        self._rng.rng.seed(derive_seed(self._seed, param_name))
        return super().sample_independent(self._bounded(study), trial, param_name, param_distribution)

    def _bounded(self, study: optuna.Study) -> optuna.Study:
        if self._study is None:
            self._study = _BoundedStudy(study)
        return cast("optuna.Study", self._study)


class _BoundedStudy:
    """A study as a sampler sees it while it draws one trial, with at most TPE_TRIALS others.

    A trial that has reported something counts as pruned there while it waits or runs, so that what it taught is used at
    once; TPE would take a running one for a bad one. One that got no further than a look within its first epoch counts
    as pruned after step 0.
    """

    def __init__(self, study: optuna.Study) -> None:
        self._study = study
        self._trials: list[FrozenTrial] | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._study, name)

    def _get_trials(
        self, deepcopy: bool = True, states: Container[TrialState] | None = None, use_cache: bool = False
    ) -> list[FrozenTrial]:
        if self._trials is None:
            trials = self._study._get_trials(deepcopy=deepcopy)
            self._trials = _best_and_latest([_as_seen(t) for t in trials])
        return [t for t in self._trials if states is None or t.state in states]


def _as_seen(trial: FrozenTrial) -> FrozenTrial:
    looks = looks_of(trial)
    has_told = not trial.state.is_finished() and bool(looks or trial.intermediate_values)
    is_looked_at = trial.state == TrialState.PRUNED and bool(looks) and not trial.intermediate_values
    if not has_told and not is_looked_at:
        return trial
    seen = copy.copy(trial)
    seen.state = TrialState.PRUNED
    if not trial.intermediate_values:
        seen.intermediate_values = {0: looks[max(looks)]}
    assert seen.last_step is not None
    seen.value = seen.intermediate_values[seen.last_step]
    return seen


def _best_and_latest(trials: list[FrozenTrial]) -> list[FrozenTrial]:
    if len(trials) <= TPE_TRIALS:
        return trials
    kept = set(range(len(trials) - (TPE_TRIALS - 4 * TPE_BEST), len(trials)))
    for state in (TrialState.COMPLETE, TrialState.PRUNED):
        ended = [(t.value or 0.0, i) for i, t in enumerate(trials) if t.state == state]
        kept |= {i for _, i in heapq.nlargest(TPE_BEST, ended)}
        kept |= {i for *_, i in heapq.nlargest(TPE_BEST, ((trials[i].last_step or 0, value, i) for value, i in ended))}
    return [trials[i] for i in sorted(kept)]


class _WholeSpaceQmc(QMCSampler):
    """A quasi-random sequence over all parameters, in which a trial has the place of its number.

    Optuna's own takes the parameters from the first trial that has ended: those before it would be random ones, which
    are most of a short study where trials pause. And it counts draws, of which a killed trial may need two.
    """

    def __init__(self, space: SearchSpace, seed: int, number: int) -> None:
        super().__init__(seed=seed, scramble=True)
        self._space = space
        self._number = number

    def _find_sample_id(self, study: optuna.Study, search_space: dict[str, BaseDistribution]) -> int:
        return self._number

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        return _distributions(self._space)


class _GridSampler(BaseSampler):
    """Each trial gets the first configuration that no other one has, in an order shuffled by the seed.

    Unlike Optuna's it knows conditions, so that configurations which differ in unused values alone do not repeat.
    """

    def __init__(self, space: SearchSpace, seed: int) -> None:
        self._space = space
        self._seed = seed

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        return _distributions(self._space)

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        order = list(self._space.grid())
        random.Random(self._seed).shuffle(order)
        others = (t for t in study.get_trials(deepcopy=False) if t.number != trial.number)
        visited = {_key(values_of(t.params, self._space)) for t in others}
        return params_of(next(values for values in order if _key(values) not in visited), self._space)[0]

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        raise RuntimeError(f"{param_name} is not in the grid")


def _key(values: Mapping[str, Any]) -> str:
    """Return values as text; numbers that differ by rounding alone are the same."""
    return json.dumps({k: float(f"{v:.12g}") if isinstance(v, float) else v for k, v in sorted(values.items())})


def _distributions(space: SearchSpace) -> dict[str, BaseDistribution]:
    return {p.path: distribution(p) for p in space.parameters}


__all__ = ["distribution", "params_of", "sampler_for", "suggest", "value_of", "values_of"]
