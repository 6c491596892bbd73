"""Which trial to train next, and how far."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from fmnist_tune.engine.blas import one_thread
from fmnist_tune.engine.candidates import MARGIN, Candidates, epoch_after, epochs_of
from fmnist_tune.engine.cost import CostModel
from fmnist_tune.engine.curves import CurveModel
from fmnist_tune.engine.encoding import Encoding
from fmnist_tune.engine.fit import CurveFit
from fmnist_tune.engine.history import History
from fmnist_tune.engine.lesson import Lesson, Lessons
from fmnist_tune.engine.plateau import decide_by_rank
from fmnist_tune.engine.reason import forecast
from fmnist_tune.engine.settings import Settings
from fmnist_tune.engine.state import Begin, Continue, Reason, SearchState

Array = NDArray[np.float64]
Ints = NDArray[np.int64]

N_NEIGHBOURS = 20

# Expected seconds of an epoch of some configurations, NaN if unknown; what matters is how they compare.
KnownSeconds = Callable[[Sequence[Mapping[str, Any]]], Sequence[float] | Array]


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
        lessons: Sequence[Lesson] = (),
        settings: Settings | None = None,
    ) -> None:
        """Prepare decisions about a space.

        Args:
            encoding: of the space.
            max_epochs: of the longest training.
            seed: of the study.
            partial: shares of the first epoch after which a trial may be evaluated and paused, ascending.
            known_seconds: expected before any training, of any unit.
            lessons: of earlier studies.
            settings: of the search.
        """
        self.encoding = encoding
        self.max_epochs = max_epochs
        self.seed = seed
        self.partial = tuple(partial)
        self.settings = settings or Settings()
        self._history = History(encoding, max_epochs)
        self._lessons = Lessons(lessons, encoding) if lessons else None
        earlier = self._lessons.seconds() if self._lessons else ()
        self._cost = CostModel(len(encoding.groups), self._known(known_seconds), earlier)
        self._fit = CurveFit(self._history, encoding, self.settings, self._lessons)

    def _known(self, known_seconds: KnownSeconds | None) -> tuple[Array, Array] | None:
        if known_seconds is None:
            return None
        units = self.encoding.draw(np.random.default_rng([self.seed, 1]), self.settings.n_known)
        seconds = np.asarray(known_seconds([self.encoding.values(row) for row in units]))
        is_known = np.isfinite(seconds)
        return self.encoding.features(units[is_known]), np.log(np.maximum(seconds[is_known], 1e-9))

    @one_thread()
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
        model = self._fit.model()
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
        """Begin a configuration far from the others, and cheap: seconds count for much while nothing is known.

        Where lessons know of good ones, one of those.
        """
        units = self.encoding.draw(rng, self.settings.n_new)
        if self._lessons:
            units = np.concatenate([units, self._lessons.best(rng)])
        features = self.encoding.features(units)
        log_s = self._cost.log_s(features)
        score = -0.5 * (log_s - log_s.min())
        if self._lessons:
            score += self.settings.lesson_weight * self._lessons.ends(features)
        if state.trials:
            others = self._history.features
            squared = ((features[:, None] - others[None]) ** 2).sum(2).min(1)
            score += 0.5 * np.log(squared + 1e-12)
        return Begin(self.encoding.values(units[int(np.argmax(score))]), epoch_after(0, self.partial), Reason("spread"))

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
        features = self.encoding.features(units)
        return Candidates(
            units=units,
            features=features,
            row=np.full(len(units), -1),
            epoch=np.zeros(len(units)),
            next=np.full(len(units), epoch_after(0, self.partial)),
            epochs=epochs_of(self.encoding, units, self.max_epochs),
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
        taught = [self._lessons.best(rng)] if self._lessons else []
        return np.concatenate([uniform, near, *taught])

    def _to_its_end(self, paused: Candidates, model: CurveModel, state: SearchState) -> Continue | None:
        """Return the trial expected to end best among those that still can, when there is time for little else."""
        if state.left_s is None or not self.settings.n_to_end:
            return None
        paused = paused.take(np.flatnonzero(MARGIN * paused.needed_s <= state.left_s))
        if not len(paused.row):
            return None
        needed_s = MARGIN * paused.needed_s
        mean, sd = paused.ends(model, self._history)
        # One that takes long is to be better by its uncertainty than one that can wait: meanwhile others are tried.
        i = int(np.argmax(mean - sd * needed_s / state.left_s))
        step_s = (paused.next[i] - paused.epoch[i]) * math.exp(paused.log_s[i])
        if state.left_s > self.settings.n_to_end * needed_s[i] + MARGIN * step_s:
            return None
        end = float(paused.epochs[i])
        reason = Reason("end", forecast(paused.take(np.array([i])), end, model, self._history))
        return Continue(self._history.numbers[paused.row[i]], end, reason)

    def _promising(self, paused: Candidates, model: CurveModel) -> Candidates:
        """Return the trials that may become the best; if none has come to its end, the best of them at least."""
        if not len(paused.row):
            return paused
        mean, sd = paused.ends(model, self._history)
        kept = np.flatnonzero(ndtr((mean - self._history.best_z) / sd) >= self.settings.chance)
        if not len(kept) and not self._history.is_any_finished:
            kept = np.array([int(np.argmax(mean))])
        return paused.take(kept)

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
        chosen = candidates.take(np.array([np.argmax(score)]))
        until = float(chosen.horizons(left_s=state.left_s, horizon=horizon)[0][0])
        reason = Reason("leap" if is_stalled else "gain", forecast(chosen, until, model, self._history))
        if chosen.row[0] >= 0:
            return Continue(self._history.numbers[chosen.row[0]], float(chosen.next[0]), reason)
        return Begin(self.encoding.values(chosen.units[0]), float(chosen.next[0]), reason)
