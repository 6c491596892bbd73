"""What a study says: counts, best trial, which parameters mattered, what to look at next. Numbers only; no printing."""

from __future__ import annotations

import math
import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from fmnist_tune.config.domain import ChoiceDomain, Domain
from fmnist_tune.errors import UserError
from fmnist_tune.study.layout import StudyPaths
from fmnist_tune.study.record import TAKEN_FROM_KEY, StudyRecord
from fmnist_tune.study.sampling import values_of
from fmnist_tune.study.trial_data import facts_of, is_initial, looks_of
from fmnist_tune.tasks.objective import Objective
from fmnist_tune.tasks.task import Task
from fmnist_tune.units import percent

EDGE_SHARE = 0.05  # of a range, in the scale that it is searched on
MIN_TRIALS_FOR_IMPORTANCE = 10
BEST_SHARE, MIN_BEST = 0.1, 5  # the best trials of which importances tell; with fewer they would be chance

STATE_NAMES = {
    TrialState.COMPLETE: "complete",
    TrialState.PRUNED: "pruned",
    TrialState.FAIL: "failed",
    TrialState.RUNNING: "running",
    TrialState.WAITING: "waiting",
}
PAUSED = "paused"  # how a trial that can go on is called on screens; in JSON it is waiting


def on_screen(state: str) -> str:
    """Return what people read for a trial's state."""
    return PAUSED if state == STATE_NAMES[TrialState.WAITING] else state


@dataclass(frozen=True)
class Highest:
    """The highest validation accuracy that any trial had, trained to its end or not.

    Attributes:
        value: in [0, 1].
        number: the trial's.
        epoch: after which it had it; below 1 the share of the first one, where no trial has ended an epoch.
    """

    value: float
    number: int
    epoch: float

    @property
    def text(self) -> str:
        """The same for people."""
        return f"{percent(self.value)} (trial {self.number}, epoch {round(self.epoch, 2):g})"


@dataclass(frozen=True)
class Importances:
    """By which parameters the best trials differ from all.

    Attributes:
        shares: by dotted path, largest first; they add up to 1.
        of: by what trials are the best.
        n_best, n_trials: how many they are, of how many that have it.
    """

    shares: dict[str, float]
    of: str
    n_best: int
    n_trials: int

    @property
    def meaning(self) -> str:
        """What the shares are, for people."""
        return f"what sets the best {self.n_best} of {self.n_trials} trials apart, by {self.of}"


@dataclass(frozen=True)
class Summary:
    """A study at one moment.

    Attributes:
        paths: of the study.
        counts: trials by state: complete, pruned, failed, running, waiting (can go on) and total.
        best: the best COMPLETE trial.
        best_values: its searched values, by dotted path.
        architecture: what its model, or a recipe's, says of itself; None without one.
        n_sampled: how many trials the sampler drew; the others are initial points, or taken from another study.
        n_sampled_complete: how many of them were trained to their ends.
        edges: what to say about values of the best trial that lie at the edge of their range.
        importances: None while there are too few trials.
        failures: reasons, with how often.
        retrained: what the latest retraining gave, as `metrics.json` has it; None before there is one.
        task: what the study learns.
        is_recipe: whether nothing is searched.
        test_uses: every opening of the test set for this study, as `StudyRecord.test_uses` has them.
        highest: None before any trial was looked at.
    """

    paths: StudyPaths
    counts: dict[str, int]
    n_target: int
    best: FrozenTrial | None
    best_values: dict[str, Any]
    architecture: str | None
    n_sampled: int
    n_sampled_complete: int
    edges: tuple[str, ...]
    importances: Importances | None
    failures: dict[str, int]
    retrained: dict[str, Any] | None
    test_uses: tuple[Mapping[str, Any], ...]
    task: Task
    is_recipe: bool
    highest: Highest | None

    @property
    def objective(self) -> Objective:
        """What the study maximises."""
        return self.task.objective

    @property
    def study(self) -> str:
        """The study's name."""
        return self.paths.name

    @property
    def is_best_initial(self) -> bool:
        """Whether the best trial is an initial point; False if there is none."""
        return self.best is not None and is_initial(self.best)


def common_failure(record: StudyRecord) -> str | None:
    """Return why a study's trials failed, most often; None unless all have failed."""
    trials = record.trials
    if not trials or any(t.state != TrialState.FAIL for t in trials):
        return None
    ((reason, n), *_) = Counter(facts_of(t).get("reason", "unknown") for t in trials).most_common()
    if len(trials) == 1:
        return f"the only trial failed: {reason}"
    return f"all {len(trials)} trials failed" + (f", {n} of them" if n < len(trials) else "") + f": {reason}"


def summarize(record: StudyRecord, *, is_driven: bool) -> Summary:
    """Sum up a study; without a process that drives it, what was running waits."""
    trials = record.trials
    best = record.best
    values = values_of(best.params, record.space) if best is not None else {}
    sampled = [t for t in trials if not is_initial(t) and TAKEN_FROM_KEY not in t.user_attrs]
    return Summary(
        record.paths,
        count_states(trials, is_driven=is_driven),
        record.n_target,
        best,
        values,
        _architecture(record, values) if best is not None or record.is_recipe else None,
        len(sampled),
        sum(t.state == TrialState.COMPLETE for t in sampled),
        tuple(_edges(record, values)),
        importances_of(record),
        dict(
            Counter(
                str(facts_of(t).get("reason", "unknown")) for t in trials if t.state == TrialState.FAIL
            ).most_common()
        ),
        record.retrained,
        tuple(record.test_uses),
        record.space.task,
        record.is_recipe,
        highest_of(trials),
    )


