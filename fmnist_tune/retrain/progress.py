"""The screen while seeds are trained."""

from __future__ import annotations

from rich.console import Console, Group, RenderableType
from rich.text import Text

from fmnist_tune.retrain.jobs import Job, JobSource
from fmnist_tune.search.progress import progress_of
from fmnist_tune.search.running import RunningTrial
from fmnist_tune.search.screen import STATUS_EVERY_S, Row, Screen, headline, rows_table
from fmnist_tune.tasks.objective import Objective
from fmnist_tune.units import clock


class TrainingProgress(Screen):
    """Shows jobs on stderr."""

    def __init__(
        self, console: Console, started: float, objective: Objective, status_every_s: float = STATUS_EVERY_S
    ) -> None:
        """Make a display; `objective` is the study's, the other arguments as for `Screen`."""
        super().__init__(console, started, status_every_s)
        self._objective = objective
        self._phase = "getting ready"
        self._source: JobSource | None = None

    def line(self, text: str, style: str = "dim") -> None:
        """Print a permanent line."""
        self._phase = text
        super().line(text, style)

    def done(self, text: str) -> None:
        """Print a line about a finished training."""
        super().line(text, "green")

    def attach(self, source: JobSource) -> None:
        """Show jobs from now on."""
        self._source = source

    def _rows(self) -> list[Row]:
        return [] if self._source is None else [self._row(job, trial) for job, trial in self._source.under_way()]

    def _progress(self) -> str:
        assert self._source is not None
        return f"{self._source.n_ended} of {self._source.n_jobs} trainings ended"

    def status(self) -> str:
        """Return the current state on one line."""
        rows = self._rows()
        if not rows:
            return f"{self._phase} ..."
        return "; ".join([self._progress(), *(row.text for row in rows)])

    def view(self, width: int) -> RenderableType:
        """Return the current state, `width` columns wide."""
        rows, elapsed = self._rows(), clock(self.elapsed_s)
        if self._source is None or not rows:
            return Text(f"{self._phase}, {elapsed}", style="bold", no_wrap=True, overflow="ellipsis")
        share = (self._source.n_ended + sum(map(_share, rows))) / self._source.n_jobs
        with_val = any(job.plan.with_val for job, _ in self._source.under_way())
        accuracy = f"{'val' if with_val else 'train'} {self._objective.curve_label}"
        return Group(
            Text(""),
            headline(self._progress(), share, f"{elapsed} elapsed", width),
            rows_table(rows, width, names="training", accuracy=accuracy, notes=""),
        )

    def _row(self, job: Job, trial: RunningTrial) -> Row:
        plan, n_epochs, report = job.plan, trial.n_epochs, trial.report
        is_over = n_epochs >= plan.n_epochs or (report is not None and report.stop_reason is not None)
        accuracy = ""
        if trial.last is not None:
            figure = trial.last.val_accuracy if plan.with_val else trial.last.train_accuracy
            accuracy = self._objective.curve_text(figure)
        return Row(
            name=job.name,
            epochs=n_epochs,
            n_epochs=plan.n_epochs,
            progress=None if is_over else progress_of(job.folder, n_epochs + 1),
            accuracy=accuracy,
            state="is scored" if is_over else "starting" if report is None else f"epoch {n_epochs + 1}",
        )


def _share(row: Row) -> float:
    within = 0.0 if row.progress is None else row.progress.share
    return (row.epochs + within) / max(1, row.n_epochs)
