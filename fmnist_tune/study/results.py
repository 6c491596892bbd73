"""Statements about a retraining and the test set, each worded once for every output."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from fmnist_tune.document.blocks import Block, Finding, Note, Section, Table
from fmnist_tune.evaluation import MIN_FOR_INTERVAL, ClassSpread, SeedStats
from fmnist_tune.study.layout import StudyPaths
from fmnist_tune.tasks.objective import Objective
from fmnist_tune.units import percent

if TYPE_CHECKING:
    from fmnist_tune.tasks.task import Task

N_WEAKEST = 3


def result_section(
    task: Task, metrics: Mapping[str, Any], uses: Sequence[Mapping[str, Any]], n_trials: int, *, is_full: bool = False
) -> Section:
    """Return the result of a retraining, or of a recipe's training.

    Args:
        task: the task.
        metrics: as in metrics.json; an older study may lack some.
        uses: every opening of the test set.
        n_trials: of the search.
        is_full: include all details, with a table of the classes.
    """
    title = "the recipe retrained" if metrics["trial"] is None else f"trial {metrics['trial']} retrained"
    result = metrics[task.result_key]
    blocks: list[Block] = [f"{task.result_name} {task.spread_text(result)}"]
    if compares_validation(task) and metrics.get("val_accuracy") is not None:
        blocks.append(validation_text(metrics["val_accuracy"], result["mean"], n_trials))
    if is_full:
        about = f"{metrics['epochs']} {task.epoch}s, {_seeds(len(metrics['seeds']))}, {metrics['params']:,} parameters"
        blocks += [about, *task.result_details(metrics)]
    if "per_class" in metrics:
        blocks.append(classes_text(recalls_of(metrics["per_class"])))
    blocks += openings(uses) if task.has_test else ()
    return Section(title, [*blocks, *([Note(f"model: {metrics['model']}")] if is_full else [])])


def compares_validation(task: Task) -> bool:
    """Return whether the figure of a retraining and the objective of its trial can be set beside each other."""
    return task.has_test and task.compares_validation and task.objective.metric == Objective.metric


def _seeds(n: int) -> str:
    return f"{n} seed{'s' if n > 1 else ''}"


def val_vs_test(
    test: SeedStats, *, val: float | None, trial: int | None, best: int | None, n_trials: int, paths: StudyPaths
) -> list[Finding]:
    """Compare validation and test accuracy.

    Args:
        test: accuracy over seeds.
        val: accuracy of the retrained trial in the search; None for a recipe, or if the search did not complete it.
        trial: that trial; None for a recipe.
        best: the best trial; None if there is none.
        n_trials: of the search.
        paths: of its study.
    """
    reaches = f"reaches {percent(test.mean)} on the test set ({test.certainty()})"
    if trial is None:
        return [Finding(f"The recipe {reaches}.")]
    if val is None:
        found = Finding(f"Trial {trial}, which the search did not train to its end, {reaches}.")
    else:
        text = validation_text(val, test.mean, n_trials)
        found = Finding(f"Trial {trial}, retrained with {_seeds(len(test.values))}, {reaches}; {text}.")
    if best is None or best == trial:
        return [found]
    text = f"The retrained model is of trial {trial}, but the best trial is {best}"
    return [found, Finding(f"{text}; `{paths.command('retrain')}` retrains that one.", is_warning=True)]


def validation_text(val: float, test: float, n_trials: int) -> str:
    """Return how to interpret a validation accuracy compared with the test accuracy."""
    text = f"validation, {percent(val)}, was {points(val - test)}"
    why = f"since the best of {n_trials:,} trials was chosen by it"
    if points(val - test) == points(0):
        return f"validation, {percent(val)}, was the same, although it is optimistic by design, {why}"
    if val > test:
        return f"{text} higher: it is optimistic by design, {why}"
    return (
        f"{text} lower, although it is optimistic by design, {why}: the retrained model has learned from the "
        "validation images too"
    )


def points(difference: float) -> str:
    """Return a difference of accuracies in percentage points, without its sign."""
    return f"{abs(100 * difference):.2f} points"


def over_seeds(n: int) -> str:
    """Return the description of the classes' figures."""
    if n == 1:
        return "of one seed"
    around = "the values of both" if n < MIN_FOR_INTERVAL else "the 95 % interval of the mean (Student's t)"
    return f"mean over {n} seeds, with {around}"


