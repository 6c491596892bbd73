"""What a report says in words, asked or not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fmnist_tune.evaluation import SeedStats, classes_text
from fmnist_tune.report.model_info import ClassFigures, ConfusionInfo, ReliabilityInfo, RobustnessInfo
from fmnist_tune.report.page import Finding
from fmnist_tune.report.study_info import Climb
from fmnist_tune.study.layout import StudyPaths
from fmnist_tune.study.summary import Summary, uses_text
from fmnist_tune.units import percent

MANY_FAILED = 0.05
SHOWN_REASONS = 3


def points(difference: float) -> str:
    """Return a difference of accuracies in percentage points, without its sign."""
    return f"{abs(100 * difference):.2f} points"


def promise(
    test: SeedStats, *, val: float | None, trial: int | None, best: int | None, n_trials: int, paths: StudyPaths
) -> list[Finding]:
    """Set what the search promised beside what the test set gave.

    Args:
        test: accuracy over seeds.
        val: accuracy of the retrained trial in the search; None for a recipe, or where the search did not train it to
            its end.
        trial: that trial; None for a recipe.
        best: the best trial; None if there is none.
        n_trials: of the search.
        paths: of its study.
    """
    seeds = f"{len(test.values)} seed{'s' if len(test.values) > 1 else ''}"
    how = test.certainty()
    if trial is None:
        return [Finding(f"The recipe reaches {percent(test.mean)} on the test set ({how}).")]
    other = _other_is_best(trial, best, paths)
    if val is None:
        text = f"Trial {trial}, which the search did not train to its end, reaches {percent(test.mean)} on the test set"
        return [Finding(f"{text} ({how})."), *other]
    gap = val - test.mean
    chosen = f"the best of {n_trials:,} trials was chosen by it"
    text = (
        f"Trial {trial} reached {percent(val)} on the validation images; retrained with {seeds}, it reaches "
        f"{percent(test.mean)} on the test set ({how}). "
    )
    if gap >= 0:
        text += f"Validation was {points(gap)} higher: it is optimistic by design, since {chosen}."
    else:
        text += (
            f"Validation was {points(gap)} lower, although it is optimistic by design, since {chosen}: "
            "the retrained model has learned from the validation images too."
        )
    return [Finding(text), *other]


def _other_is_best(trial: int, best: int | None, paths: StudyPaths) -> list[Finding]:
    if best is None or best == trial:
        return []
    text = f"The retrained model is of trial {trial}, but the best trial is {best}"
    return [Finding(f"{text}; `{paths.command('retrain')}` retrains that one.", is_warning=True)]


def no_model(best: tuple[int, float] | None, paths: StudyPaths) -> list[Finding]:
    """Say what there is while no model has been retrained; `best` is the best trial's number and accuracy."""
    if best is None:
        return [Finding("No trial has been trained to its end yet, so there is no best trial.", is_warning=True)]
    return [
        Finding(
            f"Best trial {best[0]}: {percent(best[1])} on the validation images. That is optimistic: "
            "it was chosen by this figure."
        ),
        Finding(
            f"No model has been retrained yet and the test set was not opened for this report; "
            f"`{paths.command('retrain')}` adds test accuracy, per-class figures and the rest.",
        ),
    ]


def progress(summary: Summary, *, is_running: bool, is_retrained: bool) -> list[Finding]:
    """Say whether the study is whole.

    Args:
        summary: of the study.
        is_running: whether a living process drives it.
        is_retrained: whether what that process does is retraining.
    """
    counts = summary.counts
    if is_retrained:
        return [Finding("A configuration of the study is being retrained: figures on the test set may change.")]
    if is_running:
        text = f"The search is still under way ({counts['total']} of {summary.n_target} trials): figures may change."
        return [Finding(text, is_warning=True)]
    n_open = counts["waiting"]
    n_missing = max(0, summary.n_target - counts["total"])
    if not n_open and not n_missing:
        return []
    waiting = f", {n_open} of which can go on" if n_open else ""
    return [
        Finding(
            f"The study has {counts['total']} of {summary.n_target} trials{waiting}; "
            f"`{summary.paths.command('resume')}` goes on."
        )
    ]


def initial_point(summary: Summary) -> list[Finding]:
    """Say that the sampler found nothing better than what the study began with, if that is so."""
    if summary.best is None or not summary.is_best_initial:
        return []
    n, n_complete = summary.n_sampled, summary.n_sampled_complete
    text = f"Trial {summary.best.number} was an initial point (`search.initial`), not sampled."
    return [Finding(f"{text} Sampled trials: {n:,}, trained to the end: {n_complete:,}, better: 0.")]


