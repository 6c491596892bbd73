"""Statements about a search, each worded once for the terminal, the report and the dashboard."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from fmnist_tune.document.blocks import Block, Code, Finding, Note, Section, Table, clipped
from fmnist_tune.evaluation import share_text
from fmnist_tune.study.record import StudyRecord
from fmnist_tune.study.results import result_section
from fmnist_tune.study.retraining import RetrainingStatus
from fmnist_tune.study.summary import STATE_NAMES, Summary, on_screen
from fmnist_tune.study.trial_data import metadata_of
from fmnist_tune.study.trial_table import TrialRow
from fmnist_tune.tasks.objective import Objective
from fmnist_tune.units import percent

MANY_FAILED = 0.05
SHOWN_REASONS = 3
LONGEST_DOMAIN = 60


def study_section(summary: Summary, retraining: RetrainingStatus | None, commands: Sequence[str]) -> Section:
    """Return the overview of a study.

    Args:
        summary: of the study.
        retraining: status of the latest one; a finished one is left out.
        commands: suggested next.
    """
    status = retraining_text(summary, retraining)
    blocks: list[Block] = []
    if summary.is_recipe:
        blocks.append(f"a recipe; {status or 'trained without a search'}")
    else:
        blocks.append(trials_text(summary))
        blocks += failures(summary) if summary.counts["failed"] else []
        blocks += [NO_BEST] if summary.best is None else []
        blocks += _highest(summary)
        blocks += [Finding(status, is_warning=True)] if status else []
        blocks += learned(summary)
        blocks += [Finding(summary.predicted_ends.text)] if summary.predicted_ends is not None else []
        blocks += [best_section(summary, edges(summary) if summary.edges else ())] if summary.best is not None else []
    if summary.retrained is not None:
        blocks.append(result_section(summary.task, summary.retrained, summary.test_uses, summary.counts["total"]))
    if commands:
        blocks.append(Section("next", (Code("\n".join(commands)),)))
    return Section(f"study {summary.study}", blocks)


def trials_text(summary: Summary) -> str:
    """Return the number of trials, by state."""
    return f"{summary.counts['total']} of {summary.n_target} trials ({states_text(summary.counts) or 'none yet'})"


def states_text(counts: Mapping[str, int]) -> str:
    """Return counts by state as text."""
    return ", ".join(f"{counts[name]:,} {on_screen(name)}" for name in STATE_NAMES.values() if counts[name])


def failures(summary: Summary) -> list[Finding]:
    """Return the share of failed trials, with reasons."""
    n, total = summary.counts["failed"], summary.counts["total"]
    if not n:
        return [Finding("No trial failed.")]
    reasons = [
        f"`{' '.join(reason.replace('`', chr(39)).split())}` ({'once' if k == 1 else f'{k} times'})"
        for reason, k in summary.failures.items()
    ]
    more = len(reasons) - SHOWN_REASONS
    others = f", and {more} other reason{'s' if more > 1 else ''}" if more > 0 else ""
    text = f"{n:,} of {total:,} trials failed ({percent(n / total, 1)}): {', '.join(reasons[:SHOWN_REASONS])}{others}"
    return [Finding(text, is_warning=n / total > MANY_FAILED)]


NO_DECISIONS = Note(
    "why it was begun and continued is not known: freeze-thaw alone keeps that, and earlier versions did not"
)
NO_BEST = Finding("no trial has been trained to its end yet, so there is no best trial", is_warning=True)


def _highest(summary: Summary) -> list[Finding]:
    """Return the highest accuracy so far, unless it is the best trial's or unrelated to the objective."""
    highest, best, objective = summary.highest, summary.best, summary.objective
    if highest is None:
        return []
    if best is not None and not (
        objective.is_on_curve and highest.number != best.number and highest.value > (best.value or 0.0)
    ):
        return []
    return [Finding(f"highest {objective.curve_label} so far: {highest.text(objective)}")]


def best_section(summary: Summary, more: Sequence[Block] = ()) -> Section:
    """Return the section on the best trial, with `more` below it."""
    best, importances, effects = summary.best, summary.importances, summary.main_effects
    assert best is not None
    facts = metadata_of(best)
    known = [
        f"{len(best.intermediate_values)} epochs",
        f"{facts['params']:,} parameters" if "params" in facts else "",
        f"{facts['duration_s']:.0f} s" if "duration_s" in facts else "",
        "initial point" if summary.is_best_initial else "",
    ]
    speed = f"{facts['images_per_s']:,} images per second" if "images_per_s" in facts else ""
    about = "; ".join(text for text in (summary.architecture, speed, facts.get("ran_on")) if text)
    head = f"{summary.objective.sentence(best.value or 0.0)} ({', '.join(filter(None, known))})"
    table = Table(
        (
            "parameter",
            "value",
            "searched",
            *(["importance"] if importances else []),
            *(["main effect"] if effects else []),
        ),
        [
            (f"`{path}`", value_text(value), clipped(summary.searched[path], LONGEST_DOMAIN))
            + ((share_text(importances.shares.get(path), 0),) if importances else ())
            + ((share_text(effects.shares.get(path), 0),) if effects else ())
            for path, value in summary.best_values.items()
        ],
        left=("value", "searched"),
        optional=(("searched",), ("main effect",)),
    )
    blocks: list[Block] = [head, *([about] if about else []), *([table] if table.rows else [])]
    blocks += [Note(f"importance: {importances.meaning}")] if importances else []
    blocks += [Note(f"main effect: {effects.meaning}")] if effects else []
    return Section(f"best trial {best.number}", (*blocks, *more))


