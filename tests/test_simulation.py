"""Searches on a simulated clock: whatever happens to their workers and drivers, their studies stay true."""

from __future__ import annotations

import atexit
import functools
import json
import math
import random
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import hypothesis.strategies as st
from hypothesis import HealthCheck, settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, TrialState

from fmnist_tune.config import read_space
from fmnist_tune.config.space import SearchSpace
from fmnist_tune.search.asha import Asha
from fmnist_tune.search.faults import Cause
from fmnist_tune.search.memory import Room
from fmnist_tune.search.messages import TrialReport
from fmnist_tune.search.simulation import (
    Checkpoint,
    Curve,
    SimulatedClock,
    SimulatedWorker,
    Simulation,
)
from fmnist_tune.study.database import database_url, open_database
from fmnist_tune.study.layout import StudyPaths
from fmnist_tune.study.record import StudyRecord
from fmnist_tune.study.sampling import values_of
from fmnist_tune.study.trial_data import curve_of, history_of, metadata_of
from fmnist_tune.study.trial_writer import has_ended_training, milestone_of
from fmnist_tune.tasks import Objective
from fmnist_tune.training.results import StopReason
from tests.mortal_storage import DriverKilledError, MortalStorage

LONGEST_ATTRIBUTE = 30_000  # characters; MySQL allows 64 kB
MACHINE_SPACE = """
study: s
search:
  trials: {trials}
  epoch_timeout: 10m
  sampler: {{name: {sampler}, seed: {seed}}}
  pruner: {pruner}
model: {{name: {{choice: [mlp, cnn]}}, base_channels: {{choice: [16, 24], when: {{model.name: cnn}}}}}}
training:
  epochs: {epochs}
  early_stopping: {patience}
  optimizer:
    name: {{choice: [sgd, adamw]}}
    lr: {{float: [1e-4, 1e-1], log: true}}
    momentum: {{choice: [0.8, 0.9], when: {{training.optimizer.name: sgd}}}}
"""


# After how many writes of an action its driver is killed: right before the next one, or (negative) right after the last.
KILLS = st.sampled_from([None] * 5 + [0, 1, 2, 3, 5, -1, -2, -3, -4, -6])

WOBBLE = 0.01
PICKS = st.lists(st.integers(0, 3), min_size=1, max_size=9)  # of the busy workers, which one trains


def random_curve(seed: int, number: int) -> Curve:
    """Return a curve in which equal accuracies are frequent."""
    rng = random.Random(1000 * seed + number)
    partial = {share: rng.randrange(1, 9) / 10 for share in (0.3, 0.6, 0.5)}
    return Curve([rng.randrange(1, 9) / 10 for _ in range(9)], rng.choice([5.0, 20.0, 80.0]), partial)


@functools.cache
def empty_database() -> Path:
    """Return a database without studies, to be copied."""
    folder = Path(tempfile.mkdtemp(prefix="simulation-"))
    atexit.register(shutil.rmtree, folder)
    open_database(database_url(folder), create=True).engine.dispose()
    return folder / "studies.db"


