"""Which trial to train next, and how far."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fmnist_tune.engine.cost import CostModel
from fmnist_tune.engine.curves import CurveModel, Kernel, Likelihood, Observations, Prior, trend_of
from fmnist_tune.engine.encoding import Encoding
from fmnist_tune.engine.gain import log_expected_improvement
from fmnist_tune.engine.history import History, log_error
from fmnist_tune.engine.state import Begin, Continue, Expectation, SearchState

Array = NDArray[np.float64]
Ints = NDArray[np.int64]

N_NEIGHBOURS = 20

# Expected seconds of an epoch of some configurations; what matters is how they compare.
KnownSeconds = Callable[[Sequence[Mapping[str, Any]]], Sequence[float] | Array]


@dataclass(frozen=True)
class Settings:
    """What was found by `python -m benchmarks.engine`.

    Attributes:
        n_initial: cheap, spread-out configurations before the model decides.
        growth: a trial that is continued is trained to this many times its epochs.
        n_new: new configurations compared in a decision.
        n_refined: of these, the best ones of which neighbours are compared too.
        n_unfinished: trials compared, the most promising.
        n_observations: from which the model predicts, at most.
        n_known: configurations from which the known seconds are learned.
        refit: the kernel is fitted again when the evaluations are this many times those of the last fit.
        max_iterations: of a fit.
        margin: by which the best value is to be exceeded, at most, where there was no progress; in units of the
            spread of the trials.
        transform: of values, to where their noise and their differences are even.
        prior: of the kernel.
        slope: by which curves are expected to rise, per unit of time.
        slope_weight: of that expectation, against the trials' own slopes.
    """

    n_initial: int = 4
    growth: float = 1.8
    n_new: int = 150
    n_refined: int = 5
    n_unfinished: int = 100
    n_observations: int = 150
    n_known: int = 256
    refit: float = 1.25
    max_iterations: int = 25
    margin: float = 3.0
    share_ahead: float = 0.15
    n_stalled: int = 24
    transform: Callable[[Array], Array] = log_error
    prior: Prior = field(default_factory=Prior)
    slope: float = 0.4
    slope_weight: float = 0.08


@dataclass(frozen=True)
class Candidates:
    """What could be trained next, a row for each.

    Attributes:
        units: (m, parameters).
        features: (m, d).
        row: (m,) of the trial in the history; -1 if new.
        epoch: (m,) trained already.
        next: (m,) epoch to train to.
        log_s: (m,) of the seconds of an epoch.
    """

    units: Array
    features: Array
    row: Ints
    epoch: Array
    next: Array
    log_s: Array


class Engine:
    """Decides from a study's trials alone: what it keeps between decisions follows from them."""

    def __init__(
        self,
        encoding: Encoding,
        *,
        max_epochs: int,
        seed: int,
        looks: Sequence[float] = (),
        known_seconds: KnownSeconds | None = None,
        settings: Settings | None = None,
    ) -> None:
        """Prepare decisions about a space.

        Args:
            encoding: of the space.
            max_epochs: of a full training.
            seed: of the study.
            looks: shares of the first epoch after which a trial may be evaluated and paused, ascending.
            known_seconds: expected before any training, of any unit.
            settings: of the search.
        """
        self.encoding = encoding
        self.max_epochs = max_epochs
        self.seed = seed
        self.looks = tuple(looks)
        self.settings = settings or Settings()
        self._history = History(encoding, max_epochs)
        self._cost = CostModel(len(encoding.groups), self._known(known_seconds))
        self._fitted: tuple[int, Array] | None = None

    def _known(self, known_seconds: KnownSeconds | None) -> tuple[Array, Array] | None:
        if known_seconds is None:
            return None
        units = self.encoding.draw(np.random.default_rng([self.seed, 1]), self.settings.n_known)
        seconds = np.asarray(known_seconds([self.encoding.values(row) for row in units]))
        return self.encoding.features(units), np.log(np.maximum(seconds, 1e-9))

    def decide(self, state: SearchState) -> Begin | Continue | None:
        """Return what a free worker does; None if nothing more fits into the time."""
        rng = np.random.default_rng([self.seed, 0, state.decision])
        history = self._history
        history.update(state.trials)
        self._cost.observe(*history.measured())
        if not history.n_reports or len(state.trials) < self.settings.n_initial:
            return self._begin_spread_out(state, rng)
        model = self._model()
        is_stalled = bool(rng.random() < history.stalled())
        candidates = self._candidates(is_stalled, rng)
        return self._best(candidates, model, state, is_stalled, rng)

    def next_epoch(self, epoch: float) -> float:
        """Return the epoch to which a trial is trained next."""
        if epoch == 0:
            return self.looks[0] if self.looks else 1.0
        target = epoch * self.settings.growth
        if epoch < 1:
            return next((look for look in self.looks if look > epoch and look >= target), 1.0)
        return float(min(math.ceil(target - 1e-9), self.max_epochs))

    def _begin_spread_out(self, state: SearchState, rng: np.random.Generator) -> Begin:
        """Begin a configuration far from the others, and cheap: seconds count for much while nothing is known."""
        units = self.encoding.draw(rng, self.settings.n_new)
        features = self.encoding.features(units)
        log_s = self._cost.log_s(features)
        score = -0.5 * (log_s - log_s.min())
        if state.trials:
            others = self._history.features
            squared = ((features[:, None] - others[None]) ** 2).sum(2).min(1)
            score += 0.5 * np.log(squared + 1e-12)
        return Begin(self.encoding.values(units[int(np.argmax(score))]), self.next_epoch(0.0))

    def _model(self) -> CurveModel:
        settings, history = self.settings, self._history
        kernel = Kernel(self._theta(), self.encoding.groups)
        data = history.observations(settings.n_observations, settings.transform)
        model = self._model_of(data, kernel)
        running = history.running()
        if len(running):  # fantasies: they come to what is expected of them
            time = history.time_of(history.until[running])
            mean, _ = model.predict(history.features[running], time, running)
            fantasies = Observations(features=history.features[running], time=time, trial=running, z=mean)
            model = CurveModel(data.plus(fantasies), kernel, model.trend)
        return model

    def _model_of(self, data: Observations, kernel: Kernel) -> CurveModel:
        settings = self.settings
        trend = trend_of(data, prior_slope=settings.slope, prior_weight=settings.slope_weight)
        return CurveModel(data, kernel, trend)

    def _theta(self) -> Array:
        """Return the kernel's parameters, fitted to the first so many evaluations: to as many whenever it is asked."""
        settings = self.settings
        n = 1
        while (following := max(n + 1, math.ceil(n * settings.refit))) <= self._history.n_reports:
            n = following
        if self._fitted is None or self._fitted[0] != n:
            data = self._history.observations(settings.n_observations, settings.transform, n_reports=n)
            trend = trend_of(data, prior_slope=settings.slope, prior_weight=settings.slope_weight)
            likelihood = Likelihood(data, trend.standardize(data.z, data.time), self.encoding.groups, settings.prior)
            self._fitted = n, likelihood.maximize(settings.max_iterations)
        return self._fitted[1]

    def _candidates(self, is_stalled: bool, rng: np.random.Generator) -> Candidates:
        settings, history = self.settings, self._history
        paused = history.unfinished(settings.n_unfinished)
        # On a plateau the best values are noise, and the model knows little: those ahead after their first evaluation.
        best = history.ahead(settings.share_ahead) if is_stalled else history.best(5)
        n_near = settings.n_stalled if is_stalled and settings.n_stalled else settings.n_new // 2
        uniform = self.encoding.draw(rng, 0 if is_stalled and settings.n_stalled else settings.n_new - n_near)
        scale = rng.choice([0.03, 0.1, 0.2, 0.4], size=n_near)
        near = self.encoding.perturb(rng, history.units[rng.choice(best, size=n_near)], scale)
        new = np.concatenate([uniform, near])
        units = np.concatenate([history.units[paused], new])
        row = np.concatenate([paused, np.full(len(new), -1)])
        features = np.concatenate([history.features[paused], self.encoding.features(new)])
        epoch = np.concatenate([history.epoch[paused], np.zeros(len(new))])
        log_s = self._cost.log_s(features)
        log_s[: len(paused)] = np.where(np.isnan(history.log_s[paused]), log_s[: len(paused)], history.log_s[paused])
        return Candidates(
            units=units,
            features=features,
            row=row,
            epoch=epoch,
            next=np.array([self.next_epoch(e) for e in epoch]),
            log_s=log_s,
        )

    def _best(
        self,
        candidates: Candidates,
        model: CurveModel,
        state: SearchState,
        is_stalled: bool,
        rng: np.random.Generator,
    ) -> Begin | Continue | None:
        first = self.next_epoch(0.0)
        horizon = first * (self.max_epochs / first) ** rng.random()
        best = self._history.best_z(self.settings.transform)
        if is_stalled:  # a plateau: small gains there lead nowhere
            best += model.trend.scale * self.settings.margin * 100 ** -rng.random()
        score, why = self._score(candidates, model, state.left_s, horizon, best)
        top = np.argsort(-score, kind="stable")
        top = top[candidates.row[top] < 0][: self.settings.n_refined]
        near = self._near(candidates, np.repeat(top, N_NEIGHBOURS), rng)
        near_score, near_why = self._score(near, model, state.left_s, horizon, best)
        if near_score.max(initial=-math.inf) > score.max():
            candidates, score, why = near, near_score, near_why
        i = int(np.argmax(score))
        if score[i] == -math.inf:
            return None
        if candidates.row[i] >= 0:
            return Continue(self._history.numbers[candidates.row[i]], float(candidates.next[i]), why(i))
        return Begin(self.encoding.values(candidates.units[i]), float(candidates.next[i]), why(i))

    def _score(
        self, candidates: Candidates, model: CurveModel, left_s: float | None, horizon: float, best: float
    ) -> tuple[Array, Callable[[int], Expectation]]:
        """Return log expected gain per second, -inf for what does not fit into the time, and why for any row."""
        seconds = np.exp(candidates.log_s)
        reach = np.full(len(seconds), math.inf) if left_s is None else candidates.epoch + left_s / seconds
        until = np.clip(horizon, candidates.next, self.max_epochs)
        until = np.minimum(until, np.maximum(np.floor(reach), candidates.epoch))
        least = np.minimum(candidates.next, np.floor(candidates.epoch) + 1)
        fits = (until > candidates.epoch) & (reach >= least)
        until = np.where(fits, until, candidates.next)
        mean, sd = model.predict(candidates.features, self._history.time_of(until), candidates.row)
        spent = (until - candidates.epoch) * seconds
        log_gain = log_expected_improvement((mean - best) / sd) + np.log(sd)
        score = np.where(fits, log_gain - np.log(spent), -math.inf)

        def why(i: int) -> Expectation:
            return Expectation(
                horizon=float(until[i]),
                value=float(mean[i]),
                low=float(mean[i] - 1.28 * sd[i]),
                high=float(mean[i] + 1.28 * sd[i]),
                seconds=float(spent[i]),
                gain=float(np.exp(log_gain[i])),
            )

        return score, why

    def _near(self, candidates: Candidates, rows: Ints, rng: np.random.Generator) -> Candidates:
        """Return neighbours of some of the new configurations."""
        units = self.encoding.perturb(rng, candidates.units[rows], rng.choice([0.02, 0.05, 0.15], size=len(rows)))
        features = self.encoding.features(units)
        return Candidates(
            units=units,
            features=features,
            row=np.full(len(rows), -1),
            epoch=np.zeros(len(rows)),
            next=np.full(len(rows), self.next_epoch(0.0)),
            log_s=self._cost.log_s(features),
        )
