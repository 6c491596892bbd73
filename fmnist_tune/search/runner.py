"""The runner of trials and of seeds: Ray Tune, where a source decides what comes next and what continues."""

from __future__ import annotations

import logging
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
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
from fmnist_tune.search.faults import read_death
from fmnist_tune.search.memory import count_kills
from fmnist_tune.search.messages import TrialReport
from fmnist_tune.search.source import Source
from fmnist_tune.search.worker_start import WorkerStart


class _Shared:
    """Ray copies and pickles its arguments for restores, which we do not use: copies are identical, pickles empty."""

    def __deepcopy__(self, memo: dict[int, Any]) -> _Shared:
        return self

    def __getstate__(self) -> dict[str, Any]:
        return {}


class _CarriedError(BaseException):
    """Carries an error through Ray Tune, which would turn any Exception into its own or a trial's."""


@contextmanager
def _asking(source: Source) -> Iterator[None]:
    """Wrap calls of a source: an error ends the run."""
    try:
        with source.writing():
            yield
    except Exception as error:
        raise _CarriedError(error) from None


class _SourceSearcher(_Shared, Searcher):  # type: ignore[misc]  # Ray's classes are untyped here
    """Ray Tune's searcher: asks the source what to run next."""

    def __init__(self, source: Source) -> None:
        super().__init__(metric=None, mode=None)
        self._source = source

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        with _asking(self._source):
            assignment = self._source.next_assignment()
        if assignment is not None:
            return {"assignment": assignment}
        # A running trial may be requeued when its worker dies, so only an idle run is finished. A run that waits for
        # memory ends here too, which frees its workers' memory; `run` starts it again.
        return None if self._source.running else Searcher.FINISHED

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Do nothing: the scheduler has already told the source."""

    def save(self, checkpoint_path: str) -> None:
        """Do nothing: the study is the only state."""

    def restore(self, checkpoint_path: str) -> None:
        """Do nothing: the study is the only state."""


class _SourceScheduler(_Shared, FIFOScheduler):  # type: ignore[misc]  # as above
    """Ray Tune's scheduler: passes on results. Ray shows a stopping result to the scheduler only, not the searcher."""

    def __init__(self, source: Source, *, is_local: bool) -> None:
        super().__init__()
        self._source = source
        self._is_local = is_local
        self._n_kills = count_kills()

    def choose_trial_to_run(self, tune_controller: Any) -> Trial | None:
        """Choose as FIFO does, after requeuing trials that can no longer get resources in time."""
        for trial in list(tune_controller.get_live_trials()):
            if trial.status == Trial.PENDING and self._source.is_over(_number(trial)):
                trial.init_local_path()  # Tune needs the folder at the end, and creates it only at a trial's start
                tune_controller.stop_trial(trial)
        chosen: Trial | None = super().choose_trial_to_run(tune_controller)
        return chosen

    def on_trial_result(self, tune_controller: object, trial: Trial, result: dict[str, Any]) -> str:
        report: TrialReport = result["report"]
        with _asking(self._source):
            goes_on = self._source.on_report(report)
        return str(TrialScheduler.CONTINUE if goes_on else TrialScheduler.STOP)

    def on_trial_error(self, tune_controller: object, trial: Trial) -> None:
        try:  # Trial.get_error reads a copy that does not exist yet
            text = Path(trial.error_file or "").read_text().partition("\n")[2]  # the first line is a timestamp
        except OSError:
            text = ""
        before, self._n_kills = self._n_kills, count_kills()
        cause, reason = read_death(text, kernel_killed=self._is_local and self._n_kills > before)
        with _asking(self._source):
            self._source.on_crash(_number(trial), reason, cause)

    def on_trial_remove(self, tune_controller: object, trial: Trial) -> None:
        if _number(trial) in self._source.running:
            with _asking(self._source):
                self._source.release(_number(trial))


