"""Studies as tables for people and as JSON for programs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from optuna.trial import FrozenTrial, TrialState
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from fmnist_tune.evaluation import SeedStats, classes_text, recalls_of
from fmnist_tune.study.record import DONE, StudyRecord
from fmnist_tune.study.retraining import RetrainingStatus, retraining_status
from fmnist_tune.study.sampling import values_of
from fmnist_tune.study.summary import STATE_NAMES, Summary, count_states, highest_of, on_screen, uses_text
from fmnist_tune.study.trial_data import facts_of, latest_of
from fmnist_tune.units import percent

# of metrics.json: what a list of studies says of a retraining, besides its result
RESULT_KEYS = ("trial", "seeds", "epochs", "finished_at")
STATE_STYLES = {"complete": "green", "pruned": "dim", "failed": "red", "running": "cyan", "waiting": "yellow"}


def summary_view(
    summary: Summary,
    next_commands: Sequence[str],
    retraining: RetrainingStatus | None = None,
    *,
    ending: str | None = None,
) -> RenderableType:
    """Return what a person wants to know after a search, and of the latest retraining unless it is done.

    Args:
        summary: of the study.
        next_commands: that are suggested.
        retraining: how the latest one stands.
        ending: how long the search took, and why it ended.

    To be printed with `crop=False`: commands are not folded, so that they can be copied.
    """
    parts: list[RenderableType] = [Text("")]
    if ending is not None:
        parts.append(Text(ending, style="bold"))
    standing = standing_text(summary, retraining)
    if summary.is_recipe:
        parts.append(Text(f"study {summary.study}: a recipe; {standing or 'trained without a search'}", style="bold"))
    else:
        parts += _counts(summary)
        parts += _best(summary, summary.best) if summary.best is not None else []
        parts += [Text(f"  edge: {line}", style="yellow") for line in summary.edges]
        parts += [Text(standing, style="yellow")] if standing else []
    if summary.retrained is not None:
        what = "the recipe" if summary.is_recipe else f"trial {summary.retrained['trial']}"
        task = summary.task
        text = f"{task.result_name} {task.spread_text(summary.retrained[task.result_key])}"
        parts.append(Text(f"{what} retrained: {text}", style="bold green"))
        if "per_class" in summary.retrained:
            parts.append(Text(f"  {classes_text(recalls_of(summary.retrained['per_class']))}"))
            parts.append(Text(f"  {uses_text(summary.test_uses)}", style="dim"))
    if next_commands:
        parts.append(Text("next:", style="bold"))
        parts += [Text(f"  {command}", no_wrap=True, overflow="ignore") for command in next_commands]
    return Group(*parts)


def standing_text(summary: Summary, retraining: RetrainingStatus | None) -> str:
    """Return how a study's retraining, or its recipe's training, stands; empty if nothing is left to say or do."""
    if retraining is not None:
        return retraining.sentence(summary.paths)
    if summary.is_recipe and summary.retrained is None:
        return f"not trained yet; train it with: {summary.paths.command('retrain')}"
    return ""


def retraining_cell(record: StudyRecord, retraining: RetrainingStatus | None) -> str:
    """Return how a study's retraining stands and what the latest one gave, in a few words; empty before there is one.

    A recipe's says that it is not trained yet.
    """
    parts = []
    if retraining is not None and retraining.state != DONE:
        parts.append(", ".join(text for text in (retraining.state, retraining.progress) if text))
    metrics = record.retrained
    if metrics is not None:
        task = record.space.task
        parts.append(task.short_result(metrics[task.result_key]))
    elif not parts and record.is_recipe:
        parts.append("not trained yet")
    return "; ".join(parts)


def _counts(summary: Summary) -> list[RenderableType]:
    counts = summary.counts
    names = STATE_NAMES.values()
    states = ", ".join(f"{counts[name]} {on_screen(name)}" for name in names if counts[name])
    total = f"study {summary.study}: {counts['total']} of {summary.n_target} trials ({states or 'none yet'})"
    parts: list[RenderableType] = [Text(total, style="bold")]
    for reason, n in list(summary.failures.items())[:3]:
        parts.append(Text(f"  failed {n} times: {reason}" if n > 1 else f"  failed: {reason}", style="red"))
    if summary.best is None:
        parts.append(Text("no trial has been trained to its end yet: no best trial", style="yellow"))
    highest, best = summary.highest, summary.best
    if best is None:
        is_higher = True
    else:  # a value that is no accuracy has nothing to be compared with
        is_accuracy = summary.objective.is_on_curve
        is_higher = (
            is_accuracy and highest is not None and highest.number != best.number and highest.value > _value(best)
        )
    if highest is not None and is_higher:
        parts.append(Text(f"highest accuracy so far: {highest.text}", style="green"))
    return parts


def _value(trial: FrozenTrial) -> float:
    return trial.value or 0.0


def _best(summary: Summary, best: FrozenTrial) -> list[RenderableType]:
    origin = ", initial point" if summary.is_best_initial else ""
    facts = facts_of(best)
    head = Text(
        f"best trial {best.number}: {summary.objective.sentence(_value(best))} "
        f"({len(best.intermediate_values)} epochs, {facts.get('params', 0):,} parameters, "
        f"{facts.get('duration_s', 0.0):.0f} s{origin})",
        style="bold green",
    )
    importances = summary.importances
    table = Table(box=None, padding=(0, 2, 0, 0), show_header=bool(importances), header_style="dim")
    table.add_column("  parameter", overflow="fold")
    table.add_column("value", overflow="fold")
    if importances:
        table.add_column("importance", justify="right")
    for path, value in summary.best_values.items():
        row = [f"  {path}", f"{value:.4g}" if isinstance(value, float) else str(value)]
        if importances:
            share = importances.shares.get(path)
            row.append(percent(share, 0) if share is not None else "-")
        table.add_row(*row)
    parts: list[RenderableType] = [head, *([Text(f"  {summary.architecture}")] if summary.architecture else []), table]
    if not importances:
        return parts
    return [*parts, Text(f"  importance: {importances.meaning}", style="dim")]


def spread_text(figure: Mapping[str, Any]) -> str:
    """Return a figure over seeds, as `metrics.json` has it, as text: mean, standard deviation and interval."""
    known = SeedStats.from_json(figure)
    std = "" if known.std is None else f" ± {percent(known.std)}"
    return f"{percent(known.mean)}{std} ({known.certainty()})"


def state_name(trial: FrozenTrial, *, is_driven: bool) -> str:
    """Return a trial's state; one that the database has as running while no process drives the study is waiting."""
    if trial.state == TrialState.RUNNING and not is_driven:
        return "waiting"
    return STATE_NAMES[trial.state]


def study_json(record: StudyRecord, *, is_driven: bool) -> dict[str, Any]:
    """Return the parts of the JSON object that search and show share."""
    trials = record.trials
    counts = count_states(trials, is_driven=is_driven)
    metrics = record.retrained
    retraining = retraining_status(record, is_driven=is_driven)
    shown = (*RESULT_KEYS, record.space.task.result_key)
    return {
        "trials": counts,
        "best": record.best_as_data,
        "highest": None if (highest := highest_of(trials)) is None else asdict(highest),
        "retraining": None if retraining is None else asdict(retraining),
        "retrained": None if metrics is None else {key: metrics[key] for key in shown if key in metrics},
    }


def trials_json(record: StudyRecord, *, is_driven: bool) -> list[dict[str, Any]]:
    """Return every trial for JSON."""
    return [
        {
            "number": t.number,
            "state": state_name(t, is_driven=is_driven),
            "value": t.value,
            "epochs": len(t.intermediate_values),
            "latest": None if (latest := latest_of(t)) is None else asdict(latest),
            "params": values_of(t.params, record.space),
            "intermediate": {str(epoch): value for epoch, value in sorted(t.intermediate_values.items())},
            "attributes": facts_of(t),
        }
        for t in record.trials
    ]
