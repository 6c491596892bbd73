"""What a person sees while a search runs: one live view on a terminal, plain lines elsewhere."""

from __future__ import annotations

import math
import time
from collections import Counter
from types import TracebackType

from optuna.trial import TrialState
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from fmnist_tune.search.driver import Driver
from fmnist_tune.search.events import Event

REFRESH_PER_S = 2
STATUS_EVERY_S = 30.0


class Display:
    """Shows a driver's events on stderr."""

    def __init__(self, console: Console, study: str, started: float) -> None:
        """Make a display.

        Args:
            console: writes to stderr.
            study: its name.
            started: time.monotonic() at the beginning of the run.
        """
        self._console = console
        self._study = study
        self._started = started
        self._driver: Driver | None = None
        self._counts: Counter[str] = Counter()
        self._n_target = self._n_before = 0
        self._leader: tuple[float, int, int] | None = None
        self._best: tuple[float, int] | None = None
        self._phase = ""
        self._last_status = started
        self._live = Live(
            console=console, get_renderable=self._render, refresh_per_second=REFRESH_PER_S, transient=True
        )

    def __enter__(self) -> Display:
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._console.is_terminal:
            self._live.stop()

    def phase(self, text: str) -> None:
        """Say what is going on before or beside the training."""
        self._phase = text
        self.line(text)

    def line(self, text: str, style: str = "dim") -> None:
        """Print a line that stays."""
        self._console.print(Text(f"[{clock(time.monotonic() - self._started)}] {text}", style=style), soft_wrap=True)

    def attach(self, driver: Driver) -> None:
        """Show a driver from now on, with what its study holds already."""
        trials = driver.record.trials
        self._n_target = driver.record.n_target
        names = {TrialState.COMPLETE: "complete", TrialState.PRUNED: "pruned", TrialState.FAIL: "failed"}
        self._counts = Counter(dict.fromkeys(names.values(), 0))  # all keys: the screen's thread goes through them
        self._counts.update(names[t.state] for t in trials if t.state in names)
        self._n_before = sum(self._counts.values())
        for trial in trials:
            for epoch, value in trial.intermediate_values.items():
                self._lead(value, trial.number, epoch)
            if trial.state == TrialState.COMPLETE and trial.value is not None:
                self._best = max(self._best or (trial.value, trial.number), (trial.value, trial.number))
        self._driver = driver
        self._phase = ""

    def event(self, event: Event) -> None:
        """Take in an event."""
        if event.kind == "epoch":
            assert event.result is not None
            self._lead(event.result.val_accuracy, event.number, event.result.epoch)
            if time.monotonic() - self._last_status >= STATUS_EVERY_S and not self._console.is_terminal:
                self._last_status = time.monotonic()
                self.line(self._status())
            return
        if event.kind in ("complete", "pruned", "failed"):
            self._counts[event.kind] += 1
        styles = {"complete": "green", "failed": "red", "interrupted": "yellow", "trouble": "yellow"}
        result = event.result
        if event.value is not None and result is not None:
            new_best = self._best is None or event.value > self._best[0]
            self._best = (event.value, event.number) if new_best else self._best
            text = f"{event.text} after {result.epoch} epochs{', the best so far' if new_best else ''}"
        else:
            text = event.text
        self.line(f"trial {event.number:<3} {event.kind:<8} {text}", styles.get(event.kind, "dim"))

    def _lead(self, value: float, number: int, epoch: int) -> None:
        if self._leader is None or value > self._leader[0]:
            self._leader = (value, number, epoch)

    def _status(self) -> str:
        assert self._driver is not None
        running = ", ".join(
            f"trial {number} epoch {last.epoch}/{trial.attempt.config.training.epochs} at {last.val_accuracy:.2%}"
            for number, trial in self._driver.running.items()
            if (last := trial.last) is not None
        )
        return f"{self._progress()}; running: {running or 'none yet'}; {self._highest()}"

    def _progress(self) -> str:
        done = sum(self._counts.values())
        counts = self._counts + Counter(paused=0 if self._driver is None else self._driver.n_paused)
        shown = ", ".join(
            f"{counts[kind]} {kind}" for kind in ("complete", "pruned", "failed", "paused") if counts[kind]
        )
        return f"{done}/{self._n_target} trials{f' ({shown})' if shown else ''}"

    def _highest(self) -> str:
        if self._leader is None:
            return "no epoch finished yet"
        value, number, epoch = self._leader
        return f"highest so far {value:.2%} (trial {number}, epoch {epoch})"

    def _time_left(self) -> str:
        assert self._driver is not None
        now = time.monotonic()
        elapsed_s = now - self._started
        done = sum(self._counts.values())
        n_new = done - self._n_before
        estimate_s = elapsed_s / n_new * max(0, self._n_target - done) if n_new >= 3 else math.inf
        until_s = self._until_deadline_s(now)
        left = ""
        if estimate_s < until_s:
            left = f", about {clock(estimate_s)} left"
        elif until_s < math.inf:
            left = f", at most {clock(until_s)} left"
        return f"{clock(elapsed_s)} elapsed{left}"

    def _until_deadline_s(self, now: float) -> float:
        assert self._driver is not None
        return math.inf if self._driver.deadline.at is None else max(0.0, self._driver.deadline.at - now)

    def share_done(self) -> float:
        """Return how much of the search is done, 0 to 1: of its trials or of its time, whichever will end it."""
        if self._driver is None:
            return 0.0
        now = time.monotonic()
        elapsed_s = now - self._started
        of_time = elapsed_s / (elapsed_s + self._until_deadline_s(now))
        return max(of_time, sum(self._counts.values()) / max(1, self._n_target))

    def _render(self) -> RenderableType:
        if self._driver is None:
            return Text(f"{self._study}: {self._phase}", style="bold")
        head = Table.grid(padding=(0, 1))
        head.add_row(
            Text(self._study, style="bold cyan"),
            ProgressBar(total=1, completed=self.share_done(), width=30),
            Text(self._progress()),
            Text(self._time_left(), style="dim"),
        )
        table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim", expand=True)
        for name in ("trial", "epoch", "val accuracy"):
            table.add_column(name, no_wrap=True, min_width=len(name))
        table.add_column("parameters", no_wrap=True, overflow="ellipsis", ratio=1)
        for number, trial in sorted(self._driver.running.items()):
            last, config = trial.last, trial.attempt.config
            table.add_row(
                str(number),
                f"{last.epoch if last else 0}/{config.training.epochs}",
                f"{last.val_accuracy:.2%}" if last else "-",
                Text(short_values(trial.attempt.values), style="dim"),
            )
        highest = self._highest()
        if self._best is not None:
            best = self._driver.record.objective.text(self._best[0])
            highest = f"best complete trial {best} (trial {self._best[1]}); {highest}"
        note = (
            Text("stopping after the running epochs; Ctrl-C again stops at once", style="yellow")
            if self._driver.stop_requested
            else Text("")
        )
        return Group(Text(""), head, Text(highest, style="green"), table, note)


def short_values(values: object) -> str:
    """Return a trial's values on one line, each by the last part of its name."""
    assert isinstance(values, dict)
    return " ".join(
        f"{_short_name(path)}={value:.3g}" if isinstance(value, float) else f"{_short_name(path)}={value}"
        for path, value in values.items()
    )


def _short_name(path: str) -> str:
    head, _, name = path.rpartition(".")
    return head.rpartition(".")[2] if name == "name" else name


def clock(seconds: float) -> str:
    """Return a duration as mm:ss or h:mm:ss."""
    minutes, seconds = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes:02}:{seconds:02}"
