"""Searches without training: learning curves replayed through the real driver and a real study, on a simulated clock.

Everything that decides or records is real: the driver, its queue, ASHA, the deadline, the study's database. Only the
workers, which know their results beforehand, and the time are simulated.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from fmnist_tune.search.driver import Driver
from fmnist_tune.search.messages import Assignment, TrialReport
from fmnist_tune.search.pace import Pace
from fmnist_tune.study.record import StudyRecord
from fmnist_tune.training.results import EpochResult, Evaluation, StopReason, best_epoch

CHANCE = 0.1  # accuracy of a guess among ten classes
VAL_SHARE = 0.1  # of an epoch's seconds
N_IMAGES = 50_000


class SimulatedClock:
    """A clock that only moves when it is set.

    Attributes:
        now: seconds.
    """

    def __init__(self, now: float = 0.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


@dataclass(frozen=True)
class Curve:
    """The results of a simulated training.

    Attributes:
        accuracies: validation accuracy after each epoch, at least as many as are trained.
        epoch_s: seconds that each epoch takes.
        partial: validation accuracy by the share of the first epoch; missing ones rise linearly from chance.
    """

    accuracies: Sequence[float]
    epoch_s: float
    partial: Mapping[float, float] = field(default_factory=dict)

    def result(self, epoch: int) -> EpochResult:
        """Return an epoch's result; only its validation accuracy and its seconds are meaningful."""
        accuracy, val_s = self.accuracies[epoch - 1], VAL_SHARE * self.epoch_s
        return EpochResult(
            epoch=epoch,
            train_loss=1 - accuracy,
            train_accuracy=accuracy,
            val_loss=1 - accuracy,
            val_accuracy=accuracy,
            lr=1e-3,
            train_s=self.epoch_s - val_s,
            val_s=val_s,
            n_images=N_IMAGES,
        )

    def partial_result(self, share: float) -> Evaluation:
        """Return the evaluation at a share of the first epoch."""
        linear = CHANCE + share * (self.accuracies[0] - CHANCE)
        train_s = share * (1 - VAL_SHARE) * self.epoch_s
        return Evaluation(epoch=share, val_accuracy=self.partial.get(share, linear), train_s=train_s, val_s=0.0)


# Maps a trial's number and its searched values, by dotted path, to its curve.
Curves: TypeAlias = Callable[[int, Mapping[str, Any]], Curve]


def curves_from_table(rows: Iterable[tuple[Mapping[str, Any], Curve]]) -> Curves:
    """Return curves from a table of recorded trainings; they raise KeyError for other values."""
    table = {_key(values): curve for values, curve in rows}
    return lambda number, values: table[_key(values)]


def _key(values: Mapping[str, Any]) -> str:
    return repr(sorted(values.items()))


@dataclass(frozen=True)
class Checkpoint:
    """A trial's progress.

    Attributes:
        history: its epochs.
        share: of the next epoch, at the latest evaluation; 0 at an epoch's end.
    """

    history: Sequence[EpochResult] = ()
    share: float = 0.0