def class_table(classes: Mapping[str, ClassSpread]) -> Table:
    """Return precision, recall and F1 of each class in percent, with their known spread over seeds."""
    figures = ((name, (c.precision, c.recall, c.f1), c.support) for name, c in classes.items())
    rows = [(name, *map(_share_cell, shares), f"{support:,}") for name, shares, support in figures]
    header = ("class", "precision, %", "recall, %", "F1, %", "support")
    return Table(header, rows, optional=(("support",), ("precision, %",)))


def _share_cell(figure: SeedStats | None) -> str:
    """Return a share in percent with half its interval, or with both values of two seeds."""
    if figure is None:
        return "-"
    mean = f"{100 * figure.mean:.1f}"
    if figure.extent is None:
        return mean
    low, high = figure.extent
    if len(figure.values) < MIN_FOR_INTERVAL:
        return f"{mean} ({100 * low:.1f}, {100 * high:.1f})"
    return f"{mean} ± {100 * max(figure.mean - low, high - figure.mean):.1f}"  # an interval cut at 100 % is wider below


def recalls_of(per_class: Mapping[str, Mapping[str, Any]]) -> dict[str, float | None]:
    """Return the recall of each class from `metrics.json`, None without images; older files have 0 there."""
    return {
        name: figures["recall"] if figures.get("support", 1) else None
        for name, figures in per_class.items()
        if "recall" in figures
    }


def weakest_classes(recalls: Mapping[str, float | None]) -> list[tuple[str, float]]:
    """Return the classes of lowest recall, the lowest first: three, or fewer if that were most of them.

    Args:
        recalls: by class; classes without images (None) are left out.
    """
    known = [(name, recall) for name, recall in recalls.items() if recall is not None]
    return sorted(known, key=lambda item: item[1])[: max(1, min(N_WEAKEST, len(known) // 2))]


def classes_text(recalls: Mapping[str, float | None]) -> str:
    """Return in sentences the weakest classes, and those without test images."""
    named = ", ".join(f"{name} {percent(recall, 1)}" for name, recall in weakest_classes(recalls))
    sentences = [f"Weakest classes by recall: {named}."] if named else []
    untested = [name for name, recall in recalls.items() if recall is None]
    if untested:
        sentences.append(f"{untested_text(untested)}.")
    return " ".join(sentences)


def untested_text(names: Sequence[str]) -> str:
    """Return the sentence, without a full stop, that the test set has no images of some classes."""
    they = "they are" if len(names) > 1 else "it is"
    return f"The test set has no images of {', '.join(names)}: how well {they} recognised is not known"


def openings(uses: Sequence[Mapping[str, Any]]) -> list[Finding]:
    """Return how often the test set was opened, and by which commands."""
    commands = Counter(str(use["command"]) for use in uses)
    listed = f" ({', '.join(f'{command} {n}' for command, n in commands.items())})" if uses else ""
    text = f"{opened_text(len(uses))}{listed}"
    trials = sorted({use["trial"] for use in uses if use["trial"] is not None})
    if len(trials) < 2:
        return [Finding(text)]
    judged = f"It has judged {len(trials)} trials ({', '.join(map(str, trials))})"
    text += f". {judged}: choosing between them by it makes its figure optimistic too."
    return [Finding(text, is_warning=True)]


def opened_text(n_uses: int) -> str:
    """Return how often the test set has been opened for a study."""
    if not n_uses:
        return "the test set has never been opened for this study"
    return f"the test set has been opened {'once' if n_uses == 1 else f'{n_uses} times'} for this study"


def spread_text(figure: Mapping[str, Any]) -> str:
    """Return a figure over seeds from `metrics.json` as text: mean, standard deviation and interval."""
    known = SeedStats.from_json(figure)
    std = "" if known.std is None else f" ± {percent(known.std)}"
    return f"{percent(known.mean)}{std} ({known.certainty()})"
