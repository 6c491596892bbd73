"""What a person sees while seeds are trained: a bar for each on a terminal, plain lines elsewhere."""

from __future__ import annotations

import math
import time
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.text import Text

from fmnist_tune.search.display import clock
from fmnist_tune.search.messages import TrialReport
from fmnist_tune.search.pool import Job

STATUS_EVERY_S = 30.0


class TrainingProgress:
    """Shows jobs on stderr."""

    def __init__(self, console: Console, started: float) -> None:
        """Make a display; `started` is time.monotonic() at the beginning of the command."""
        self._console = console
        self._started = started
        self._bars: dict[str, TaskID] = {}
        self._last: dict[str, str] = {}
        self._last_status = started
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=30),
            TextColumn("epoch {task.completed:.0f}/{task.total:.0f}"),
            TextColumn("{task.fields[note]}", style="green"),
            TimeRemainingColumn(),
            console=console,
            transient=True,
            speed_estimate_period=math.inf,  # an epoch may take minutes
        )

    def __enter__(self) -> TrainingProgress:
        if self._console.is_terminal:
            self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._console.is_terminal:
            self._progress.stop()

    def line(self, text: str, style: str = "dim") -> None:
        """Print a line that stays."""
        self._console.print(Text(f"[{clock(time.monotonic() - self._started)}] {text}", style=style), soft_wrap=True)

    def on_epoch(self, job: Job, report: TrialReport) -> None:
        """Show how far a job is."""
        if not report.history:
            return
        last = report.history[-1]
        note = f"train accuracy {last.train_accuracy:.2%}"
        if job.with_val:
            note = f"val accuracy {last.val_accuracy:.2%}"
        if self._console.is_terminal:
            if job.name not in self._bars:
                self._bars[job.name] = self._progress.add_task(job.name, total=job.n_epochs, note="")
            self._progress.update(self._bars[job.name], completed=last.epoch, note=note)
            return
        self._last[job.name] = f"{job.name}: epoch {last.epoch}/{job.n_epochs}, {note}"
        if time.monotonic() - self._last_status >= STATUS_EVERY_S:
            self._last_status = time.monotonic()
            self.line("; ".join(self._last.values()))

    def on_end(self, job: Job, text: str) -> None:
        """Say what came of a job."""
        self._last.pop(job.name, None)
        if job.name in self._bars:
            self._progress.remove_task(self._bars.pop(job.name))
        self.line(f"{job.name}: {text}", "green")
