"""A snapshot of a study, as numbers and as JSON: counts, best trial, important parameters."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Any

from optuna.trial import FrozenTrial, TrialState

from fmnist_tune.config import SearchSpace
from fmnist_tune.config.domain import ChoiceDomain, Domain
from fmnist_tune.errors import UserError
from fmnist_tune.study.decisions import PredictedEnds, decisions_of, predicted_ends
from fmnist_tune.study.importances import Importances, MainEffects, importances_of, main_effects_of
from fmnist_tune.study.layout import StudyPaths
from fmnist_tune.study.lessons import lessons_in
from fmnist_tune.study.recipes import best_as_data
from fmnist_tune.study.record import TAKEN_FROM_KEY, StudyRecord
from fmnist_tune.study.retraining import retraining_status
from fmnist_tune.study.sampling import values_of
from fmnist_tune.study.trial_data import curve_of, is_initial, latest_of, metadata_of
from fmnist_tune.tasks.objective import Objective
from fmnist_tune.tasks.task import Task

EDGE_SHARE = 0.05  # of a range, in the scale that it is searched on
# of metrics.json: what a list of studies says of a retraining, beside the task's result and its end
RESULT_KEYS = ("trial", "seeds", "epochs", "test_accuracy", "steps_to_solve")

STATE_NAMES = {
    TrialState.COMPLETE: "complete",
    TrialState.PRUNED: "pruned",
    TrialState.FAIL: "failed",
    TrialState.RUNNING: "running",
    TrialState.WAITING: "waiting",
}
PAUSED = "paused"  # a trial that can resume, on screens; in JSON it is waiting


def on_screen(state: str) -> str:
    """Return a trial's state as shown on screens."""
    return PAUSED if state == STATE_NAMES[TrialState.WAITING] else state


@dataclass(frozen=True)
class Highest:
    """The highest validation accuracy of any trial, complete or not.

    Attributes:
        value: in [0, 1].
        number: the trial's.
        epoch: at which it was measured; below 1, a share of the first one, if no trial has ended an epoch.
    """

    value: float
    number: int
    epoch: float

    def text(self, objective: Objective) -> str:
        """Return the same for people."""
        return f"{objective.curve_text(self.value)} (trial {self.number}, epoch {round(self.epoch, 2):g})"


@dataclass(frozen=True)
class Summary:
    """A snapshot of a study.

    Attributes:
        paths: of the study.
        counts: trials by state: complete, pruned, failed, running, waiting (can resume) and total.
        best: the best COMPLETE trial.
        best_values: its searched values, by dotted path.
        searched: range or choices of every searched parameter, by dotted path.
        architecture: its model's, or a recipe's, description; None without one.
        n_sampled: number of sampled trials; the others are initial points, or imported from another study.
        n_sampled_complete: how many of them are complete.
        edges: statements on the best trial's values at the edge of their range.
        importances: None for too few trials.
        main_effects: None likewise, and for other schedulers than freeze-thaw.
        predicted_ends: how good freeze-thaw's predictions were; None for too few trials trained to their ends.
        failures: reasons, with counts.
        retrained: the latest retraining's result, as in `metrics.json`; None without one.
        task: the task.
        is_recipe: whether nothing is searched.
        test_uses: every opening of the test set for this study, as in `RetrainingRecord.test_uses`.
        highest: None before any evaluation.
        learned_from: earlier studies whose lessons it has.
    """

    paths: StudyPaths
    counts: dict[str, int]
    n_target: int
    best: FrozenTrial | None
    best_values: dict[str, Any]
    searched: dict[str, str]
    architecture: str | None
    n_sampled: int
    n_sampled_complete: int
    edges: tuple[str, ...]
    importances: Importances | None
    main_effects: MainEffects | None
    predicted_ends: PredictedEnds | None
    failures: dict[str, int]
    retrained: dict[str, Any] | None
    test_uses: tuple[Mapping[str, Any], ...]
    task: Task
    is_recipe: bool
    highest: Highest | None
    learned_from: tuple[str, ...] = ()

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
    """Return the most common reason why a study's trials failed; None unless all failed."""
    trials = record.trials
    if not trials or any(t.state != TrialState.FAIL for t in trials):
        return None
    ((reason, n), *_) = Counter(metadata_of(t).get("reason", "unknown") for t in trials).most_common()
    if len(trials) == 1:
        return f"the only trial failed: {reason}"
    return f"all {len(trials)} trials failed" + (f", {n} of them" if n < len(trials) else "") + f": {reason}"


