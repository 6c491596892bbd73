"""A study's trials as rows, and as a table fitted to the terminal."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from optuna.trial import FrozenTrial
from rich.console import Console, ConsoleOptions, RenderResult
from rich.text import Text

from fmnist_tune.config import SearchSpace
from fmnist_tune.document.terminal import GAP, Column, one_line, table_lines, total_width
from fmnist_tune.errors import UserError
from fmnist_tune.study.decisions import Decision, Predicted, decisions_of
from fmnist_tune.study.record import StudyRecord
from fmnist_tune.study.sampling import values_of
from fmnist_tune.study.summary import on_screen, state_name
from fmnist_tune.study.trial_data import curve_of, metadata_of
from fmnist_tune.tasks.objective import Objective
from fmnist_tune.training.results import StopReason

MOST_OF_A_VALUE = 20  # terminal cells of a searched value, unless the table is wide
LEAST_REASON, MOST_REASON = 24, 60
FAILED = "failed"
STATE_STYLES = {"complete": "green", "pruned": "dim", "failed": "red", "running": "cyan", "waiting": "yellow"}
LAST_EPOCH: StopReason = "epochs"  # already said by `complete`


@dataclass(frozen=True, kw_only=True)
class TrialRow:
    """A trial in tables and plots.

    Attributes:
        state: as in STATE_NAMES.
        value: of the objective; None without one.
        curve: validation accuracy by epoch, below 1 by the share of the first one; nan is left out.
        n_epochs: configured; None if its values are no valid configuration.
        metadata: of its training.
        values: searched values by dotted path, as in the file.
        decisions: why it was begun and continued; empty if that is not known.
    """

    number: int
    state: str
    value: float | None
    curve: Mapping[float, float]
    n_epochs: int | None
    metadata: Mapping[str, Any]
    values: Mapping[str, Any]
    decisions: tuple[Decision, ...] = ()

    @property
    def epoch(self) -> float:
        """Epochs trained."""
        return max(self.curve, default=0)

    @property
    def accuracy(self) -> float | None:
        """The latest accuracy; None before the first."""
        return self.curve[self.epoch] if self.curve else None

    @property
    def epochs(self) -> list[float]:
        """The accuracy after each whole epoch."""
        return [value for epoch, value in self.curve.items() if epoch >= 1]

    @property
    def reason(self) -> str:
        """Why it failed, stopped or pauses, on one line; may be empty."""
        if self.state == FAILED:
            return one_line(self.metadata.get("reason") or "unknown")
        stopped_by = one_line(self.metadata.get("stop_reason") or "")
        return "" if stopped_by == LAST_EPOCH else stopped_by


def trial_rows(trials: Iterable[FrozenTrial], space: SearchSpace, *, is_running: bool) -> list[TrialRow]:
    """Return every trial, by number."""
    rows = []
    for trial in trials:
        values, n_epochs = values_of(trial.params, space), None
        with suppress(UserError):
            n_epochs = space.config(values).training.epochs
        rows.append(
            TrialRow(
                number=trial.number,
                state=state_name(trial, is_running=is_running),
                value=trial.value,
                curve={epoch: value for epoch, value in sorted(curve_of(trial).items()) if math.isfinite(value)},
                n_epochs=n_epochs,
                metadata=metadata_of(trial),
                values=values,
                decisions=decisions_of(trial, space),
            )
        )
    return rows


def ranked(rows: Iterable[TrialRow], objective: Objective) -> list[TrialRow]:
    """Sort by value or, without one and if the objective is an accuracy, latest accuracy, highest first; failed last.

    Ties go to the lower number.
    """

    def order(row: TrialRow) -> tuple[bool, float, float, int]:
        accuracy = 1.0 if row.accuracy is None else -row.accuracy
        value = (accuracy if objective.is_on_curve else 1.0) if row.value is None else -row.value
        return row.state == FAILED, value, accuracy, row.number

    return sorted(rows, key=order)


def short_names(paths: Sequence[str]) -> dict[str, str]:
    """Return the shortest unique end of each dotted path; `optimizer`, not `name`, for a section's name."""
    plain = {path: path.removesuffix(".name") for path in paths}
    short = {}
    for path, whole in plain.items():
        parts = whole.split(".")
        ends = (".".join(parts[i:]) for i in range(len(parts) - 1, -1, -1))
        others = [f".{other}" for other in plain.values() if other != whole]
        short[path] = next((end for end in ends if not any(o.endswith(f".{end}") for o in others)), path)
    return short


