"""Which parameters distinguish the best trials of a study from all trials, and which ones freeze-thaw's model tells."""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from typing import ClassVar

import optuna
from optuna.trial import FrozenTrial, TrialState

from fmnist_tune.study.decisions import SCHEDULER
from fmnist_tune.study.lessons import lessons_in
from fmnist_tune.study.record import StudyRecord
from fmnist_tune.study.sampling import values_of
from fmnist_tune.study.trial_data import curve_of

MIN_TRIALS_FOR_IMPORTANCE = 10
BEST_SHARE, MIN_BEST = 0.1, 5  # the best trials that importances are computed from; fewer would give chance


@dataclass(frozen=True)
class Importances:
    """Which parameters distinguish the best trials from all.

    Attributes:
        name, method: of how they are computed, in short and in full.
        shares: by dotted path, largest first; they add up to 1.
        of: the figure by which trials are ranked.
        n_best, n_trials: number of best trials, and of all trials with that figure.
    """

    name: ClassVar[str] = "PED-ANOVA"
    method: ClassVar[str] = "PED-ANOVA; the shares add up to 100 %"
    shares: dict[str, float]
    of: str
    n_best: int
    n_trials: int

    @property
    def meaning(self) -> str:
        """What the shares mean, as text."""
        return f"what sets the best {self.n_best} of {self.n_trials} trials apart, by {self.of}"


@dataclass(frozen=True)
class MainEffects:
    """How much each parameter explains alone, by the model with which freeze-thaw decides.

    Attributes:
        name, method, meaning: of how they are computed, in short and in full, and what they mean.
        shares: by dotted path, largest first; together at most 1 but for rounding.
    """

    name: ClassVar[str] = "main effect"
    method: ClassVar[str] = (
        "main effect: first-order Sobol index of the log error; the rest up to 100 % is interactions"
    )
    meaning: ClassVar[str] = (
        "what a parameter explains alone of how the expected end varies over the whole space, by freeze-thaw's model"
    )
    shares: dict[str, float]


def main_effects_of(record: StudyRecord) -> MainEffects | None:
    """Return how much each parameter explains alone; None for another scheduler, too few trials or no differences."""
    space = record.space
    curves = [(t, {e: v for e, v in curve_of(t).items() if math.isfinite(v)}) for t in record.trials]
    seen = [(t, curve) for t, curve in curves if curve]
    if space.settings.search.pruner.name != SCHEDULER or len(seen) < MIN_TRIALS_FOR_IMPORTANCE:
        return None
    from fmnist_tune.engine import Encoding, Point, TrialState  # takes half a second
    from fmnist_tune.engine.effects import main_effects
    from fmnist_tune.engine.lesson import Lesson

    trials = [
        TrialState(
            t.number, values_of(t.params, space), tuple(Point(epoch, value, 0) for epoch, value in curve.items())
        )
        for t, curve in seen
    ]
    lessons = [Lesson(**lesson) for lesson in lessons_in(record)]
    shares = main_effects(Encoding(space.parameters, space.tree), trials, space.max_epochs, lessons)
    return None if shares is None else MainEffects(shares)


def importances_of(record: StudyRecord) -> Importances | None:
    """Return which parameters distinguish the best trials of a study from all; None for too few trials."""
    if record.objective.is_on_curve:
        return parameter_importances(record.trials)
    return value_importances(record.trials)


def parameter_importances(trials: list[FrozenTrial]) -> Importances | None:
    """Rank trials by the accuracy after the latest epoch that enough of them reached."""
    curves = [t for t in trials if t.intermediate_values]
    epochs = sorted({epoch for t in curves for epoch in t.intermediate_values}, reverse=True)
    for epoch in epochs:
        reached = [(t, t.intermediate_values[epoch]) for t in curves if epoch in t.intermediate_values]
        if len(reached) >= MIN_TRIALS_FOR_IMPORTANCE:
            return _importances(reached, f"accuracy after epoch {epoch}")
    return None


def value_importances(trials: list[FrozenTrial]) -> Importances | None:
    """Rank COMPLETE trials by their values, for tasks where an early end is good."""
    ended = [(t, t.value) for t in trials if t.state == TrialState.COMPLETE and t.value is not None]
    return _importances(ended, "the result") if len(ended) >= MIN_TRIALS_FOR_IMPORTANCE else None


def _importances(valued: list[tuple[FrozenTrial, float]], of: str) -> Importances | None:
    """Return the importances by PED-ANOVA (Watanabe et al. 2023, arXiv 2304.10255)."""
    n_best = max(MIN_BEST, round(BEST_SHARE * len(valued)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        study = optuna.create_study(direction="maximize")
        study.add_trials(
            [optuna.create_trial(params=t.params, distributions=t.distributions, value=value) for t, value in valued]
        )
        try:
            evaluator = optuna.importance.PedAnovaImportanceEvaluator(target_quantile=n_best / len(valued))
            shares = optuna.importance.get_param_importances(study, evaluator=evaluator, normalize=False)
        except (RuntimeError, ValueError):  # all trials are alike
            return None
    total = sum(shares.values())
    if not shares or not math.isfinite(total) or total <= 0:
        return None
    return Importances({path: share / total for path, share in shares.items()}, of, n_best, len(valued))