class Study:
    """A study as another process reads it from its database; and what must be true of it whatever has happened."""

    def __init__(self, reader: RDBStorage, space: SearchSpace) -> None:
        self.space = space
        self.trials = reader.get_all_trials(reader.get_study_id_from_name("s"))

    def check(self) -> None:
        """Check every trial by itself."""
        assert [t.number for t in self.trials] == list(range(len(self.trials)))
        for trial in self.trials:
            for value in (*trial.user_attrs.values(), *trial.system_attrs.values()):
                assert len(json.dumps(value)) <= LONGEST_ATTRIBUTE
            values = values_of(trial.params, self.space)
            active = {p.path for p in self.space.parameters if self.space.is_active(p, values)}
            assert active <= trial.params.keys()
            history = history_of(trial)
            assert [result.epoch for result in history] == list(range(1, len(history) + 1))
            epochs = trial.intermediate_values
            shared = [result for result in history if result.epoch in epochs]
            assert [result.val_accuracy for result in shared] == [epochs[result.epoch] for result in shared]
            self._check_end(trial)

    def _check_end(self, trial: FrozenTrial) -> None:
        facts, history = metadata_of(trial), history_of(trial)
        if trial.state == TrialState.COMPLETE:
            config = self.space.config(values_of(trial.params, self.space))
            is_short = len(history) < config.training.epochs
            assert facts["stop_reason"] == ("early_stopping" if is_short else "epochs")
            assert trial.intermediate_values == {result.epoch: result.val_accuracy for result in history}
            assert trial.value == Objective().value_of(config, history)
        elif trial.state == TrialState.PRUNED:
            assert self.space.settings.search.pruner.name != "none"
            assert facts["stop_reason"].startswith(f"{self.space.settings.search.pruner.name}: ")
            assert trial.value == (history[-1].val_accuracy if history else None)
            assert len(history) == len(trial.intermediate_values)
        elif trial.state == TrialState.FAIL:
            assert facts["reason"]
        assert ("reason" in facts) <= (trial.state == TrialState.FAIL) or not trial.state.is_finished()
        if trial.state.is_finished():
            assert facts.get("epochs", 0) == len(history)

    def rungs(self) -> list[float]:
        """Return ASHA's rungs up to the end of a training, by the paper's formula."""
        pruner = self.space.settings.search.pruner
        if not isinstance(pruner, Asha):
            return []
        found = [pruner.min_epochs * pruner.reduction_factor**k for k in range(12)]
        return [rung if rung < 0.9 else round(rung) for rung in found]

    def rung_of(self, number: int) -> float | None:
        """Return the rung at which a trial stands."""
        last = max(curve_of(self.trials[number]), default=0.0)
        return last if last in self.rungs() else None

    def may_be_promoted(self, number: int, rung: float, *, is_full: bool, at_deadline: bool) -> bool:
        """Return whether a trial is among those of its rung that go on."""
        curves = [curve_of(t) for t in self.trials]
        reached = sorted((-curve[rung], n) for n, curve in enumerate(curves) if rung in curve)
        place, n = reached.index((-curves[number][rung], number)) + 1, len(reached)
        pruner = self.space.settings.search.pruner
        assert isinstance(pruner, Asha)
        factor = pruner.reduction_factor
        allowed = math.ceil(n / factor) if is_full else n // factor
        return place <= max(allowed, (n + 1) // 2 if at_deadline else 0)


class SearchMachine(RuleBasedStateMachine):
    """A search to which everything happens that can: its driver is killed, its workers die, checkpoints are lost."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="simulation-"))
        self.clock = SimulatedClock(1000.0)
        self.checkpoints: dict[int, Checkpoint] = {}
        self.older: dict[int, Checkpoint] = {}
        self.simulation: Simulation | None = None
        self.acknowledged: dict[int, dict[float, float]] = {}
        self.promoted: set[tuple[int, float]] = set()
        self.at_fault: set[int] = set()  # trials of which something went wrong
        self.seen: list[FrozenTrial] = []
        self.n_assigned = 0

    @initialize(
        trials=st.integers(2, 9),
        sampler=st.sampled_from(["random", "tpe"]),
        seed=st.integers(0, 99),
        pruner=st.sampled_from(
            [
                "{name: none}",
                "{name: asha, min_epochs: 1, reduction_factor: 2}",
                "{name: asha, min_epochs: 0.3, reduction_factor: 2}",
                "{name: asha, min_epochs: 0.5, reduction_factor: 3}",
                "{name: asha, min_epochs: 2, reduction_factor: 2}",
                "{name: 'tests.plugins.my_schedulers:MedianStopping', first: 0.3, every: 2}",
                "{name: 'tests.plugins.my_schedulers:Growing', share: 0.5}",
                "{name: freeze-thaw}",
                "{name: freeze-thaw, min_epochs: 0.3}",
            ]
        ),
        epochs=st.sampled_from([1, 2, 4, 9]),
        patience=st.sampled_from(["null", "2"]),
        n_workers=st.integers(1, 4),
        is_exact=st.booleans(),
    )
    def create(
        self,
        trials: int,
        sampler: str,
        seed: int,
        pruner: str,
        epochs: int,
        patience: str,
        n_workers: int,
        is_exact: bool,
    ) -> None:
        self.seed, self.n_workers, self.is_exact = seed, n_workers, is_exact
        text = MACHINE_SPACE.format(
            trials=trials, sampler=sampler, seed=seed, pruner=pruner, epochs=epochs, patience=patience
        )
        self.space = read_space(text, "s.yaml")
        shutil.copy(empty_database(), self.folder)
        self.storage = MortalStorage(self.folder)
        self.reader = MortalStorage(self.folder)
        StudyRecord.open(self.storage, self.space, StudyPaths(self.folder, "s"))
        self.n_trials = trials
        self.begin_run(None)

    def curve(self, number: int, values: Mapping[str, Any]) -> Curve:
        """Return what a trial gives; on a GPU it is a little different every time."""
        curve = random_curve(self.seed, number)
        self.n_assigned += 1
        shift = 0.0 if self.is_exact else self.n_assigned % 7 * WOBBLE / 7
        return replace(curve, accuracies=[accuracy + shift for accuracy in curve.accuracies])

    def begin_run(self, timeout_s: float | None) -> None:
        record = StudyRecord.open(self.storage, self.space, StudyPaths(self.folder, "s"))
        record.quota.limit(self.n_trials)
        record.quota.extend()
        self.timeout_s = timeout_s
        self.simulation = Simulation(
            record,
            self.curve,
            n_workers=self.n_workers,
            clock=self.clock,
            timeout_s=timeout_s,
            checkpoints=self.checkpoints,
        )

    def do(self, action: Callable[[Simulation], None], kill: int | None = None) -> None:
        """Do something that may be the driver's death."""
        assert self.simulation is not None
        self.storage.n_left = None
        if kill is not None:
            self.storage.die_in(abs(kill), after=kill < 0)
        try:
            action(self.simulation)
        except DriverKilledError:
            self.bury()
        self.storage.n_left = None

    def bury(self) -> None:
        """Have no driver; what its last decision was, only the database tells."""
        self.simulation = None
        self.storage.engine.dispose()
        study = Study(self.reader, self.space)
        for number, trial in enumerate(study.trials):
            rung = study.rung_of(number)
            is_promoted = has_ended_training(trial) or (milestone_of(trial) or 0.0) > max(curve_of(trial), default=0.0)
            if not trial.state.is_finished() and rung is not None and is_promoted:
                self.note_promotion(study, number)

    def note_promotion(self, study: Study, number: int) -> None:
        """Check that a trial which goes on from a rung may, unless it already had."""
        rung = study.rung_of(number)
        if rung is None or (number, rung) in self.promoted:
            return
        if metadata_of(study.trials[number]).get("stop_reason") in get_args(StopReason):
            return  # it has been trained to its end, and comes to tell that
        is_full, at_deadline = len(study.trials) >= self.n_trials, self.timeout_s is not None
        assert study.may_be_promoted(number, rung, is_full=is_full, at_deadline=at_deadline)
        self.promoted.add((number, rung))

    is_alive = precondition(lambda self: self.simulation is not None)
    is_dead = precondition(lambda self: self.simulation is None)
    has_busy = precondition(lambda self: self.simulation is not None and self.simulation.busy)

    def any_busy(self, pick: int) -> tuple[int, SimulatedWorker]:
        assert self.simulation is not None
        return sorted(self.simulation.busy.items())[pick % len(self.simulation.busy)]

    def give(self, simulation: Simulation) -> None:
        """Give idle workers their next trials."""
        while simulation.idle:
            study = Study(self.reader, self.space)
            assignment = simulation.give()
            if assignment is None:
                return
            if assignment.number < len(study.trials):
                trial = study.trials[assignment.number]
                assert trial.state == TrialState.WAITING
                assert int(assignment.n_epochs_known) == len(history_of(trial))
                self.note_promotion(study, assignment.number)

    def train(self, number: int, worker: SimulatedWorker) -> TrialReport:
        """Let a worker train, whose checkpoint then is newer than what has become of it."""
        if number in self.checkpoints:
            self.older[number] = self.checkpoints[number]
        report = worker.step()
        self.clock.now += report.spent_s / self.n_workers
        return report

    def work(self, picks: Sequence[int], kill: int | None) -> None:
        """Have workers train one after the other."""

        def action(simulation: Simulation) -> None:
            for i, pick in enumerate(picks):
                self.storage.n_left = None
                self.give(simulation)
                if not simulation.busy:
                    return
                number, worker = self.any_busy(pick)
                if i == len(picks) - 1 and kill is not None:
                    self.storage.die_in(abs(kill), after=kill < 0)
                known = simulation.driver.running[number].spec.curve
                report = self.train(number, worker)
                self.acknowledge(report, simulation.take(report), known)

        self.do(action)

    # Three times, so that most of what happens is work.
    work_1 = is_alive(rule(picks=PICKS, kill=KILLS)(work))
    work_2 = is_alive(rule(picks=PICKS, kill=KILLS)(work))
    work_3 = is_alive(rule(picks=PICKS, kill=KILLS)(work))

    @is_alive
    @rule(kill=KILLS)
    def trials_are_given(self, kill: int | None) -> None:
        self.do(self.give, kill)

    def acknowledge(self, report: TrialReport, goes_on: bool, known: Mapping[float, float]) -> None:
        """Take note of what the driver has taken in: of an epoch that the study knew, the accuracy that it knew."""
        acknowledged = self.acknowledged.setdefault(report.number, {})
        for result in report.evaluations:
            before = known.get(result.epoch) if result.epoch >= 1 else None
            acknowledged.setdefault(result.epoch, result.val_accuracy if before is None else before)
        if goes_on:
            self.note_promotion(Study(self.reader, self.space), report.number)

    @has_busy
    @rule(pick=st.integers(0, 3), cause=st.sampled_from(Cause), trains_before=st.booleans(), kill=KILLS)
    def worker_dies(self, pick: int, cause: Cause, trains_before: bool, kill: int | None) -> None:
        number, worker = self.any_busy(pick)
        self.at_fault.add(number)

        def action(simulation: Simulation) -> None:
            if trains_before:
                self.train(number, worker)
            simulation.driver.on_crash(number, "killed", cause)
            simulation.free(number)

        self.do(action, kill)

    @has_busy
    @rule(
        pick=st.integers(0, 3),
        cause=st.sampled_from([Cause.TRIAL, Cause.UNKNOWN, Cause.MEMORY]),
        has_room=st.booleans(),
        kill=KILLS,
    )
    def trial_fails(self, pick: int, cause: Cause, has_room: bool, kill: int | None) -> None:
        number, _ = self.any_busy(pick)
        self.at_fault.add(number)
        room = Room(2**34 if has_room else 2**28, 2**35) if cause == Cause.MEMORY else None
        failure = "OutOfMemoryError: too large" if cause == Cause.MEMORY else "RuntimeError: loss is nan"
        n_epochs = len(self.checkpoints.get(number, Checkpoint()).history)
        report = TrialReport(number, (), n_epochs, None, failure, {"ran_on": "here"}, cause=cause, room=room)

        def action(simulation: Simulation) -> None:
            assert not simulation.take(report)

        self.do(action, kill)

    @has_busy
    @rule(kill=KILLS)
    def workers_hang(self, kill: int | None) -> None:
        self.clock.now += 700.0

        def action(simulation: Simulation) -> None:
            for number in simulation.driver.overdue():
                self.at_fault.add(number)
                simulation.driver.on_hang(number)
                late = self.train(number, simulation.busy[number])
                assert not simulation.take(late)

        self.do(action, kill)

    @has_busy
    @rule(kill=KILLS)
    def all_workers_are_lost(self, kill: int | None) -> None:
        def action(simulation: Simulation) -> None:
            self.at_fault.update(simulation.busy)
            simulation.driver.on_lost_workers("out of memory")
            for number in list(simulation.busy):
                simulation.free(number)

        self.do(action, kill)

    @is_alive
    @rule(seconds=st.sampled_from([1.0, 60.0, 1000.0]))
    def time_passes(self, seconds: float) -> None:
        assert self.simulation is not None
        self.clock.now += seconds
        for number in self.simulation.busy:
            self.simulation.driver.on_wait(number)

    def lose_checkpoint(self, pick: int, is_lost: bool) -> None:
        """Have a trial that nobody trains be without its checkpoint, or have an older one."""
        numbers = [n for n in sorted(self.checkpoints) if self.simulation is None or n not in self.simulation.busy]
        if not numbers:
            return
        number = numbers[pick % len(numbers)]
        if is_lost or number not in self.older:
            del self.checkpoints[number]
            self.older.pop(number, None)
        else:
            self.checkpoints[number] = self.older[number]

    @is_alive
    @rule(pick=st.integers(0, 9), is_lost=st.booleans())
    def a_checkpoint_is_lost_or_older(self, pick: int, is_lost: bool) -> None:
        self.lose_checkpoint(pick, is_lost)

    @is_alive
    @rule(trains_on=st.booleans())
    def the_driver_is_killed(self, trains_on: bool) -> None:
        assert self.simulation is not None
        for number, worker in self.simulation.busy.items():
            if trains_on:  # workers end the epochs that they are in
                self.train(number, worker)
        self.bury()

    @is_alive
    @rule(picks=PICKS, kill=KILLS)
    def a_stop_is_requested(self, picks: Sequence[int], kill: int | None) -> None:
        assert self.simulation is not None
        self.simulation.driver.stop_requested = True
        self.work(picks, None)

        def action(simulation: Simulation) -> None:
            simulation.driver.release_all()
            self.bury()

        self.do(action, kill)

    @is_dead
    @rule(
        timeout_s=st.sampled_from([None, None, 100.0, 1000.0, 10000.0]),
        n_more=st.sampled_from([0, 0, 1, 2]),
        lost=st.lists(st.tuples(st.integers(0, 9), st.booleans()), max_size=3),
        kill=KILLS,
    )
    def a_run_begins(
        self, timeout_s: float | None, n_more: int, lost: Sequence[tuple[int, bool]], kill: int | None
    ) -> None:
        for pick, is_lost in lost:
            self.lose_checkpoint(pick, is_lost)
        self.n_trials += n_more if self.n_trials < 12 else 0
        if kill is not None:
            self.storage.die_in(abs(kill), after=kill < 0)
        try:
            self.begin_run(timeout_s)
        except DriverKilledError:
            self.bury()
        self.storage.n_left = None

    @is_dead
    @precondition(lambda self: self.simulation is None and len(self.seen) == self.n_trials)
    @rule()
    def an_undisturbed_run_ends_every_trial(self) -> None:
        self.storage.n_left = None
        self.begin_run(None)
        assert self.simulation is not None
        self.simulation.run()
        assert self.simulation.driver.record.is_finished
        self.bury()

    @invariant()
    def the_study_is_true(self) -> None:
        study = Study(self.reader, self.space)
        study.check()
        assert len(study.trials) <= self.n_trials
        for before, trial in zip(self.seen, study.trials, strict=False):
            assert trial.params == before.params
            if before.state.is_finished():
                assert trial == before
        self.seen = study.trials
        for number, known in self.acknowledged.items():
            curve = curve_of(study.trials[number])
            assert {epoch: curve.get(epoch) for epoch in known} == known
        for trial in study.trials:
            assert trial.state != TrialState.FAIL or trial.number in self.at_fault
            made = random_curve(self.seed, trial.number)
            for epoch, value in trial.intermediate_values.items():
                assert 0 <= value - made.accuracies[epoch - 1] <= (0.0 if self.is_exact else WOBBLE)
            partial = {epoch: value for epoch, value in curve_of(trial).items() if epoch < 1}
            assert partial == {epoch: made.partial[epoch] for epoch in partial}
        if self.simulation is not None:
            self.check_memory(study, self.simulation)

    def check_memory(self, study: Study, simulation: Simulation) -> None:
        """Check that a driver knows what its database has, and that a trial runs where a worker has it."""
        running = {t.number for t in study.trials if t.state == TrialState.RUNNING}
        assert running == simulation.driver.running.keys() == simulation.busy.keys()
        assert len(simulation.busy) + len(simulation.idle) == self.n_workers
        for trial, kept in zip(study.trials, simulation.driver.record.trials, strict=True):
            for name in ("number", "state", "values", "params", "intermediate_values", "user_attrs", "system_attrs"):
                assert getattr(trial, name) == getattr(kept, name), name
            epochs = trial.intermediate_values
            assert list(epochs) == list(range(1, len(epochs) + 1))
            assert len(history_of(trial)) <= len(epochs)

    def teardown(self) -> None:
        self.reader.engine.dispose()
        self.storage.engine.dispose()
        shutil.rmtree(self.folder)


TestSearches = SearchMachine.TestCase
TestSearches.settings = settings(
    max_examples=20,
    stateful_step_count=25,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
)