def _architecture(record: StudyRecord, values: Mapping[str, Any]) -> str | None:
    with suppress(UserError):  # an older version may have allowed what this one does not
        return record.space.config(values).model.describe()
    return None


def highest_of(trials: Sequence[FrozenTrial]) -> Highest | None:
    """Return the highest validation accuracy, the first of equals; None before any trial was looked at.

    Looks within the first epoch are at a sample of the validation split: they count where no trial has ended an epoch.
    """
    for curve in (lambda trial: trial.intermediate_values, looks_of):
        points = [Highest(value, t.number, epoch) for t in trials for epoch, value in curve(t).items()]
        if points:
            return max(points, key=lambda p: (p.value, -p.number, -p.epoch))
    return None


def count_states(trials: list[FrozenTrial], *, is_driven: bool) -> dict[str, int]:
    """Count trials by state, and in total; without a process that drives the study, what was running waits."""
    names = STATE_NAMES if is_driven else STATE_NAMES | {TrialState.RUNNING: "waiting"}
    counts = Counter(names[t.state] for t in trials)
    return {name: counts[name] for name in STATE_NAMES.values()} | {"total": len(trials)}


def opened_text(n_uses: int) -> str:
    """Return how often the test set has been opened for a study, as a sentence without its full stop."""
    if not n_uses:
        return "the test set has never been opened for this study"
    return f"the test set has been opened {'once' if n_uses == 1 else f'{n_uses} times'} for this study"


def uses_text(uses: Sequence[Mapping[str, Any]]) -> str:
    """Return as a sentence how often the test set has been opened for a study, and by which commands."""
    text = opened_text(len(uses))
    commands = Counter(str(use["command"]) for use in uses)
    listed = f" ({', '.join(f'{command} {n}' for command, n in commands.items())})" if uses else ""
    return f"{text[0].upper()}{text[1:]}{listed}."


def importances_of(record: StudyRecord) -> Importances | None:
    """Return by which parameters the best trials of a study differ from all; None while there are too few trials."""
    if record.objective.is_on_curve:
        return parameter_importances(record.trials)
    return value_importances(record.trials)


def parameter_importances(trials: list[FrozenTrial]) -> Importances | None:
    """Compare trials by the accuracy after the latest epoch that enough of them reached."""
    curves = [t for t in trials if t.intermediate_values]
    epochs = sorted({epoch for t in curves for epoch in t.intermediate_values}, reverse=True)
    for epoch in epochs:
        reached = [(t, t.intermediate_values[epoch]) for t in curves if epoch in t.intermediate_values]
        if len(reached) >= MIN_TRIALS_FOR_IMPORTANCE:
            return _importances(reached, f"accuracy after epoch {epoch}")
    return None


def value_importances(trials: list[FrozenTrial]) -> Importances | None:
    """Compare COMPLETE trials by their values, where a trial that ends early is a good one."""
    ended = [(t, t.value) for t in trials if t.state == TrialState.COMPLETE and t.value is not None]
    return _importances(ended, "the result") if len(ended) >= MIN_TRIALS_FOR_IMPORTANCE else None


def _importances(valued: list[tuple[FrozenTrial, float]], of: str) -> Importances | None:
    """Tell what distinguishes the best trials, by PED-ANOVA (Watanabe et al. 2023, arXiv 2304.10255)."""
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
        except (RuntimeError, ValueError):  # all trials alike
            return None
    total = sum(shares.values())
    if not shares or not math.isfinite(total) or total <= 0:
        return None
    return Importances({path: share / total for path, share in shares.items()}, of, n_best, len(valued))


def edge_of(domain: Domain, value: Any) -> str | None:
    """Return "lower" or "upper" if a value lies within 5 % of an end of its range that could be moved.

    Choices have no ends; a lower end of 0 cannot be moved, since rates, shares and probabilities are not negative.
    """
    if isinstance(domain, ChoiceDomain) or domain.low == domain.high:
        return None
    if domain.step is not None and domain.high - domain.low < 2 * domain.step:  # two values: each is an end
        return None
    low, high, at = (math.log(x) if domain.log else float(x) for x in (*domain.ends(), value))
    share = (at - low) / (high - low)
    if share <= EDGE_SHARE:
        return None if domain.low == 0 else "lower"
    return "upper" if share >= 1 - EDGE_SHARE else None


def _edges(record: StudyRecord, values: Mapping[str, Any]) -> list[str]:
    lines = []
    for parameter in record.space.parameters:
        if parameter.path not in values:
            continue
        edge = edge_of(parameter.domain, values[parameter.path])
        if edge is not None:
            value = values[parameter.path]
            shown = f"{value:.3g}" if isinstance(value, float) else value
            lines.append(
                f"{parameter.path} = {shown} is at the {edge} end of {parameter.domain}; "
                "a wider range may hold better values"
            )
    return lines
