"""Studies as a table that fits the terminal and never cuts a name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fmnist_tune.study.columns import Column, NamedTable
from fmnist_tune.study.record import StudyRecord
from fmnist_tune.study.render import retraining_cell
from fmnist_tune.study.retraining import retraining_status
from fmnist_tune.study.summary import STATE_NAMES, count_states, on_screen


@dataclass(frozen=True)
class StudyRow:
    """A study as a table has it.

    Attributes:
        counts: trials by state and in total; None for a recipe, which has none.
        best: its value as text, and its number; None before there is one.
        retrained: how the retraining, or the recipe's training, stands; may be empty.
    """

    name: str
    counts: dict[str, int] | None
    n_target: int
    best: tuple[str, int] | None
    retrained: str

    @classmethod
    def of(cls, record: StudyRecord, *, is_running: bool) -> StudyRow:
        """Make the row of a study."""
        best = record.best
        return cls(
            record.paths.name,
            None if record.is_recipe else count_states(record.trials, is_running=is_running),
            record.n_target,
            None if best is None else (record.objective.text(best.value or 0.0), best.number),
            retraining_cell(record, retraining_status(record, is_running=is_running)),
        )

    @property
    def total(self) -> str:
        """How many trials there are of how many."""
        return "recipe" if self.counts is None else f"{self.counts['total']}/{self.n_target}"

    @property
    def sentence(self) -> str:
        """All of it in words."""
        if self.counts is None:
            return f"recipe; {self.retrained}"
        states = ", ".join(
            f"{self.counts[state]} {on_screen(state)}" for state in STATE_NAMES.values() if self.counts[state]
        )
        best = "no best trial yet" if self.best is None else f"best {self.best[0]} (trial {self.best[1]})"
        retrained = f"; {self.retrained}" if self.retrained else ""
        return f"{self.total} trials{f' ({states})' if states else ''}; {best}{retrained}"


def study_table(rows: Sequence[StudyRow]) -> NamedTable:
    """Return a table of studies, in the order of the rows."""
    total = Column("trials", [row.total for row in rows], is_right=True)
    states = [
        Column(on_screen(state), ["" if row.counts is None else str(row.counts[state]) for row in rows], is_right=True)
        for state in STATE_NAMES.values()
    ]
    best_of = [row.best or (("", "") if row.counts is None else ("-", "-")) for row in rows]
    best = [
        Column("best", [value for value, _ in best_of], is_right=True),
        Column("trial", [str(number) for _, number in best_of], is_right=True),
    ]
    retrained = Column("retrained", [row.retrained for row in rows])
    tiers = ([total, *states, *best, retrained], [total, *best, retrained])
    return NamedTable([row.name for row in rows], tiers, [row.sentence for row in rows])