@dataclass(frozen=True)
class TrialTable:
    """Every trial of a study on its own line, with as many columns as fit.

    Attributes:
        rows: from top to bottom.
        best: number of the best trial, which is marked; None without one.
        objective: what the study maximises.
        paths: searched parameters.
        shares: their known importances; the least important columns are left out first.
        is_wide: show every column in full, whatever the width.
    """

    rows: Sequence[TrialRow]
    best: int | None
    objective: Objective
    paths: Sequence[str]
    shares: Mapping[str, float]
    is_wide: bool = False

    @classmethod
    def of(
        cls, record: StudyRecord, *, is_running: bool, shares: Mapping[str, float], is_wide: bool = False
    ) -> TrialTable:
        """Make the table of a study; `shares` are its parameters' known importances."""
        rows = ranked(trial_rows(record.trials, record.space, is_running=is_running), record.objective)
        best = None if record.best is None else record.best.number
        return cls(rows, best, record.objective, [p.path for p in record.space.parameters], shares, is_wide)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Yield its lines."""
        if not self.rows:
            return
        first, most = self._first(), None if self.is_wide else MOST_OF_A_VALUE
        searched = {
            path: Column(name, [_cell(row.values[path]) if path in row.values else "" for row in self.rows], most=most)
            for path, name in short_names(self.paths).items()
        }
        ranked_paths = sorted(searched, key=lambda path: (-self.shares.get(path, 0.0), searched[path].width))
        room = math.inf if self.is_wide else options.max_width - total_width(first)
        shown, room = _fitting([searched[path] for path in ranked_paths], room)
        hidden = [column.title for column in searched.values() if column not in shown]
        reasons, metadata = ([], []) if hidden else self._others(room)
        columns = [*first, *metadata, *(column for column in searched.values() if column in shown), *reasons]
        room_of_reasons = options.max_width - total_width(first) - GAP
        tails = {
            i: (len(first), Text(row.reason), room_of_reasons)
            for i, row in enumerate(self.rows)
            if row.state == FAILED and not reasons
        }
        styles = ["bold" if row.number == self.best else "" for row in self.rows]
        yield from table_lines(columns, styles=styles, tails=tails)
        notes = ["* the best trial trained to its end"] if self.best is not None else []
        notes += [f"not shown: {', '.join(hidden)} (--wide shows all)"] if hidden else []
        notes += ["--trial N says why a trial was begun and continued"] if any(r.decisions for r in self.rows) else []
        if notes:
            yield Text("; ".join(notes), style="dim")

    def _first(self) -> list[Column]:
        """Return the columns that are always shown."""
        rows, objective = self.rows, self.objective
        numbers = [f"{'*' if row.number == self.best else ''}{row.number}" for row in rows]
        states = [Text(on_screen(row.state), style=STATE_STYLES[row.state]) for row in rows]
        columns = [Column("trial", numbers, is_right=True), Column("state", states)]
        accuracies = [row.accuracy for row in rows]
        if objective.is_on_curve:
            accuracies = [row.accuracy if row.value is None else row.value for row in rows]
        else:
            values = ["-" if row.value is None else objective.text(row.value) for row in rows]
            columns.append(Column("value", values, most=None if self.is_wide else MOST_OF_A_VALUE))
        shown = ["-" if accuracy is None else objective.curve_text(accuracy) for accuracy in accuracies]
        epochs = [_epoch(row) for row in rows]
        return [*columns, Column(objective.curve_label, shown, is_right=True), Column("epoch", epochs, is_right=True)]

    def _others(self, room: float) -> tuple[list[Column], list[Column]]:
        """Return columns of reasons, one at most, and of metadata, if there is room."""
        reasons = [Column("reason", [row.reason for row in self.rows])] if any(r.reason for r in self.rows) else []
        if not self.is_wide:
            most = min(MOST_REASON, int(room) - GAP)
            reasons = [Column(c.title, c.cells, most=most) for c in reasons if most >= LEAST_REASON]
        metadata = [
            Column(
                title, [f"{row.metadata[key]:,.0f}" if key in row.metadata else "-" for row in self.rows], is_right=True
            )
            for title, key in (("seconds", "duration_s"), ("weights", "params"))
        ]
        predicted = [_latest_end(row) for row in self.rows]
        if any(predicted):
            cells = ["-" if end is None else self.objective.curve_text(end.median) for end in predicted]
            metadata.append(Column("predicted end", cells, is_right=True))
        return reasons, _fitting(metadata, _fitting(reasons, room)[1])[0]


def _fitting(columns: Iterable[Column], room: float) -> tuple[list[Column], float]:
    """Return the columns that fit, each after a gap, in their order, and the room left."""
    shown = []
    for column in columns:
        if column.width + GAP <= room:
            shown.append(column)
            room -= column.width + GAP
    return shown, room


def _latest_end(row: TrialRow) -> Predicted | None:
    """Return what was last expected of a trial's last epoch; None without a prediction."""
    return next((decision.end for decision in reversed(row.decisions) if decision.end is not None), None)


def _epoch(row: TrialRow) -> str:
    shown = f"{row.epoch:g}" if row.epoch >= 1 or not row.epoch else f"{row.epoch:.2f}"
    return shown if row.n_epochs is None else f"{shown}/{row.n_epochs}"


def _cell(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, float) else one_line(value)
