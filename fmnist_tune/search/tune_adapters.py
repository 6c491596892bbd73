"""Ray Tune's two questions, what to run next and whether to go on, passed to the driver."""

from __future__ import annotations

import logging
import os
import shutil
import tempfile
import time
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import OutOfMemoryError
from ray.tune import Callback, CheckpointConfig, RunConfig, TuneConfig, Tuner, with_parameters, with_resources
from ray.tune.experiment import Trial
from ray.tune.schedulers import FIFOScheduler, TrialScheduler
from ray.tune.search import Searcher

from fmnist_tune.errors import UserError
from fmnist_tune.search.actor import TrialActor
from fmnist_tune.search.cluster import WorkerPlan
from fmnist_tune.search.driver import Driver
from fmnist_tune.search.faults import read_death
from fmnist_tune.search.memory import count_kills
from fmnist_tune.search.messages import TrialReport
from fmnist_tune.search.worker_start import WorkerStart


class _Shared:
    """Ray copies and pickles what it is given, for a restore that we do not use: copies are the same, pickles empty."""

    def __deepcopy__(self, memo: dict[int, Any]) -> _Shared:
        return self

    def __getstate__(self) -> dict[str, Any]:
        return {}


class _DriverSearcher(_Shared, Searcher):  # type: ignore[misc]  # Ray's classes are untyped here
    """What to run next."""

    def __init__(self, driver: Driver) -> None:
        super().__init__(metric=None, mode=None)
        self._driver = driver

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        with self._driver.record.hold.writing():
            assignment = self._driver.next_assignment()
        if assignment is not None:
            return {"assignment": assignment}
        # A running trial's worker may die and put the trial back in the queue: only an idle search is finished. One
        # that waits for memory ends here too, which frees that of its workers; `run_trials` begins it again.
        return None if self._driver.running else Searcher.FINISHED

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Nothing to do: the driver has been told by the scheduler."""

    def save(self, checkpoint_path: str) -> None:
        """Nothing to save: the study is the only state."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing to restore."""


class DriverScheduler(_Shared, FIFOScheduler):  # type: ignore[misc]  # as above
    """Whether to go on. Ray shows a stopping result to the scheduler alone, never to the searcher."""

    def __init__(self, driver: Driver, *, is_local: bool = True) -> None:
        super().__init__()
        self._driver = driver
        self._is_local = is_local
        self._n_kills = count_kills()

    def choose_trial_to_run(self, tune_controller: Any) -> Trial | None:
        """Do as usual; trials that wait for a place in the cluster and can no longer begin in time are put back."""
        for trial in list(tune_controller.get_live_trials()):
            if trial.status == Trial.PENDING and self._driver.is_over(trial.config["assignment"].number):
                trial.init_local_path()  # Tune asks for its folder in the end, and makes it where a trial begins
                tune_controller.stop_trial(trial)
        chosen: Trial | None = super().choose_trial_to_run(tune_controller)
        return chosen

    def on_trial_result(self, tune_controller: object, trial: Trial, result: dict[str, Any]) -> str:
        report: TrialReport = result["report"]
        with self._driver.record.hold.writing():
            goes_on = self._driver.on_report(report)
        return str(TrialScheduler.CONTINUE if goes_on else TrialScheduler.STOP)

    def on_trial_error(self, tune_controller: object, trial: Trial) -> None:
        try:  # Trial.get_error reads a copy that is not there yet
            text = Path(trial.error_file or "").read_text().partition("\n")[2]  # the first line says when
        except OSError:
            text = ""
        before, self._n_kills = self._n_kills, count_kills()
        cause, reason = read_death(text, kernel_killed=self._is_local and self._n_kills > before)
        with self._driver.record.hold.writing():
            self._driver.on_crash(trial.config["assignment"].number, reason, cause)

    def on_trial_remove(self, tune_controller: object, trial: Trial) -> None:
        number = trial.config["assignment"].number
        if number in self._driver.running:
            with self._driver.record.hold.writing():
                self._driver.release(number)


class _NoWorkerError(BaseException):
    """No worker comes up; not an Exception, since Ray Tune would make one of its own of it."""


