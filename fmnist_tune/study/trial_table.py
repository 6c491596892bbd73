"""A study's trials as rows, sorted, and as a table that fits the terminal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from optuna.trial import FrozenTrial, TrialState
from rich.console import Console, ConsoleOptions, RenderResult
from rich.text import Text

from fmnist_tune.errors import UserError
from fmnist_tune.study.columns import GAP, Column, one_line, table_lines, total_width
from fmnist_tune.study.record import StudyRecord
from fmnist_tune.study.render import STATE_STYLES, state_name
from fmnist_tune.study.sampling import values_of
from fmnist_tune.study.summary import on_screen
from fmnist_tune.study.trial_data import Point, facts_of, latest_of
from fmnist_tune.tasks.objective import Objective
from fmnist_tune.training.results import StopReason
from fmnist_tune.units import percent

MOST_OF_A_VALUE = 20  # terminal cells of a searched value, unless the table is wide
LEAST_REASON, MOST_REASON = 24, 60
FAILED = "failed"
LAST_EPOCH: StopReason = "epochs"  # which `complete` says already


@dataclass(frozen=True)
class TrialRow:
    """A trial as a table has it.

    Attributes:
        state: as in STATE_NAMES.
        value: what the study maximises; None without one.
        latest: the accuracy where it stands; None before the first one.
        n_epochs: it is trained for; None where its values are no configuration.
        n_weights: that are trained; None before that is known.
        seconds: in training and validation; None before the first epoch's end.
        values: searched values by dotted path.
        reason: why it failed, stopped or pauses, on one line; may be empty.
    """

    number: int
    state: str
    value: float | None
    latest: Point | None
    n_epochs: int | None
    n_weights: int | None
    seconds: float | None
    values: Mapping[str, Any]
    reason: str


def trial_rows(record: StudyRecord, *, is_driven: bool) -> list[TrialRow]:
    """Return every trial, the highest value or, where that is an accuracy too, latest accuracy first; failed ones last.

    Of equal trials the one with the lower number comes first.
    """
    rows = [_row(record, trial, is_driven=is_driven) for trial in record.trials]
    return sorted(rows, key=lambda row: _order(row, record.objective))


def _order(row: TrialRow, objective: Objective) -> tuple[bool, float, float, int]:
    accuracy = -row.latest.accuracy if row.latest is not None else 1.0
    if objective.is_on_curve:
        return row.state == FAILED, accuracy if row.value is None else -row.value, accuracy, row.number
    return row.state == FAILED, 1.0 if row.value is None else -row.value, accuracy, row.number


def _row(record: StudyRecord, trial: FrozenTrial, *, is_driven: bool) -> TrialRow:
    n_epochs = None
    with suppress(UserError):
        n_epochs = record.config_of(trial).training.epochs
    attributes = facts_of(trial)
    return TrialRow(
        number=trial.number,
        state=state_name(trial, is_driven=is_driven),
        value=trial.value,
        latest=latest_of(trial),
        n_epochs=n_epochs,
        n_weights=attributes.get("params"),
        seconds=attributes.get("duration_s"),
        values=values_of(trial.params, record.space),
        reason=_reason(trial),
    )


def _reason(trial: FrozenTrial) -> str:
    if trial.state == TrialState.FAIL:
        return one_line(facts_of(trial).get("reason") or "unknown")
    stopped_by = one_line(facts_of(trial).get("stop_reason") or "")
    return "" if stopped_by == LAST_EPOCH else stopped_by


def short_names(paths: Sequence[str]) -> dict[str, str]:
    """Return the shortest end of each dotted path that no other one has; `optimizer`, not `name`, for its name."""
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
    """Every trial of a study on a line of its own, with as many columns as the width has room for.

    Attributes:
        rows: from top to bottom.
        best: the best trial's number, which is marked; None before there is one.
        objective: what the study maximises.
        paths: searched parameters.
        shares: their importances, as far as they are known; columns that do not fit are left out from the least.
        is_wide: show every column and nothing cut, however wide that gets.
    """

    rows: Sequence[TrialRow]
    best: int | None
    objective: Objective
    paths: Sequence[str]
    shares: Mapping[str, float]
    is_wide: bool = False

    @classmethod
    def of(
        cls, record: StudyRecord, *, is_driven: bool, shares: Mapping[str, float], is_wide: bool = False
    ) -> TrialTable:
        """Make the table of a study; `shares` are its parameters' importances, as far as they are known."""
        paths = [p.path for p in record.space.parameters]
        best = record.best
        rows = trial_rows(record, is_driven=is_driven)
        return cls(rows, None if best is None else best.number, record.objective, paths, shares, is_wide)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Yield its lines."""
        if not self.rows:
            return
        first = self._first()
        searched = {path: self._searched(path, name) for path, name in short_names(self.paths).items()}
        shown = self.paths if self.is_wide else self._fitting(searched, options.max_width - total_width(first))
        columns = [*first, *(searched[path] for path in searched if path in shown)]
        if len(shown) == len(self.paths):
            columns = self._with_facts(first, columns, options.max_width)
        tails = {}
        if not any(column.title == "reason" for column in columns):
            used = total_width(first) + GAP
            tails = {
                i: (len(first), Text(row.reason), options.max_width - used)
                for i, row in enumerate(self.rows)
                if row.state == FAILED
            }
        styles = ["bold" if row.number == self.best else "" for row in self.rows]
        yield from table_lines(columns, styles=styles, tails=tails)
        yield from self._notes([name for path, name in short_names(self.paths).items() if path not in shown])

    def _first(self) -> list[Column]:
        """Return the columns that every width has room for."""
        rows = self.rows
        numbers = [f"{'*' if row.number == self.best else ''}{row.number}" for row in rows]
        states = [Text(on_screen(row.state), style=STATE_STYLES[row.state]) for row in rows]
        accuracies = [row.latest.accuracy if row.latest is not None else None for row in rows]
        columns = [Column("trial", numbers, is_right=True), Column("state", states)]
        if self.objective.is_on_curve:
            accuracies = [a if row.value is None else row.value for row, a in zip(rows, accuracies, strict=True)]
        else:
            values = ["-" if row.value is None else self.objective.text(row.value) for row in rows]
            columns.append(Column("value", values, most=None if self.is_wide else MOST_OF_A_VALUE))
        shown = ["-" if accuracy is None else percent(accuracy) for accuracy in accuracies]
        epochs = [_epoch(row) for row in rows]
        return [*columns, Column("accuracy", shown, is_right=True), Column("epoch", epochs, is_right=True)]

    def _fitting(self, columns: Mapping[str, Column], room: int) -> list[str]:
        """Return the paths whose columns fit, each after a gap: what matters most first, of equals the narrow ones."""
        shown = []
        for path in sorted(self.paths, key=lambda path: (-self.shares.get(path, 0.0), columns[path].width)):
            if columns[path].width + GAP <= room:
                shown.append(path)
                room -= columns[path].width + GAP
        return shown

    def _searched(self, path: str, name: str) -> Column:
        cells = [_cell(row.values[path]) if path in row.values else "" for row in self.rows]
        return Column(name, cells, most=None if self.is_wide else MOST_OF_A_VALUE)

    def _with_facts(self, first: Sequence[Column], columns: Sequence[Column], width: int) -> list[Column]:
        """Add what else is known of the trials to columns that have room for it."""
        rows = self.rows
        reason = Column("reason", [row.reason for row in rows])
        facts = [
            Column("seconds", ["-" if r.seconds is None else f"{r.seconds:,.0f}" for r in rows], is_right=True),
            Column("weights", ["-" if r.n_weights is None else f"{r.n_weights:,}" for r in rows], is_right=True),
        ]
        reasons = [reason] if any(row.reason for row in rows) else []
        if self.is_wide:
            return [*first, *facts, *columns[len(first) :], *reasons]
        room = width - total_width(columns) - GAP
        if reasons and room >= LEAST_REASON:
            reasons = [Column("reason", reason.cells, most=min(MOST_REASON, room))]
            room -= reasons[0].width + GAP
        else:
            reasons = []
        fitting = []
        for fact in facts:
            if fact.width <= room:
                fitting.append(fact)
                room -= fact.width + GAP
        return [*first, *fitting, *columns[len(first) :], *reasons]

    def _notes(self, hidden: Sequence[str]) -> Iterator[Text]:
        parts = []
        if self.best is not None:
            parts.append("* the best trial trained to its end")
        if hidden:
            parts.append(f"not shown: {', '.join(hidden)} (--wide shows all)")
        if parts:
            yield Text("; ".join(parts), style="dim")


def _epoch(row: TrialRow) -> str:
    done = 0.0 if row.latest is None else row.latest.epoch
    shown = f"{done:g}" if done >= 1 or not done else f"{done:.2f}"
    return shown if row.n_epochs is None else f"{shown}/{row.n_epochs}"


def _cell(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, float) else one_line(value)
