"""The report's half on the search."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fmnist_tune.document.blocks import Content, Fact, Finding, Section, Table, capital, clipped
from fmnist_tune.report import study_figures, study_info
from fmnist_tune.report.decisions_part import decisions_sections, ends_sections
from fmnist_tune.report.drawing import plot_of, short
from fmnist_tune.study import findings
from fmnist_tune.study.frames import curves_frame, decisions_frame, trials_frame
from fmnist_tune.study.record import StudyRecord
from fmnist_tune.study.retraining import retraining_status
from fmnist_tune.study.retraining_record import RUNNING
from fmnist_tune.study.summary import Summary, on_screen
from fmnist_tune.study.trial_table import TrialRow
from fmnist_tune.tasks.objective import Objective
from fmnist_tune.training.results import SAMPLE_STRIDE

N_BEST = 10


def study_content(record: StudyRecord, summary: Summary, *, has_model: bool) -> Content:
    """Return the report's content on a search."""
    space, best, is_running = record.space, summary.best, record.is_running
    rows = study_info.trial_rows(record.trials, space, is_running=is_running)
    climb = study_info.climb(rows)
    schedule = "" if best is None else record.config_of(best).schedule
    retraining = retraining_status(record, is_running=is_running)
    is_retrained = retraining is not None and retraining.state == RUNNING
    found = [
        *(() if has_model else findings.no_model(summary)),
        *findings.progress(summary, is_running=is_running, is_retrained=is_retrained),
        *findings.initial_point(summary),
        *findings.learned(summary),
        *findings.edges(summary),
        *findings.failures(summary),
        *(climbing(climb, schedule, record.objective) if record.objective.is_on_curve else ()),
    ]
    facts = [Fact("Trials", f"{summary.counts['total']:,}", findings.states_text(summary.counts))]
    if best is not None and best.value is not None:
        note = f"trial {best.number}, {len(best.intermediate_values)} epochs"
        facts.insert(0, Fact("Best on validation", record.objective.text(best.value), note))
    csv = {
        "trials.csv": trials_frame(record, is_running=is_running).to_csv(index=False),
        "curves.csv": curves_frame(record).to_csv(index=False),
    }
    if any(row.decisions for row in rows):
        csv["decisions.csv"] = decisions_frame(record).to_csv(index=False)
    return Content(tuple(facts), tuple(found), Section("The search", _sections(record, summary, rows)), csv)


def climbing(climb: study_info.Climb | None, schedule: str, objective: Objective) -> list[Finding]:
    """Return whether the best curves still climb; `schedule` is the best trial's."""
    if climb is None:
        return [Finding("No trial that was trained to its end has three epochs, too few to say whether curves climb.")]
    n = len(climb.trials)
    who = f"The best {n} trials" if n > 1 else f"Trial {climb.trials[0]}"
    gain, over = objective.difference(climb.gain), f"over the last third of {climb.epochs} epochs"
    if not climb.is_climbing:
        return [Finding(f"{who} no longer climb{'s' if n == 1 else ''}: {gain} {over}.")]
    anneals = schedule in ("one_cycle", "cosine")
    text = f"{who} still climbed {gain.removeprefix('+')} {over}: a larger `training.epochs` may help"
    if anneals:
        text += f" (`{schedule}` lowers the learning rate to nothing at the end, where every curve climbs; try it)"
    return [Finding(text, is_warning=not anneals)]


@dataclass(frozen=True)
class _Search:
    """The input of the sections; `shown` are the parameters that plots have room for, `which` describes them."""

    record: StudyRecord
    summary: Summary
    rows: tuple[TrialRow, ...]
    shown: Sequence[str]
    which: str

    @property
    def objective(self) -> Objective:
        return self.record.objective

    @property
    def best(self) -> int | None:
        return None if self.summary.best is None else self.summary.best.number


def _sections(record: StudyRecord, summary: Summary, rows: tuple[TrialRow, ...]) -> list[Section]:
    search = _Search(record, summary, rows, *_shown(record, summary))
    sections = [_best(search)] if summary.best is not None else []
    has_points = any(row.value is not None for row in rows)
    sections += [_best_trials(search)] if has_points else []
    sections += [*decisions_sections(rows, record.objective), *ends_sections(summary), _history(search)]
    sections += _importances(search)
    return [*sections, *_slices(search), *_curves(search), *_parallel(search)] if has_points else sections


def _best(search: _Search) -> Section:
    export = f"as a recipe: `{search.record.paths.command('export')}`"
    return findings.best_section(search.summary, (export,))


def _history(search: _Search) -> Section:
    history = study_info.history(search.rows)
    objective = search.objective
    text = objective.history or _history_text(search.rows, history, objective)
    alt = f"{objective.label} over trial number"
    plot = plot_of("history.png", alt, study_figures.history_figure, history, objective)
    return Section("Optimization history", (text, plot))


