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

# Expected seconds of an epoch of some configurations; what matters is how they compare.
KnownSeconds = Callable[[Sequence[Mapping[str, Any]]], Sequence[float]]


@dataclass(frozen=True)
class Settings:
    """What was found by `python -m benchmarks.engine`.

    Attributes:
        n_initial: cheap, spread-out configurations before the model decides.
        growth: a trial that is continued is trained to this many times its epochs.
        n_new: new configurations compared in a decision.
        n_unfinished: trials compared, the most promising.
        n_observations: from which the model predicts, at most.
        n_known: configurations from which the known seconds are learned.
        refit: the kernel is fitted again when the evaluations are this many times those of the last fit.
        max_iterations: of a fit.
        random_share: of decisions that begin a random configuration.
        transform: of values, to where their noise and their differences are even.
        prior: of the kernel.
        slope: by which curves are expected to rise, per unit of time.
    """

    n_initial: int = 4
    growth: float = 1.8
    n_new: int = 200
    n_unfinished: int = 100
    n_observations: int = 150
    n_known: int = 256
    refit: float = 1.25
    max_iterations: int = 25
    random_share: float = 0.0
    transform: Callable[[Array], Array] = log_error
    prior: Prior = field(default_factory=Prior)
    slope: float = 1.0
    slope_weight: float = 1.0
    horizon_power: float = 1.0
    winsor: float = 0.0
    deep: float = 0.0
    margin: float = 0.0
    asha_share: float = 0.0
    guard: float = 1.0
    refine: int = 0
    cost_power: float = 1.0


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
        if rng.random() < self.settings.random_share:
            units = self.encoding.draw(rng, 1)
            return Begin(self.encoding.values(units[0]), self.next_epoch(0.0))
        model = self._model()
        candidates = self._candidates(model, rng)
        if self.settings.deep and len(candidates.row) and candidates.row[0] >= 0:
            total = self.settings.deep * self.max_epochs
            if history.epoch.max() < total and np.isnan(history.until).all():
                i = int(history.unfinished(1)[0]) if not (history.epoch > 1).any() else int(np.argmax(history.epoch))
                return Continue(history.numbers[i], self.next_epoch(float(history.epoch[i])))
        if rng.random() < self.settings.asha_share:
            row = history.promotable(self.settings.growth)
            if row is not None:
                return Continue(history.numbers[row], self.next_epoch(float(history.epoch[row])))
        return self._best(candidates, model, state, rng)

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
        trend = trend_of(data, prior_slope=settings.slope, prior_weight=settings.slope_weight, winsor=settings.winsor)
        return CurveModel(data, kernel, trend)

    def _theta(self) -> Array:
        """Return the kernel's parameters, fitted to the first so many evaluations: to as many whenever it is asked."""
        settings = self.settings
        n = 1
        while (following := max(n + 1, math.ceil(n * settings.refit))) <= self._history.n_reports:
            n = following
        if self._fitted is None or self._fitted[0] != n:
            data = self._history.observations(settings.n_observations, settings.transform, n_reports=n)
            trend = trend_of(data, prior_slope=settings.slope, prior_weight=settings.slope_weight, winsor=settings.winsor)
            likelihood = Likelihood(data, trend.standardize(data.z, data.time), self.encoding.groups, settings.prior)
            self._fitted = n, likelihood.maximize(settings.max_iterations)
        return self._fitted[1]

    def _candidates(self, model: CurveModel, rng: np.random.Generator) -> Candidates:
        settings, history = self.settings, self._history
        paused = history.unfinished(settings.n_unfinished)
        best = history.best(5)
        n_near = settings.n_new // 2
        uniform = self.encoding.draw(rng, settings.n_new - n_near)
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

    def _near(self, candidates: Candidates, rows: Ints, rng: np.random.Generator) -> Candidates:
        """Return the candidates and neighbours of some of them."""
        units = self.encoding.perturb(rng, candidates.units[rows], rng.choice([0.02, 0.05, 0.15], size=len(rows)))
        features = self.encoding.features(units)
        return Candidates(
            units=np.concatenate([candidates.units, units]),
            features=np.concatenate([candidates.features, features]),
            row=np.concatenate([candidates.row, np.full(len(rows), -1)]),
            epoch=np.concatenate([candidates.epoch, np.zeros(len(rows))]),
            next=np.concatenate([candidates.next, np.full(len(rows), self.next_epoch(0.0))]),
            log_s=np.concatenate([candidates.log_s, self._cost.log_s(features)]),
        )

    def _best(
        self,
        candidates: Candidates,
        model: CurveModel,
        state: SearchState,
        rng: np.random.Generator,
        *,
        refined: bool = False,
    ) -> Begin | Continue | None:
        rng_again = np.random.default_rng([self.seed, 2, state.decision])
        if not refined:
            rng, rng_again = rng_again, np.random.default_rng([self.seed, 2, state.decision])
        seconds = np.exp(candidates.log_s)
        reach = np.full(len(seconds), math.inf)
        if state.left_s is not None:
            reach = candidates.epoch + state.left_s / seconds
        first = self.next_epoch(0.0)
        horizon = np.clip(first * (self.max_epochs / first) ** (rng.random() ** self.settings.horizon_power), candidates.next, self.max_epochs)
        horizon = np.minimum(horizon, np.maximum(np.floor(reach), candidates.epoch))
        fits = (horizon > candidates.epoch) & (reach >= np.minimum(candidates.next, np.floor(candidates.epoch) + 1))
        if not fits.any():
            return None
        horizon = np.where(fits, horizon, candidates.next)
        time = self._history.time_of(horizon)
        mean, sd = model.predict(candidates.features, time, candidates.row)
        best = self._history.best_z(self.settings.transform)
        spent = (horizon - candidates.epoch) * seconds
        if self.settings.margin and rng.random() < self._history.stalled() * self.settings.guard:
            best += model.trend.scale * self.settings.margin * 100 ** -rng.random()
        gain = log_expected_improvement((mean - best) / sd) + np.log(sd)
        score = np.where(fits, gain - self.settings.cost_power * np.log(spent), -math.inf)
        if self.settings.refine and not refined:
            top = np.argsort(-score, kind="stable")
            top = top[candidates.row[top] < 0][: self.settings.refine]
            if len(top):
                more = self._near(candidates, np.repeat(top, 20), rng)
                return self._best(more, model, state, rng_again, refined=True)
        i = int(np.argmax(score))
        why = Expectation(
            horizon=float(horizon[i]),
            value=float(mean[i]),
            low=float(mean[i] - 1.28 * sd[i]),
            high=float(mean[i] + 1.28 * sd[i]),
            seconds=float(spent[i]),
            gain=float(np.exp(gain[i])),
        )
        if candidates.row[i] >= 0:
            return Continue(self._history.numbers[candidates.row[i]], float(candidates.next[i]), why)
        return Begin(self.encoding.values(candidates.units[i]), float(candidates.next[i]), why)
