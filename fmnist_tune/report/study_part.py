"""The report's half about the search."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from fmnist_tune.report import findings, study_figures, study_info
from fmnist_tune.report.drawing import clipped, short
from fmnist_tune.report.page import Content, Fact, Part, Plot, Section, Table
from fmnist_tune.study.frames import curves_frame, trials_frame
from fmnist_tune.study.record import RUNNING, StudyRecord
from fmnist_tune.study.retraining import retraining_status
from fmnist_tune.study.summary import STATE_NAMES, Summary, on_screen
from fmnist_tune.study.trial_data import facts_of
from fmnist_tune.training.results import LOOK_STRIDE
from fmnist_tune.units import percent

N_BEST = 10


def study_content(record: StudyRecord, summary: Summary, *, has_model: bool) -> Content:
    """Return what the report says of a search."""
    space, best, driven = record.space, summary.best, record.is_driven
    rows = study_info.trial_rows(record.trials, space, is_driven=driven)
    number = None if best is None else best.number
    climb = study_info.climb(rows)
    schedule = "" if best is None else record.config_of(best).schedule
    retraining = retraining_status(record, is_driven=driven)
    is_retrained = retraining is not None and retraining.state == RUNNING
    found = [
        *findings.progress(summary, is_driven=driven, is_retrained=is_retrained),
        *findings.initial_point(summary),
        *findings.edges(summary),
        *findings.failures(summary),
        *(findings.climbing(climb, schedule) if record.objective.is_on_curve else ()),
    ]
    if not has_model:
        shown = None if best is None or best.value is None else (best.number, best.value)
        found = [*findings.no_model(shown, record.paths), *found]
    counts = Counter(row.state for row in rows)
    states = [f"{counts[state]:,} {on_screen(state)}" for state in STATE_NAMES.values() if counts[state]]
    facts = [Fact("Trials", f"{summary.counts['total']:,}", ", ".join(states))]
    if best is not None and best.value is not None:
        note = f"trial {best.number}, {len(best.intermediate_values)} epochs"
        facts.insert(0, Fact("Best on validation", record.objective.text(best.value), note))
    csv = {
        "trials.csv": trials_frame(record, is_driven=driven).to_csv(index=False),
        "curves.csv": curves_frame(record).to_csv(index=False),
    }
    sections = _sections(record, summary, rows, number)
    return Content(tuple(facts), tuple(found), Part("The search", sections), csv)


def _sections(
    record: StudyRecord, summary: Summary, rows: tuple[study_info.TrialRow, ...], best: int | None
) -> tuple[Section, ...]:
    space = record.space
    label = record.objective.label
    history_text = _history_text(rows, history := study_info.history(rows))
    if record.objective.history:
        history_text = record.objective.history
    slices = study_info.slices(rows, space, best)
    curves = study_info.curves(rows, best)
    shown, which = _shown(record, summary)
    lines = study_info.parallel(rows, space, best, shown)
    sections = []
    if summary.best is not None:
        sections.append(_best_section(record, summary, slices))
    if history.points:
        sections.append(_best_trials(record, rows, shown, which))
    sections.append(
        Section(
            "Optimization history",
            (history_text,),
            Plot.of("history.png", "accuracy over trial number", study_figures.history_figure, history, label),
        )
    )
    if summary.importances is not None:
        sections.append(
            Section(
                "Parameter importances",
                (
                    f"{summary.importances.meaning[0].upper()}{summary.importances.meaning[1:]} "
                    "(PED-ANOVA; the shares add up to 100 %).",
                ),
                Plot.of("importances.png", "importances", study_figures.importances_figure, summary.importances),
            )
        )
    if not history.points:
        return tuple(sections)
    sections.append(
        Section(
            "Slices",
            (
                f"{label[0].upper()}{label[1:]} over {which}. Dotted lines are the ends of the range; where one is "
                "bold and orange, the best trial lies within 5 % of it, and a wider range may hold better values.",
            ),
            Plot.of(
                "slices.png",
                "accuracy over each parameter",
                study_figures.slices_figure,
                replace(slices, slices=tuple(s for s in slices.slices if s.path in shown)),
                label,
            ),
        )
    )
    if curves.curves:
        text = (
            "Validation accuracy by epoch; a dot is where a trial stands. Within the first epoch it is measured on "
            f"one validation image in {LOOK_STRIDE}. Numbers: `curves.csv`."
        )
        plot = Plot.of("curves.png", "accuracy over epochs", study_figures.curves_figure, curves)
        sections.append(Section("Learning curves", (text,), plot))
    if len(lines.axes) > 1:
        text = (
            f"Each line is a trial: its values of {which} and, at the bottom, its accuracy, by which it is coloured"
            f"{'; orange: the best trial' if best is not None else ''}."
        )
        plot = Plot.of("parallel.png", "parameters of every trial", study_figures.parallel_figure, lines, label)
        sections.append(Section("Parallel coordinates", (text,), plot))
    return tuple(sections)


def _history_text(rows: Sequence[study_info.TrialRow], history: study_info.HistoryInfo) -> str:
    n, n_plotted = len(rows), len(history.points)
    which = "every trial" if n_plotted == n else f"the {n_plotted:,} of {n:,} trials that have trained"
    text = (
        f"Validation accuracy of {which}. A trial that was not trained to its end stands at its latest "
        f"accuracy; within the first epoch that is measured on one validation image in {LOOK_STRIDE}."
    )
    if history.failed:
        text += f" Failed before they had one: {len(history.failed):,}, at the bottom."
    if history.n_untrained:
        text += f" Not trained yet: {history.n_untrained:,}."
    return text


def _shown(record: StudyRecord, summary: Summary) -> tuple[list[str], str]:
    """Return the paths of the parameters that the plots have room for, and what to call them."""
    paths = [p.path for p in record.space.parameters]
    if len(paths) <= study_figures.MAX_SHOWN:
        return paths, "each parameter"
    importances = summary.importances
    if importances is None:
        return paths[: study_figures.MAX_SHOWN], f"the first {study_figures.MAX_SHOWN} of {len(paths)} parameters"
    ranked = sorted(paths, key=lambda path: -importances.shares.get(path, 0.0))[: study_figures.MAX_SHOWN]
    return [p for p in paths if p in ranked], f"the {len(ranked)} most important of {len(paths)} parameters"


def _best_trials(record: StudyRecord, rows: Sequence[study_info.TrialRow], shown: Sequence[str], which: str) -> Section:
    """Return a table of the best trials, with what they were trained with."""
    best = study_info.best_rows(rows, N_BEST)
    trials = record.trials
    cells = []
    for row in best:
        attributes = facts_of(trials[row.number])
        value = record.objective.text(row.value) if row.value is not None else "-"
        values = [f"{short(path)} {clipped(_value(row.values[path]), 24)}" for path in shown if path in row.values]
        cells.append(
            (
                str(row.number),
                value,
                on_screen(row.state),
                _trained(row),
                f"{attributes['params']:,}" if "params" in attributes else "-",
                f"{attributes['duration_s']:.0f}" if "duration_s" in attributes else "-",
                ", ".join(values),
            )
        )
    header = ("trial", record.objective.label, "state", "epochs", "parameters", "seconds", "values")
    text = (
        "Those trained to their end first, then by their latest accuracy. "
        f"Values of {which}; every trial is in `trials.csv`."
    )
    return Section("Best trials", (text,), None, Table(header, tuple(cells)))


def _trained(row: study_info.TrialRow) -> str:
    """Return how many epochs a trial has trained; within the first one, which share of it."""
    return f"{max(row.looks):.2g}" if row.looks and not row.curve else str(len(row.curve))


def _best_section(record: StudyRecord, summary: Summary, slices: study_info.SlicesInfo) -> Section:
    assert summary.best is not None
    edges = {s.path: f"at the {s.edge} end" for s in slices.slices if s.edge is not None}
    shares = summary.importances.shares if summary.importances is not None else {}
    rows = tuple(
        (
            f"`{p.path}`",
            _value(summary.best_values[p.path]),
            clipped(str(p.domain), 60),
            percent(shares[p.path], 0) if p.path in shares else "",
            edges.get(p.path, ""),
        )
        for p in record.space.parameters
        if p.path in summary.best_values
    )
    attributes = facts_of(summary.best)
    known = [
        summary.architecture,
        f"{attributes['params']:,} parameters" if "params" in attributes else None,
        f"{attributes['duration_s']:.0f} s of training" if "duration_s" in attributes else None,
        f"{attributes['images_per_s']:,} images per second" if "images_per_s" in attributes else None,
        attributes.get("ran_on"),
    ]
    facts = "; ".join(text for text in known if text is not None)
    recipe = f"As a recipe: `{record.paths.command('export')}`."
    header = ("parameter", "value", "searched", "importance", "")
    text = (f"{facts}.", recipe) if facts else (recipe,)
    return Section(f"Best trial: {summary.best.number}", text, None, Table(header, rows))


def _value(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