def _importances(search: _Search) -> list[Section]:
    found = [info for info in (search.summary.importances, search.summary.main_effects) if info is not None]
    if not found:
        return []
    plot = plot_of("importances.png", "importances", study_figures.importances_figure, *found)
    return [Section("Parameter importances", (*(f"{info.meaning} ({info.method})" for info in found), plot))]


def _slices(search: _Search) -> list[Section]:
    slices = study_info.slices(search.rows, search.record.space, search.best)
    shown = [piece for piece in slices if piece.path in search.shown]
    text = (
        f"{search.objective.label} over {search.which}. Dotted lines are the ends of the range; where one is "
        "bold and orange, the best trial lies within 5 % of it, and a wider range may hold better values."
    )
    alt = f"{search.objective.label} over each parameter"
    plot = plot_of("slices.png", alt, study_figures.slices_figure, shown, search.objective)
    return [Section("Slices", (text, plot))]


def _curves(search: _Search) -> list[Section]:
    curves = study_info.curves(search.rows, search.best)
    if not curves.curves:
        return []
    name = search.objective.curve_name
    sampled = f"Within the first epoch it is measured on one validation image in {SAMPLE_STRIDE}. "
    is_sampled = any(curve.epochs[0] < 1 for curve in curves.curves)
    text = (
        f"{capital(name)} by epoch; a dot is where a trial stands. {sampled if is_sampled else ''}"
        "Numbers: `curves.csv`."
    )
    plot = plot_of("curves.png", f"{name} over epochs", study_figures.curves_figure, curves, search.objective)
    return [Section("Learning curves", (text, plot))]


def _parallel(search: _Search) -> list[Section]:
    lines = study_info.parallel(search.rows, search.record.space, search.best, search.shown)
    if len(lines.axes) < 2:
        return []
    text = (
        f"Each line is a trial: its values of {search.which} and, at the bottom, its {search.objective.label}, by "
        f"which it is coloured"
        f"{'; orange: the best trial' if search.best is not None else ''}."
    )
    figure = study_figures.parallel_figure
    plot = plot_of("parallel.png", "parameters of every trial", figure, lines, search.objective)
    return [Section("Parallel coordinates", (text, plot))]


def _history_text(rows: Sequence[TrialRow], history: study_info.HistoryInfo, objective: Objective) -> str:
    n, n_plotted = len(rows), len(history.points)
    which = "every trial" if n_plotted == n else f"the {n_plotted:,} of {n:,} trials that have trained"
    text = (
        f"{capital(objective.label)} of {which}. A trial that was not trained to its end stands at its latest "
        f"{objective.curve_label}"
    )
    is_sampled = any(row.epoch < 1 for row in rows if row.value is not None)
    text += (
        f"; within the first epoch that is measured on one validation image in {SAMPLE_STRIDE}." if is_sampled else "."
    )
    if history.failed:
        text += f" Failed before they had one: {len(history.failed):,}, at the bottom."
    if history.n_untrained:
        text += f" Not trained yet: {history.n_untrained:,}."
    return text


def _shown(record: StudyRecord, summary: Summary) -> tuple[list[str], str]:
    """Return the paths of the parameters that plots have room for, and a description of these."""
    paths = [p.path for p in record.space.parameters]
    if len(paths) <= study_figures.MAX_SHOWN:
        return paths, "each parameter"
    importances = summary.importances
    if importances is None:
        return paths[: study_figures.MAX_SHOWN], f"the first {study_figures.MAX_SHOWN} of {len(paths)} parameters"
    ranked = sorted(paths, key=lambda path: -importances.shares.get(path, 0.0))[: study_figures.MAX_SHOWN]
    return [p for p in paths if p in ranked], f"the {len(ranked)} most important of {len(paths)} parameters"


def _best_trials(search: _Search) -> Section:
    """Return a table of the best trials with their parameters."""
    objective = search.objective
    cells = []
    for row in study_info.best_rows(search.rows, N_BEST):
        values = (
            f"{short(path)} {clipped(findings.value_text(row.values[path]), 24)}"
            for path in search.shown
            if path in row.values
        )
        cells.append(
            (
                str(row.number),
                objective.text(row.value) if row.value is not None else "-",
                on_screen(row.state),
                f"{row.epoch:.2g}" if row.epoch < 1 else str(len(row.epochs)),
                f"{row.metadata['params']:,}" if "params" in row.metadata else "-",
                f"{row.metadata['duration_s']:.0f}" if "duration_s" in row.metadata else "-",
                ", ".join(values),
            )
        )
    header = ("trial", objective.label, "state", "epochs", "parameters", "seconds", "values")
    text = (
        f"Those trained to their end first, then by their latest {objective.curve_label}. "
        f"Values of {search.which}; every trial is in `trials.csv`."
    )
    return Section("Best trials", (text, Table(header, cells, left=("values",))))
