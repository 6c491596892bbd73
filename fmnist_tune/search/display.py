"""A search on the screen: its events as lines, and its current state."""

from __future__ import annotations

import math
from collections import Counter

from optuna.trial import TrialState
from rich.console import Console, Group, RenderableType
from rich.text import Text

from fmnist_tune.search.driver import Driver
from fmnist_tune.search.events import Event
from fmnist_tune.search.progress import progress_of
from fmnist_tune.search.running import RunningTrial
from fmnist_tune.search.screen import Row, Screen, headline, packed, rows_table
from fmnist_tune.study.summary import PAUSED, Highest, highest_of
from fmnist_tune.units import clock

STYLES = {"complete": "green", "failed": "red", "interrupted": "yellow", "warning": "yellow"}


class Display(Screen):
    """Shows a driver's events on stderr."""

    def __init__(self, console: Console, study: str, started: float) -> None:
        """Make a display.

        Args:
            console: writes to stderr.
            study: the study's name.
            started: time.monotonic() at the start of the run.
        """
        super().__init__(console, started)
        self._study = study
        self._driver: Driver | None = None
        self._counts: Counter[str] = Counter()
        self._n_target = self._n_before = 0
        self._highest: Highest | None = None
        self._best: tuple[float, int] | None = None
        self._phase = "getting ready"

    def phase(self, text: str) -> None:
        """Show what is being done before or besides training."""
        self._phase = text
        self.line(text)

    def attach(self, driver: Driver) -> None:
        """Show a driver from now on, including the trials already in its study."""
        trials = driver.record.trials
        self._n_target = driver.record.quota.n_target
        names = {TrialState.COMPLETE: "complete", TrialState.PRUNED: "pruned", TrialState.FAIL: "failed"}
        self._counts = Counter(dict.fromkeys(names.values(), 0))  # all keys: the screen's thread iterates over them
        self._counts.update(names[t.state] for t in trials if t.state in names)
        self._n_before = sum(self._counts.values())
        self._highest = highest_of(trials)
        for trial in trials:
            if trial.state == TrialState.COMPLETE and trial.value is not None:
                self._best = max(self._best or (trial.value, trial.number), (trial.value, trial.number))
        self._driver = driver

    def event(self, event: Event) -> None:
        """Show an event."""
        result = event.result
        if event.kind == "epoch":
            assert result is not None
            known = self._highest
            if known is None or known.epoch < 1 or result.val_accuracy > known.value:
                self._highest = Highest(result.val_accuracy, event.number, result.epoch)
            return
        if event.kind in self._counts:
            self._counts[event.kind] += 1
        text = event.text
        if event.value is not None and result is not None:
            new_best = self._best is None or event.value > self._best[0]
            self._best = (event.value, event.number) if new_best else self._best
            text = f"{event.text} after {result.epoch} epochs{', the best so far' if new_best else ''}"
        self.line(f"trial {event.number:<3} {event.kind:<8} {text}", STYLES.get(event.kind, "dim"))

    def share_done(self) -> float:
        """Return the share of the search that is done, 0 to 1: of its trials or its time, whichever is larger."""
        if self._driver is None:
            return 0.0
        elapsed_s = self.elapsed_s
        of_time = elapsed_s / (elapsed_s + self._until_deadline_s())
        return max(of_time, sum(self._counts.values()) / max(1, self._n_target))

    def status(self) -> str:
        """Return the current state on one line."""
        if self._driver is None:
            return f"{self._phase} ..."
        running = "; ".join(f"trial {row.text}" for row in self._rows())
        counts = ", ".join(self._progress())
        return "; ".join([counts, running or "no trial is being trained", *self._results(), self._time_left()])

    def _progress(self) -> list[str]:
        assert self._driver is not None
        counts = self._counts + Counter({PAUSED: self._driver.n_paused})
        shown = [f"{counts[kind]} {kind}" for kind in (*self._counts, PAUSED) if counts[kind]]
        return [f"{sum(self._counts.values())} of {self._n_target} trials ended", *shown]

    def _results(self) -> list[str]:
        assert self._driver is not None
        texts = []
        if self._best is not None:
            texts.append(f"best trial {self._driver.record.objective.text(self._best[0])} (trial {self._best[1]})")
        highest = (
            "no epoch ended yet"
            if self._highest is None
            else f"highest so far {self._highest.text(self._driver.record.objective)}"
        )
        return [*texts, highest]

    def _time_left(self) -> str:
        elapsed_s = self.elapsed_s
        done = sum(self._counts.values())
        n_new = done - self._n_before
        estimate_s = elapsed_s / n_new * max(0, self._n_target - done) if n_new >= 3 else math.inf
        until_s = self._until_deadline_s()
        left = ""
        if estimate_s < until_s:
            left = f", about {clock(estimate_s)} left"
        elif until_s < math.inf:
            left = f", at most {clock(until_s)} left"
        return f"{clock(elapsed_s)} elapsed{left}"

    def _until_deadline_s(self) -> float:
        assert self._driver is not None
        return max(0.0, self._driver.deadline.left_s)

    def _rows(self) -> list[Row]:
        assert self._driver is not None
        running = list(self._driver.running.items())  # an atomic copy: this is the screen's thread
        return [self._row(trial) for _, trial in sorted(running)]

    def _row(self, trial: RunningTrial) -> Row:
        assert self._driver is not None
        spec = trial.spec
        folder = self._driver.record.paths.trial_folder(spec.number)
        progress, accuracy = progress_of(folder, trial.n_epochs + 1), trial.accuracy
        is_heard = trial.report is not None
        return Row(
            name=str(spec.number),
            epochs=trial.n_epochs,
            n_epochs=spec.config.training.epochs,
            progress=progress,
            accuracy="" if accuracy is None else self._driver.record.objective.curve_text(accuracy),
            state=f"epoch {trial.n_epochs + 1}" if is_heard else "starting",
            note=short_values(spec.values),
        )

    def view(self, width: int) -> RenderableType:
        """Return the current state, `width` columns wide."""
        if self._driver is None:
            return Text(f"{self._study}: {self._phase}, {clock(self.elapsed_s)}", style="bold", no_wrap=True)
        accuracy = f"val {self._driver.record.objective.curve_label}"
        note = "stopping after the running epochs; Ctrl-C again stops at once"
        return Group(
            Text(""),
            headline(self._study, self.share_done(), self._time_left(), width),
            Text(packed(self._progress(), ", ", width)),
            Text(packed(self._results(), "; ", width), style="green"),
            rows_table(self._rows(), width, names="trial", accuracy=accuracy, notes="parameters"),
            Text(note if self._driver.stop_requested else "", style="yellow"),
        )


def short_values(values: object) -> str:
    """Return a trial's values on one line, each named by the last part of its path."""
    assert isinstance(values, dict)
    return " ".join(
        f"{_short_name(path)}={value:.3g}" if isinstance(value, float) else f"{_short_name(path)}={value}"
        for path, value in values.items()
    )


def _short_name(path: str) -> str:
    head, _, name = path.rpartition(".")
    return head.rpartition(".")[2] if name == "name" else name