class _Watchdog(_Shared, Callback):  # type: ignore[misc]  # as above
    """Kills hanging workers, ends a run if no worker starts, and has the study checked."""

    def __init__(self, source: Source, start: WorkerStart) -> None:
        self._source = source
        self._start = start
        self._checked_at = 0.0

    def on_step_begin(self, iteration: int, trials: list[Trial], **info: Any) -> None:
        if time.monotonic() - self._checked_at >= 1.0:  # Ray Tune calls this at every event
            self._checked_at = time.monotonic()
            with _asking(self._source):
                self._check(trials)

    def _check(self, trials: list[Trial]) -> None:
        self._source.check()
        live = {_number(t): t for t in trials if t.status in (Trial.PENDING, Trial.RUNNING)}
        is_up = not live or any(trial.status == Trial.RUNNING for trial in live.values())
        if complaint := self._start.complaint(is_up=is_up):
            raise UserError(complaint)
        for number, trial in live.items():
            if trial.status == Trial.PENDING:  # the cluster has no room for it yet
                self._source.on_wait(number)
        for number in self._source.overdue():
            self._source.on_hang(number)
            # Tune documents no way to get a trial's actor, and stops one only after its step ends.
            actor = live[number].temporary_state.ray_actor if number in live else None
            if actor is not None:
                ray.kill(actor)


def _number(trial: Trial) -> int:
    number: int = trial.config["assignment"].number
    return number


def run(source: Source, plan: WorkerPlan, data: Any, test_inputs: Any = None) -> None:
    """Let Ray Tune run a source until it has no more; Ray must be running.

    Args:
        source: what to train.
        plan: number of workers and the resources of each.
        data: as returned by the task's `open_data`.
        test_inputs: of the test set, scored by every saved model; None in a search.

        Raises:
            KeyboardInterrupt: from a signal handler.
            StorageLostError: the study's database cannot be written.
            UserError: no worker starts.
    """
    actor = with_parameters(TrialActor, data=data, test_inputs=test_inputs)
    trainable = with_resources(actor, {"CPU": plan.cpus, "GPU": plan.gpus})
    for name in ("ray", "ray.tune"):  # the source reports a worker's death, in one line
        logging.getLogger(name).setLevel(logging.CRITICAL)
    scratch = tempfile.mkdtemp(prefix="fmnist-tune-")  # Ray needs a folder for files that nobody reads
    goes_on = True
    try:
        while goes_on:
            is_whole = _fit(source, trainable, plan, scratch)
            while source.was_held_back and source.is_waiting:  # for memory
                with _asking(source):
                    source.check()
                time.sleep(1.0)
            goes_on = (source.was_held_back or not is_whole) and not source.is_over(None)
    except _CarriedError as error:
        raise error.args[0] from error.args[0].__cause__
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _fit(source: Source, trainable: Any, plan: WorkerPlan, scratch: str) -> bool:
    """Let Ray Tune run trials; return whether it ended normally.

    If Ray kills a worker within a step for lack of memory, Tune 2.60 treats it as its own error and ends all trials.
    They resume in the next call, since Tune keeps no state that matters.
    """
    tuner = Tuner(
        trainable,
        tune_config=TuneConfig(
            search_alg=_SourceSearcher(source),
            scheduler=_SourceScheduler(source, is_local=plan.logs is not None),
            num_samples=-1,
            max_concurrent_trials=plan.n_workers,
            reuse_actors=True,
        ),
        run_config=RunConfig(
            storage_path=scratch,
            name="run",
            verbose=0,
            callbacks=[_Watchdog(source, WorkerStart(plan.logs))],
            checkpoint_config=CheckpointConfig(checkpoint_at_end=False),  # workers keep their own
        ),
    )
    try:
        # Whatever `verbose` is, Tune prints a line about a trial stopped before its start; we print on stderr.
        with open(os.devnull, "w") as nowhere, redirect_stdout(nowhere):
            tuner.fit()
    except RuntimeError as error:
        if not isinstance(error.__cause__, OutOfMemoryError):
            raise
        with _asking(source):
            source.on_lost_workers("out of memory")
        return False
    return True