def summarize(record: StudyRecord, *, is_running: bool) -> Summary:
    """Summarise a study; if no process drives it, running trials count as waiting."""
    trials = record.trials
    best = record.best
    values = values_of(best.params, record.space) if best is not None else {}
    sampled = [t for t in trials if not is_initial(t) and TAKEN_FROM_KEY not in t.user_attrs]
    failures = Counter(str(metadata_of(t).get("reason", "unknown")) for t in trials if t.state == TrialState.FAIL)
    return Summary(
        paths=record.paths,
        counts=count_states(trials, is_running=is_running),
        n_target=record.quota.n_target,
        best=best,
        best_values=values,
        searched={p.path: str(p.domain) for p in record.space.parameters},
        architecture=_architecture(record, values) if best is not None or record.is_recipe else None,
        n_sampled=len(sampled),
        n_sampled_complete=sum(t.state == TrialState.COMPLETE for t in sampled),
        edges=tuple(_edges(record, values)),
        importances=importances_of(record),
        main_effects=main_effects_of(record),
        predicted_ends=predicted_ends(trials, record.space),
        failures=dict(failures.most_common()),
        retrained=record.retraining.result,
        test_uses=tuple(record.retraining.test_uses),
        task=record.space.task,
        is_recipe=record.is_recipe,
        highest=highest_of(trials),
        learned_from=tuple(lesson["study"] for lesson in lessons_in(record)),
    )


def _architecture(record: StudyRecord, values: Mapping[str, Any]) -> str | None:
    with suppress(UserError):  # an older version may have allowed values that this one does not
        return record.space.config(values).model.describe()
    return None


def highest_of(trials: Sequence[FrozenTrial]) -> Highest | None:
    """Return the highest validation accuracy, the first of equals; None before any evaluation.

    Evaluations within the first epoch, on a sample of the validation split, count only if no trial has ended an epoch.
    """
    points = [Highest(value, t.number, epoch) for t in trials for epoch, value in curve_of(t).items()]
    return max(points, key=lambda p: (p.epoch >= 1, p.value, -p.number, -p.epoch), default=None)


def count_states(trials: Sequence[FrozenTrial], *, is_running: bool) -> dict[str, int]:
    """Count trials by state, and in total; if no process drives the study, running trials count as waiting."""
    counts = Counter(state_name(trial, is_running=is_running) for trial in trials)
    return {name: counts[name] for name in STATE_NAMES.values()} | {"total": len(trials)}


def state_name(trial: FrozenTrial, *, is_running: bool) -> str:
    """Return a trial's state; if no process drives the study, a running trial counts as waiting."""
    if trial.state == TrialState.RUNNING and not is_running:
        return "waiting"
    return STATE_NAMES[trial.state]


def study_json(record: StudyRecord, *, is_running: bool) -> dict[str, Any]:
    """Return the part of the JSON object that `search` and `show` share."""
    trials, metrics = record.trials, record.retraining.result
    retraining = retraining_status(record, is_running=is_running)
    keys = dict.fromkeys((*RESULT_KEYS, record.space.task.result_key, "finished_at"))
    return {
        "trials": count_states(trials, is_running=is_running),
        "best": best_as_data(record),
        "highest": None if (highest := highest_of(trials)) is None else asdict(highest),
        "learned_from": [lesson["study"] for lesson in lessons_in(record)],
        "retraining": None if retraining is None else asdict(retraining),
        "retrained": None if metrics is None else {key: metrics[key] for key in keys if key in metrics},
    }


def trials_json(trials: Sequence[FrozenTrial], space: SearchSpace, *, is_running: bool) -> list[dict[str, Any]]:
    """Return trials as JSON data."""
    return [
        {
            "number": t.number,
            "state": state_name(t, is_running=is_running),
            "value": t.value,
            "epochs": len(t.intermediate_values),
            "latest": None if (latest := latest_of(t)) is None else asdict(latest),
            "params": values_of(t.params, space),
            "intermediate": {str(epoch): value for epoch, value in sorted(t.intermediate_values.items())},
            "decisions": [asdict(decision) for decision in decisions_of(t, space)],
            "attributes": metadata_of(t),
        }
        for t in trials
    ]


def model_json(record: StudyRecord) -> dict[str, Any]:
    """Return what `show` adds on the parameters, and on the predictions of freeze-thaw's model."""
    importances, effects = importances_of(record), main_effects_of(record)
    ends = predicted_ends(record.trials, record.space)
    return {
        "importances": None if importances is None else importances.shares,
        "main_effects": None if effects is None else effects.shares,
        "predicted_ends": None if ends is None else ends.to_json(),
    }


def edge_of(domain: Domain, value: Any) -> str | None:
    """Return "lower" or "upper" if a value lies within 5 % of an end of its range that could be extended.

    Choices have no ends; a lower end of 0 cannot be extended, since rates, shares and probabilities are not negative.
    """
    if isinstance(domain, ChoiceDomain) or domain.low == domain.high:
        return None
    if domain.step is not None and domain.high - domain.low < 2 * domain.step:  # with two values, each is an end
        return None
    low, high, at = (math.log(x) if domain.log else float(x) for x in (*domain.ends(), value))
    share = (at - low) / (high - low)
    if share <= EDGE_SHARE:
        return None if domain.low == 0 else "lower"
    return "upper" if share >= 1 - EDGE_SHARE else None


def _edges(record: StudyRecord, values: Mapping[str, Any]) -> Iterator[str]:
    for path, domain in ((p.path, p.domain) for p in record.space.parameters if p.path in values):
        edge = edge_of(domain, values[path])
        if edge is not None:
            shown = f"{values[path]:.3g}" if isinstance(values[path], float) else values[path]
            yield f"{path} = {shown} is at the {edge} end of {domain}; a wider range may hold better values"
