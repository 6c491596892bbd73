"""Which trial to train next, and how far."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from fmnist_tune.engine.candidates import MARGIN, Candidates, epoch_after
from fmnist_tune.engine.cost import CostModel
from fmnist_tune.engine.curves import CurveModel, Kernel, Likelihood, Observations, Prior, Trend, trend_of
from fmnist_tune.engine.encoding import Encoding
from fmnist_tune.engine.history import History
from fmnist_tune.engine.plateau import decide_by_rank
from fmnist_tune.engine.state import Begin, Continue, SearchState

Array = NDArray[np.float64]
Ints = NDArray[np.int64]

N_NEIGHBOURS = 20
EPOCHS_PATH = "training.epochs"  # the parameter that is the length of a training, where that is searched

# Expected seconds of an epoch of some configurations, NaN if unknown; what matters is how they compare.
KnownSeconds = Callable[[Sequence[Mapping[str, Any]]], Sequence[float] | Array]


@dataclass(frozen=True)
class Settings:
    """What was found by `python -m benchmarks.engine`.

    Attributes:
        n_initial: cheap, spread-out configurations before the model decides.
        n_new: new configurations compared in a decision.
        n_refined: of these, the best ones of which neighbours are compared too.
        n_unfinished: trials compared, the most promising.
        n_observations: from which the model predicts, at most.
        n_known: configurations from which the known seconds are learned.
        refit: the kernel is fitted again when the evaluations are this many times those of the last fit.
        max_iterations: of a fit.
        margin: by which the best value is to be exceeded, at most, where there was no progress; in units of the
            spread of the trials.
        n_stalled: new configurations compared there.
        chance: of becoming the best that a trial is to have, to be continued once there are to be no others.
        plateau: share of the trials that must be on a plateau for ranks alone to decide.
        n_to_end: of the time that it takes to train the most promising trial to its end, this is reserved for it.
        prior: of the kernel.
        slope: by which curves are expected to rise, per unit of time.
        slope_weight: of that expectation, against the trials' own slopes.
    """

    n_initial: int = 4
    n_new: int = 150
    n_refined: int = 5
    n_unfinished: int = 100
    n_observations: int = 150
    n_known: int = 96
    refit: float = 1.25
    max_iterations: int = 25
    margin: float = 3.0
    n_stalled: int = 24
    chance: float = 0.05
    plateau: float = 0.5
    n_to_end: float = 1.0
    prior: Prior = field(default_factory=Prior)
    slope: float = 0.4
    slope_weight: float = 0.08


class Engine:
    """Decides from a study's trials alone: what it keeps between decisions follows from them."""

    def __init__(
        self,
        encoding: Encoding,
        *,
        max_epochs: int,
        seed: int,
        partial: Sequence[float] = (),
        known_seconds: KnownSeconds | None = None,
        settings: Settings | None = None,
    ) -> None:
        """Prepare decisions about a space.

        Args:
            encoding: of the space.
            max_epochs: of the longest training.
            seed: of the study.
            partial: shares of the first epoch after which a trial may be evaluated and paused, ascending.
            known_seconds: expected before any training, of any unit.
            settings: of the search.
        """
        self.encoding = encoding
        self.max_epochs = max_epochs
        self.seed = seed
        self.partial = tuple(partial)
        self.settings = settings or Settings()
        self._history = History(encoding, max_epochs)
        self._cost = CostModel(len(encoding.groups), self._known(known_seconds))
        self._fitted: tuple[int, Array] | None = None

    def _known(self, known_seconds: KnownSeconds | None) -> tuple[Array, Array] | None:
        if known_seconds is None:
            return None
        units = self.encoding.draw(np.random.default_rng([self.seed, 1]), self.settings.n_known)
        seconds = np.asarray(known_seconds([self.encoding.values(row) for row in units]))
        is_known = np.isfinite(seconds)
        return self.encoding.features(units[is_known]), np.log(np.maximum(seconds[is_known], 1e-9))

    def decide(self, state: SearchState) -> Begin | Continue | None:
        """Return what a free worker does; None if nothing more fits into the time, or is worth it."""
        rng = np.random.default_rng([self.seed, 0, state.decision])
        history = self._history
        history.update(state.trials)
        self._cost.observe(*history.measured())
        if state.can_begin and (not history.n_reports or len(state.trials) < self.settings.n_initial):
            return self._begin_spread_out(state, rng)
        if not history.n_reports:
            return None
        if state.can_begin and history.is_on_plateau(self.settings.plateau):
            return decide_by_rank(state, history, self.encoding, self.partial, rng)
        model = self._model()
        paused = self._paused()
        promising = self._promising(paused, model)
        last = self._to_its_end(promising, model, state)
        if last is not None:
            return last
        paused = paused if state.can_begin else promising
        is_stalled = bool(rng.random() < history.stalled())
        new = self._new(is_stalled, rng) if state.can_begin else np.zeros((0, len(self.encoding.parameters)))
        return self._best((paused, self._candidates(new)), model, state, is_stalled, rng)

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
        return Begin(self.encoding.values(units[int(np.argmax(score))]), epoch_after(0, self.partial))

    def _model(self) -> CurveModel:
        settings, history = self.settings, self._history
        kernel = Kernel(self._theta(), self.encoding.groups)
        data = history.observations(settings.n_observations)
        model = CurveModel(data, kernel, self._trend(data))
        running = history.running()
        if len(running):  # fantasies: they come to what is expected of them
            time = history.time_of(history.until[running])
            mean, _ = model.predict(history.features[running], time, running)
            fantasies = Observations(features=history.features[running], time=time, trial=running, z=mean)
            model = CurveModel(data.plus(fantasies), kernel, model.trend)
        return model

    def _trend(self, data: Observations) -> Trend:
        return trend_of(data, prior_slope=self.settings.slope, prior_weight=self.settings.slope_weight)

    def _theta(self) -> Array:
        """Return the kernel's parameters, fitted to the first so many evaluations: to as many whenever it is asked."""
        settings = self.settings
        n = 1
        while (following := max(n + 1, math.ceil(n * settings.refit))) <= self._history.n_reports:
            n = following
        if self._fitted is None or self._fitted[0] != n:
            data = self._history.observations(settings.n_observations, n_reports=n)
            y = self._trend(data).standardize(data.z, data.time)
            likelihood = Likelihood(data, y, self.encoding.groups, settings.prior)
            self._fitted = n, likelihood.maximize(settings.max_iterations)
        return self._fitted[1]

    def _paused(self) -> Candidates:
        """Return the trials that may go on, the most promising."""
        history = self._history
        rows = history.unfinished(self.settings.n_unfinished)
        log_s = self._cost.log_s(history.features[rows])
        following = np.array([epoch_after(e, self.partial) for e in history.epoch[rows]])
        return Candidates(
            units=history.units[rows],
            features=history.features[rows],
            row=rows,
            epoch=history.epoch[rows],
            next=np.minimum(following, history.epochs[rows]),
            epochs=history.epochs[rows],
            log_s=np.where(np.isnan(history.log_s[rows]), log_s, history.log_s[rows]),
        )

    def _candidates(self, units: Array) -> Candidates:
        """Return new configurations."""
        features, epochs = self.encoding.features(units), self.encoding.numbers(EPOCHS_PATH, units)
        whole = np.full(len(units), float(self.max_epochs))
        return Candidates(
            units=units,
            features=features,
            row=np.full(len(units), -1),
            epoch=np.zeros(len(units)),
            next=np.full(len(units), epoch_after(0, self.partial)),
            epochs=whole if epochs is None else np.where(np.isnan(epochs), whole, epochs),
            log_s=self._cost.log_s(features),
        )

    def _new(self, is_stalled: bool, rng: np.random.Generator) -> Array:
        """Return units of new configurations, uniform ones and neighbours of the best."""
        settings, history = self.settings, self._history
        # On a plateau the best values are noise, and the model knows little: those ahead after their first evaluation.
        best = history.ahead() if is_stalled else history.best(5)
        n_near = settings.n_stalled if is_stalled and settings.n_stalled else settings.n_new // 2
        uniform = self.encoding.draw(rng, 0 if is_stalled and settings.n_stalled else settings.n_new - n_near)
        scale = rng.choice([0.03, 0.1, 0.2, 0.4], size=n_near)
        near = self.encoding.perturb(rng, history.units[rng.choice(best, size=n_near)], scale)
        return np.concatenate([uniform, near])

    def _to_its_end(self, paused: Candidates, model: CurveModel, state: SearchState) -> Continue | None:
        """Return the trial expected to end best among those that still can, when there is time for little else."""
        if state.left_s is None or not self.settings.n_to_end or not len(paused.row):
            return None
        needed_s = MARGIN * paused.needed_s
        mean = np.where(needed_s <= state.left_s, paused.ends(model, self._history)[0], -math.inf)
        i = int(np.argmax(mean))
        step_s = (paused.next[i] - paused.epoch[i]) * math.exp(paused.log_s[i])
        if mean[i] == -math.inf or state.left_s > self.settings.n_to_end * needed_s[i] + MARGIN * step_s:
            return None
        return Continue(self._history.numbers[paused.row[i]], float(paused.epochs[i]))

    def _promising(self, paused: Candidates, model: CurveModel) -> Candidates:
        """Return the trials that may become the best; if none has come to its end, the best of them at least."""
        if not len(paused.row):
            return paused
        mean, sd = paused.ends(model, self._history)
        kept = np.flatnonzero(ndtr((mean - self._history.best_z) / sd) >= self.settings.chance)
        if not len(kept) and not self._history.is_any_finished:
            kept = np.array([int(np.argmax(mean))])
        return replace(paused, **{field.name: getattr(paused, field.name)[kept] for field in fields(paused)})

    def _best(
        self,
        groups: tuple[Candidates, Candidates],
        model: CurveModel,
        state: SearchState,
        is_stalled: bool,
        rng: np.random.Generator,
    ) -> Begin | Continue | None:
        """Return the candidate of the highest expected gain per second, neighbours of the new ones among them."""
        first = epoch_after(0, self.partial)
        horizon = first * (self.max_epochs / first) ** rng.random()
        best = self._history.best_z
        if is_stalled:  # a plateau: small gains there lead nowhere
            best += model.trend.scale * self.settings.margin * 100 ** -rng.random()

        def scores(candidates: Candidates) -> Array:
            return candidates.scores(model, self._history, left_s=state.left_s, horizon=horizon, best=best)

        new, new_scores = groups[1], scores(groups[1])
        top = np.argsort(-new_scores, kind="stable")[: self.settings.n_refined]
        rows = np.repeat(top, N_NEIGHBOURS)
        near = self.encoding.perturb(rng, new.units[rows], rng.choice([0.02, 0.05, 0.15], size=len(rows)))
        scored = [(groups[0], scores(groups[0])), (new, new_scores)]
        scored += [(refined := self._candidates(near), scores(refined))]
        candidates, score = max(scored, key=lambda pair: pair[1].max(initial=-math.inf))
        if score.max(initial=-math.inf) == -math.inf:
            return None
        i = int(np.argmax(score))
        if candidates.row[i] >= 0:
            return Continue(self._history.numbers[candidates.row[i]], float(candidates.next[i]))
        return Begin(self.encoding.values(candidates.units[i]), float(candidates.next[i]))