def trial_section(row: TrialRow, searched: Mapping[str, str], objective: Objective) -> Section:
    """Return a trial: where it stands, its values, and why it was begun and continued.

    Args:
        row: the trial.
        searched: range or choices of every searched parameter, by dotted path.
        objective: what the study maximises.
    """
    accuracy = "" if row.accuracy is None else f"{objective.curve_label} {objective.curve_text(row.accuracy)}"
    of_all = "" if row.n_epochs is None else f" of {row.n_epochs}"
    facts = row.metadata
    known = [
        on_screen(row.state),
        "" if row.value is None or objective.is_on_curve else objective.sentence(row.value),
        accuracy,
        f"epoch {round(row.epoch, 2):g}{of_all}",
        f"{facts['params']:,} parameters" if "params" in facts else "",
        f"{facts['duration_s']:.0f} s" if "duration_s" in facts else "",
        row.reason,
    ]
    table = Table(
        ("parameter", "value", "searched"),
        [
            (f"`{path}`", value_text(value), clipped(searched[path], LONGEST_DOMAIN))
            for path, value in row.values.items()
        ],
        left=("value", "searched"),
        optional=(("searched",),),
    )
    blocks: list[Block] = ["; ".join(filter(None, known)), *([table] if table.rows else [])]
    decisions: list[Block] = [Finding(decision.text(objective)) for decision in row.decisions]
    return Section(f"trial {row.number}", (*blocks, *(decisions or [NO_DECISIONS])))


def value_text(value: object) -> str:
    """Return a searched value as text."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def edges(summary: Summary) -> list[Finding]:
    """Return which of the best trial's values lie at an end of their range."""
    if summary.best is None:
        return []
    if not summary.edges:
        return [Finding("The best trial lies at no end of a range that could be widened.")]
    return [Finding(f"range edge: {line}", is_warning=True) for line in summary.edges]


def initial_point(summary: Summary) -> list[Finding]:
    """Return a finding if the sampler found nothing better than the initial points."""
    if summary.best is None or not summary.is_best_initial:
        return []
    n, n_complete = summary.n_sampled, summary.n_sampled_complete
    text = f"Trial {summary.best.number} was an initial point (`search.initial`), not sampled."
    return [Finding(f"{text} Sampled trials: {n:,}, trained to the end: {n_complete:,}, better: 0.")]


def learned(summary: Summary) -> list[Finding]:
    """Return what a study owes to earlier ones."""
    studies = ", ".join(summary.learned_from)
    text = f"It learned from earlier studies (`search.learn_from`): {studies}. What was tried first owes to them."
    return [Finding(text)] if studies else []


def progress(summary: Summary, *, is_running: bool, is_retrained: bool) -> list[Finding]:
    """Return what is still running or missing in the study.

    Args:
        summary: of the study.
        is_running: whether a live process drives it.
        is_retrained: whether that process is retraining.
    """
    if is_retrained:
        return [Finding("A configuration of the study is being retrained: figures on the test set may change.")]
    if is_running:
        text = f"The search is still under way, {trials_text(summary)}: figures may change."
        return [Finding(text, is_warning=True)]
    if not summary.counts["waiting"] and summary.counts["total"] >= summary.n_target:
        return []
    return [Finding(f"The study has {trials_text(summary)}; `{summary.paths.command('resume')}` goes on.")]


def no_model(summary: Summary) -> list[Finding]:
    """Return the finding that no model has been retrained yet."""
    best = summary.best
    if best is None:
        return [NO_BEST]
    found = summary.objective.sentence(best.value or 0.0)
    return [
        Finding(f"Best trial {best.number}: {found}. That is optimistic: it was chosen by this figure."),
        Finding(
            "No model has been retrained yet and the test set was not opened for this report; "
            f"`{summary.paths.command('retrain')}` adds test accuracy, per-class figures and the rest.",
        ),
    ]


def retraining_text(summary: Summary, retraining: RetrainingStatus | None) -> str:
    """Return the status of a study's retraining, or its recipe's training; empty if it is finished."""
    if retraining is not None:
        return retraining.sentence(summary.paths)
    if summary.is_recipe and summary.retrained is None:
        return f"not trained yet; train it with: {summary.paths.command('retrain')}"
    return ""


def next_commands(record: StudyRecord, *, is_after_search: bool = False) -> list[str]:
    """Return the next commands for a study; after a search also those that extend it and show its trials."""
    paths = record.paths
    if record.is_recipe:
        return [paths.command("retrain" if record.retraining.result is None else "report")]
    extends = is_after_search and record.is_finished and record.quota.can_grow and not record.quota.is_limited
    names = {
        "resume": is_after_search or not record.is_finished,
        "show": is_after_search,
        "retrain": record.best is not None and (is_after_search or record.retraining.result is None),
        "report": True,
    }
    words = {"resume": ("--trials", 2 * record.quota.n_target)} if extends else {}
    commands = [paths.command(name, *words.get(name, ())) for name, is_due in names.items() if is_due]
    return [*commands, *([paths.command_on_all("dashboard")] if is_after_search else [])]