class SimulatedWorker:
    """Does one assignment after another from curves, as `Worker` does by training."""

    def __init__(self, curves: Curves, checkpoints: MutableMapping[int, Checkpoint]) -> None:
        """Make a worker without an assignment.

        Args:
            curves: the results.
            checkpoints: of all trials, by number; updated.
        """
        self._curves = curves
        self._checkpoints = checkpoints
        self.assignment: Assignment | None = None
        self._n_reported: int | None = None

    def assign(self, assignment: Assignment, values: Mapping[str, Any]) -> None:
        """Take a trial without starting it."""
        self.assignment = assignment
        self._curve = self._curves(assignment.number, values)
        self._n_reported = None

    def step(self) -> TrialReport:
        """Train to the next evaluation, or report epochs that the study lacks."""
        assert self.assignment is not None
        number, spent_s = self.assignment.number, 0.0
        partial: list[Evaluation] = []
        before = self._checkpoints.get(number, Checkpoint())
        if self._n_reported is None:
            self._n_reported = min(int(self.assignment.n_epochs_known), len(before.history))
        after = before
        if len(before.history) == self._n_reported and self._stop_reason(before.history) is None:
            shares = () if before.history else self.assignment.partial
            share = min((share for share in shares if share > before.share), default=1.0)
            spent_s = (share - before.share) * self._curve.epoch_s
            if share < 1:
                partial, after = [self._curve.partial_result(share)], Checkpoint(before.history, share)
            else:
                after = Checkpoint([*before.history, self._curve.result(len(before.history) + 1)])
            self._checkpoints[number] = after
        news = (*after.history[self._n_reported :], *partial)
        self._n_reported = len(after.history)
        return TrialReport(
            number=number,
            evaluations=news,
            n_epochs=len(after.history),
            stop_reason=self._stop_reason(after.history),
            failure=None,
            metadata={"ran_on": "a simulated worker"},
            spent_s=spent_s,
        )

    def _stop_reason(self, history: Sequence[EpochResult]) -> StopReason | None:
        assert self.assignment is not None
        training = self.assignment.config["training"]
        patience = training.get("early_stopping")
        if len(history) >= training["epochs"]:
            return "epochs"
        if patience is not None and history and len(history) - best_epoch(history) >= patience:
            return "early_stopping"
        return None


class Simulation:
    """A search: a driver and its workers.

    Attributes:
        driver: the real one.
        idle: workers without a trial.
        busy: workers that train, by the number of their trial.
    """

    def __init__(
        self,
        record: StudyRecord,
        curves: Curves,
        *,
        n_workers: int,
        clock: SimulatedClock | None = None,
        timeout_s: float | None = None,
        checkpoints: MutableMapping[int, Checkpoint] | None = None,
    ) -> None:
        """Start or resume a run on a study.

        Args:
            record: the study.
            curves: the results.
            n_workers: trials at a time.
            clock: of the simulation.
            timeout_s: of the run; None for no limit.
            checkpoints: left by an earlier run; updated.
        """
        self.clock = SimulatedClock() if clock is None else clock
        self.driver = Driver(
            record,
            deadline=None if timeout_s is None else self.clock() + timeout_s,
            n_threads=1,
            n_workers=n_workers,
            on_event=lambda event: None,
            pace=Pace(is_local=False, clock=self.clock),
            clock=self.clock,
        )
        checkpoints = {} if checkpoints is None else checkpoints
        self.idle = [SimulatedWorker(curves, checkpoints) for _ in range(n_workers)]
        self.busy: dict[int, SimulatedWorker] = {}

    def give(self) -> Assignment | None:
        """Give an idle worker its next trial and return it; None if there is none now."""
        assignment = self.driver.next_assignment()
        if assignment is not None:
            assert assignment.number not in self.busy
            worker = self.idle.pop()
            worker.assign(assignment, self.driver.running[assignment.number].spec.values)
            self.busy[assignment.number] = worker
        return assignment

    def take(self, report: TrialReport) -> bool:
        """Pass a worker's report to the driver; return whether the worker continues its trial."""
        goes_on = self.driver.on_report(report)
        if not goes_on:
            self.free(report.number)
        return goes_on

    def free(self, number: int) -> None:
        """Mark a trial's worker as idle: it has finished, or died and was replaced."""
        self.idle.append(self.busy.pop(number))

    def run(self) -> None:
        """Search until the driver has no more; the clock then shows the end."""
        reports: list[tuple[float, int, TrialReport]] = []  # under way, by the time of their arrival

        def begin_step(number: int) -> None:
            report = self.busy[number].step()
            heapq.heappush(reports, (self.clock() + report.spent_s, number, report))

        for number in self.busy:
            begin_step(number)
        while True:
            while self.idle and (assignment := self.give()) is not None:
                begin_step(assignment.number)
            if reports:
                self.clock.now, number, report = heapq.heappop(reports)
                if self.take(report):
                    begin_step(number)
            elif self.driver.is_waiting:
                self.clock.now += 1.0
            else:
                return