def edges(summary: Summary) -> list[Finding]:
    """Say whether the best point lies at an end of a range."""
    if summary.best is None:
        return []
    if not summary.edges:
        return [Finding("The best trial lies at no end of a range that could be widened.")]
    return [Finding(f"Range edge: {line}.", is_warning=True) for line in summary.edges]


def failures(summary: Summary) -> list[Finding]:
    """Say what share of the trials failed, and why."""
    n, total = summary.counts["failed"], summary.counts["total"]
    if not n:
        return [Finding("No trial failed.")]
    reasons = [f"`{reason.replace('`', chr(39))}` ({k} times)" for reason, k in summary.failures.items()]
    more = len(reasons) - SHOWN_REASONS
    shown = ", ".join(reasons[:SHOWN_REASONS]).replace("(1 times)", "(once)")
    others = f", and {more} other reason{'s' if more > 1 else ''} (trials.csv)" if more > 0 else ""
    return [
        Finding(
            f"{n:,} of {total:,} trials failed ({percent(n / total, 1)}): {shown}{others}.",
            is_warning=n / total > MANY_FAILED,
        )
    ]


def climbing(climb: Climb | None, schedule: str) -> list[Finding]:
    """Say whether the best curves still climb; `schedule` is the best trial's."""
    if climb is None:
        return [Finding("No trial that was trained to its end has three epochs, too few to say whether curves climb.")]
    n = len(climb.trials)
    who = f"The best {n} trials" if n > 1 else f"Trial {climb.trials[0]}"
    if not climb.is_climbing:
        return [
            Finding(
                f"{who} no longer climb{'s' if n == 1 else ''}: {100 * climb.gain:+.2f} points over the last third "
                f"of {climb.epochs} epochs."
            )
        ]
    anneals = schedule in ("one_cycle", "cosine")
    caution = (
        f" (`{schedule}` lowers the learning rate to nothing at the end, where every curve climbs; try it)"
        if anneals
        else ""
    )
    return [
        Finding(
            f"{who} still climbed {points(climb.gain)} over the last third of {climb.epochs} epochs: "
            f"a larger `training.epochs` may help{caution}.",
            is_warning=not anneals,
        )
    ]


def classes(figures: Sequence[ClassFigures], confusion: ConfusionInfo) -> list[Finding]:
    """Name the weakest classes, those without test images, and the most frequent mistake."""
    true, predicted, share = confusion.most_confused()
    text = classes_text({c.name: None if c.recall is None else c.recall.mean for c in figures})
    if share:
        text += f" Most frequent mistake: {percent(share, 1)} of class {true} are taken for {predicted}."
    return [Finding(text)]


def calibrated(info: ReliabilityInfo) -> list[Finding]:
    """Say whether the model is as sure as it is right."""
    pooled = info.pooled
    filled = pooled.count > 0
    gap = float(((pooled.confidence - pooled.accuracy)[filled] * pooled.count[filled]).sum() / pooled.count.sum())
    way = "more" if gap > 0 else "less"
    return [
        Finding(
            f"Confidence is off by {points(info.ece.mean)} on average (expected calibration error); "
            f"overall the model is {points(gap)} {way} sure than right."
        )
    ]


def robust(info: RobustnessInfo | None) -> list[Finding]:
    """Name the corruption that hurts most and the one that hurts least."""
    if info is None:
        return []
    last = {name: values[-1] for name, values in info.accuracies.items()}
    worst, mildest = min(last, key=last.__getitem__), max(last, key=last.__getitem__)
    return [
        Finding(
            f"Robustness: from {percent(info.clean, 1)} on unchanged test images, accuracy falls to "
            f"{percent(last[worst], 1)} under the strongest {worst} and to {percent(last[mildest], 1)} under the "
            f"strongest {mildest}."
        )
    ]


def test_uses(uses: Sequence[Mapping[str, Any]]) -> list[Finding]:
    """Say how often the test set was opened, and by which commands."""
    text = uses_text(uses)
    trials = sorted({use["trial"] for use in uses if use["trial"] is not None})
    if len(trials) > 1:
        text += (
            f" It has judged {len(trials)} trials ({', '.join(map(str, trials))}): "
            "choosing between them by it makes its figure optimistic too."
        )
    return [Finding(text, is_warning=len(trials) > 1)]