class _Watchdog(_Shared, Callback):  # type: ignore[misc]  # as above
    """Kills workers that hang, ends a search for which none comes up, and says that the driver does not hang."""

    def __init__(self, driver: Driver, start: WorkerStart) -> None:
        self._driver = driver
        self._start = start
        self._looked_at = 0.0

    def on_step_begin(self, iteration: int, trials: list[Trial], **info: Any) -> None:
        if time.monotonic() - self._looked_at < 1.0:  # Ray Tune asks at every event
            return
        self._looked_at = time.monotonic()
        with self._driver.record.hold.writing():
            self._driver.record.hold.check()
        live = {t.config["assignment"].number: t for t in trials if t.status in (Trial.PENDING, Trial.RUNNING)}
        is_up = not live or any(trial.status == Trial.RUNNING for trial in live.values())
        if complaint := self._start.complaint(is_up=is_up):
            raise _NoWorkerError(complaint)
        for number, trial in live.items():
            if trial.status == Trial.PENDING:  # the cluster has no place for it yet
                self._driver.on_wait(number)
        for number in self._driver.overdue():
            with self._driver.record.hold.writing():
                self._driver.on_hang(number)
            # No documented way leads to a trial's actor: Tune names none, and stops one by waiting for its step to end.
            actor = live[number].temporary_state.ray_actor if number in live else None
            if actor is not None:
                ray.kill(actor)


def run_trials(driver: Driver, data: Any, plan: WorkerPlan) -> None:
    """Let Ray Tune run trials until the driver has no more; Ray must be up.

    Raises:
        KeyboardInterrupt: passed on from a signal handler.
        StorageLostError: the study's database cannot be written.
        UserError: no worker comes up.
    """
    trainable = with_resources(
        with_parameters(TrialActor, data=data),
        {"CPU": plan.cpus, "GPU": plan.gpus},
    )
    for name in ("ray", "ray.tune"):  # a worker's death is the driver's to tell, in one line
        logging.getLogger(name).setLevel(logging.CRITICAL)
    scratch = tempfile.mkdtemp(prefix="fmnist-tune-")  # Ray wants a place for files that nobody reads
    goes_on = True
    try:
        while goes_on:
            is_whole = _fit(driver, trainable, plan, scratch)
            _wait_for_memory(driver)
            goes_on = (driver.was_held_back or not is_whole) and not driver.is_over(None)
    except _NoWorkerError as error:
        raise UserError(str(error)) from None
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _fit(driver: Driver, trainable: Any, plan: WorkerPlan, scratch: str) -> bool:
    """Let Ray Tune run trials; returns whether it ended by itself.

    Where Ray kills a worker within a step for want of memory, Tune 2.60 takes that for an error of its own, and ends
    all trials. Those go on in the next call: the study is the only state.
    """
    tuner = Tuner(
        trainable,
        tune_config=TuneConfig(
            search_alg=_DriverSearcher(driver),
            scheduler=DriverScheduler(driver, is_local=plan.logs is not None),
            num_samples=-1,
            max_concurrent_trials=plan.n_workers,
            reuse_actors=True,
        ),
        run_config=RunConfig(
            storage_path=scratch,
            name="run",
            verbose=0,
            callbacks=[_Watchdog(driver, WorkerStart(plan.logs))],
            checkpoint_config=CheckpointConfig(checkpoint_at_end=False),  # workers keep their own
        ),
    )
    try:
        # Whatever `verbose` is, Tune prints a line about a trial that is stopped before it begins; we print on stderr.
        with open(os.devnull, "w") as nowhere, redirect_stdout(nowhere):
            tuner.fit()
    except RuntimeError as error:
        if not isinstance(error.__cause__, OutOfMemoryError):
            raise
        with driver.record.hold.writing():
            driver.on_lost_workers("out of memory")
        return False
    return True


def _wait_for_memory(driver: Driver) -> None:
    """Wait until trials may begin again."""
    while driver.is_waiting:
        with driver.record.hold.writing():
            driver.record.hold.check()
        time.sleep(1.0)
