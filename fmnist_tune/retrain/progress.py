"""What a person sees while seeds are trained."""

from __future__ import annotations

from rich.console import Console, Group, RenderableType
from rich.text import Text

from fmnist_tune.search.messages import TrialReport
from fmnist_tune.search.pool import Job
from fmnist_tune.search.progress import progress_of
from fmnist_tune.search.screen import STATUS_EVERY_S, Row, Screen, headline, rows_table
from fmnist_tune.units import clock


class TrainingProgress(Screen):
    """Shows jobs on stderr."""

    def __init__(self, console: Console, started: float, status_every_s: float = STATUS_EVERY_S) -> None:
        """Make a display; arguments as `Screen` takes them."""
        super().__init__(console, started, status_every_s)
        self._phase = "getting ready"
        self._running: dict[str, tuple[Job, TrialReport | None]] = {}
        self._n_jobs = self._n_ended = 0

    def line(self, text: str, style: str = "dim") -> None:
        """Print a line that stays."""
        self._phase = text
        super().line(text, style)

    def expect(self, n_jobs: int) -> None:
        """Take note of how many jobs there are to be trained from now on."""
        self._n_jobs, self._n_ended = n_jobs, 0

    def on_begin(self, job: Job) -> None:
        """Show that a worker takes a job."""
        self._running[job.name] = (job, None)

    def warn(self, text: str) -> None:
        """Print a line on what went wrong and goes on."""
        self.line(text, "yellow")

    def on_epoch(self, job: Job, report: TrialReport) -> None:
        """Show how far a job is."""
        self._running[job.name] = (job, report)

    def on_wait(self, job: Job) -> None:
        """Show a job no more that no worker trains."""
        self._running.pop(job.name, None)

    def on_end(self, job: Job, text: str) -> None:
        """Say what came of a job."""
        self._running.pop(job.name, None)
        self._n_ended += 1
        super().line(f"{job.name}: {text}", "green")

    def _rows(self) -> list[Row]:
        running = list(self._running.values())  # copied at one stroke: this is the screen's thread
        return [_row(job, report) for job, report in running]

    def status(self) -> str:
        """Return what is going on as a line."""
        rows = self._rows()
        if not rows:
            return f"{self._phase} ..."
        return "; ".join([f"{self._n_ended} of {self._n_jobs} trainings ended", *(row.text for row in rows)])

    def view(self, width: int) -> RenderableType:
        """Return what is going on, in so many columns."""
        rows, elapsed = self._rows(), clock(self.elapsed_s)
        if not rows:
            return Text(f"{self._phase}, {elapsed}", style="bold", no_wrap=True, overflow="ellipsis")
        under_way = sum(_share(row) for row in rows)
        name = f"{self._n_ended} of {self._n_jobs} trainings ended"
        share = (self._n_ended + under_way) / max(1, self._n_jobs)
        accuracy = "val accuracy" if any(job.with_val for job, _ in list(self._running.values())) else "train accuracy"
        return Group(
            Text(""),
            headline(name, share, f"{elapsed} elapsed", width),
            rows_table(rows, width, names="training", accuracy=accuracy, notes=""),
        )


def _row(job: Job, report: TrialReport | None) -> Row:
    n_epochs = 0 if report is None else report.n_epochs
    is_over = n_epochs >= job.n_epochs or (report is not None and report.stop_reason is not None)
    accuracy = None
    if report is not None and report.epochs:
        accuracy = report.epochs[-1].val_accuracy if job.with_val else report.epochs[-1].train_accuracy
    state = "is scored" if is_over else "starting" if report is None else f"epoch {n_epochs + 1}"
    progress = None if is_over else progress_of(job.folder, n_epochs + 1)
    return Row(job.name, n_epochs, job.n_epochs, progress, accuracy, state)


def _share(row: Row) -> float:
    within = 0.0 if row.progress is None else row.progress.share
    return (row.epochs + within) / max(1, row.n_epochs)
