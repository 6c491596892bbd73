"""One study in its database: every state that a trial passes through is written here, by the driver alone.

A trial is WAITING while it is interrupted and may go on, RUNNING while a worker trains it, and ends as COMPLETE
(trained to its end), PRUNED (stopped by ASHA) or FAIL (with its reason).
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import optuna
from optuna.exceptions import ExperimentalWarning
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, TrialState

from fmnist_tune.config import SearchSpace, dump_yaml, read_space
from fmnist_tune.config.tasks import AnyConfig
from fmnist_tune.errors import UserError, did_you_mean
from fmnist_tune.seeds import derive_seed
from fmnist_tune.study.curves import LOOKS_KEY
from fmnist_tune.study.differences import space_differences
from fmnist_tune.study.first_guess import first_guess
from fmnist_tune.study.layout import StudyPaths, write_atomically
from fmnist_tune.study.sampling import params_of, sampler_for, suggest, values_of
from fmnist_tune.training.results import EpochResult, Look
from fmnist_tune.valuation import OBJECTIVES, Objective

SPACE_KEY = "space"
HISTORY_KEY = "history"
TEST_USES_KEY = "test_uses"
RETRAINED_KEY = "retrained"
LATEST_RETRAINING_KEY = "retraining"
FORMAT_KEY = "fmnist_tune_format"
FORMAT = 1


@dataclass(frozen=True)
class Attempt:
    """A trial that has been given to a worker.

    Attributes:
        number: the trial's, in its study.
        config: what to train.
        seed: of the training.
        values: the searched values, by dotted path.
        curve: validation accuracy by epoch, as far as the study knows it from before an interruption.
    """

    number: int
    config: AnyConfig
    seed: int
    values: Mapping[str, Any]
    curve: Mapping[int, float]


class StudyRecord:
    """A study: asked for trials, told what came of them."""

    def __init__(self, study: optuna.Study, space: SearchSpace, paths: StudyPaths) -> None:
        self.optuna = study
        self.space = space
        self.paths = paths
        self._running: dict[int, optuna.Trial] = {}

    @classmethod
    def load(cls, storage: RDBStorage, paths: StudyPaths) -> StudyRecord:
        """Open an existing study.

        Raises:
            UserError: there is none of this name, it is not one of ours, or it is from a newer version.
        """
        names = optuna.get_all_study_names(storage)
        if paths.name not in names:
            known = f"; there are {', '.join(sorted(names))}" if names else "; there are none yet"
            raise UserError(f"study {paths.name!r}: no such study{did_you_mean(paths.name, names) or known}")
        study = optuna.load_study(study_name=paths.name, storage=storage)
        text, version = study.user_attrs.get(SPACE_KEY), study.user_attrs.get(FORMAT_KEY)
        if not isinstance(text, str) or not isinstance(version, int):
            raise UserError(f"study {paths.name!r}: not made by fmnist-tune (it has no search space)")
        if version > FORMAT:
            raise UserError(
                f"study {paths.name!r}: made by a newer fmnist-tune (format {version}, not {FORMAT}); upgrade"
            )
        return cls(study, read_space(text, f"study {paths.name}"), paths)

    @classmethod
    def open(cls, storage: RDBStorage, space: SearchSpace, paths: StudyPaths) -> StudyRecord:
        """Open the study of a search space, or create it.

        Raises:
            UserError: the study exists with another search space; names every difference.
        """
        if paths.name not in optuna.get_all_study_names(storage):
            study = optuna.create_study(study_name=paths.name, storage=storage, direction="maximize")
            study.set_user_attr(SPACE_KEY, space.to_yaml())
            study.set_user_attr(FORMAT_KEY, FORMAT)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ExperimentalWarning)
                study.set_metric_names([OBJECTIVES[space.settings.task].metric])
            return cls(study, space, paths)
        record = cls.load(storage, paths)
        changes = space_differences(record.space.tree, space.tree)
        if changes:
            raise UserError(
                f"{space.source}: study {paths.name!r} was begun with another search space:\n  "
                + "\n  ".join(changes)
                + f"\neither give it a name of its own (--study {paths.name}-2, with --warm-start {paths.name} "
                "to take over the trials that fit it), or change it back"
            )
        record.space = space
        if record.optuna.user_attrs[SPACE_KEY] != space.to_yaml():
            record.optuna.set_user_attr(SPACE_KEY, space.to_yaml())  # the budget has changed
        return record

    @property
    def trials(self) -> list[FrozenTrial]:
        """Every trial, by number; not to be changed."""
        return self.optuna.get_trials(deepcopy=False)

    @property
    def objective(self) -> Objective:
        """What the study maximises."""
        return OBJECTIVES[self.space.settings.task]

    @property
    def n_target(self) -> int:
        """How many trials the study holds in the end."""
        n = self.space.settings.search.trials
        if self.space.settings.search.sampler.name == "grid":
            return min(n, self.space.size() or n)
        return n

    @property
    def best(self) -> FrozenTrial | None:
        """The COMPLETE trial with the highest value, the first of equals; None before there is one."""
        complete = [t for t in self.trials if t.state == TrialState.COMPLETE]
        return max(complete, key=lambda t: (t.value, -t.number), default=None)

    def bind_data(self, data: dict[str, object]) -> None:
        """Record what the study is trained on, once.

        Raises:
            UserError: it was begun on other data.
        """
        known = self.optuna.user_attrs.get("data")
        if known is None:
            self.optuna.set_user_attr("data", data)
        elif known != data:
            raise UserError(
                f"study {self.paths.name!r} was begun on other data or another split ({known}, now {data}); "
                "give the study on this data a name of its own with --study"
            )

    @property
    def is_recipe(self) -> bool:
        """Whether nothing is searched: the study holds the training of one recipe."""
        return not self.space.parameters

    @property
    def test_uses(self) -> list[dict[str, Any]]:
        """Every opening of the test set for this study: at, command, trial (None for a recipe), seeds."""
        return list(self.optuna.user_attrs.get(TEST_USES_KEY, ()))

    @property
    def retrained(self) -> dict[str, Any] | None:
        """What the latest retraining gave, as `metrics.json` has it; None before there is one."""
        metrics = self.optuna.user_attrs.get(RETRAINED_KEY)
        return None if metrics is None else {**metrics, "model": str(self.paths.model)}  # the folder may have moved

    @property
    def latest_retraining(self) -> dict[str, Any] | None:
        """How the latest retraining stands, as `RetrainingStatus` describes it; None before there is one."""
        known = self.optuna.user_attrs.get(LATEST_RETRAINING_KEY)
        return None if known is None else dict(known)

    def record_test_use(self, command: str, trial: int | None, seeds: list[int]) -> int:
        """Record that the test set is being opened for this study; returns how often it has been now.

        A retraining that goes on after an interruption is the one that was recorded, also where `train` began it and
        `retrain` goes on.
        """
        interchangeable = ("train", "retrain")
        same = (u for u in self.test_uses if u["trial"] == trial and u["command"] in interchangeable)
        if command in interchangeable and any(set(seeds) <= set(use["seeds"]) for use in same):
            return len(self.test_uses)
        use = {"at": time.strftime("%Y-%m-%d %H:%M:%S"), "command": command, "trial": trial, "seeds": seeds}
        uses = [*self.test_uses, use]
        self.optuna.set_user_attr(TEST_USES_KEY, uses)
        return len(uses)

    def record_latest_retraining(self, facts: Mapping[str, Any]) -> None:
        """Record how a retraining stands; to be called by the holder of the driver's lock."""
        self.optuna.set_user_attr(LATEST_RETRAINING_KEY, dict(facts))

    def record_retraining(self, metrics: dict[str, Any]) -> None:
        """Record what a retraining gave."""
        self.optuna.set_user_attr(RETRAINED_KEY, metrics)

    def config_of(self, trial: FrozenTrial) -> AnyConfig:
        """Return what a trial trains or has trained."""
        return self.space.config(values_of(trial.params, self.space))

    def recipe_of(self, trial: FrozenTrial) -> str:
        """Return a trial as a recipe in YAML."""
        recipe = self.space.recipe(values_of(trial.params, self.space))
        value = f", {self.objective.metric} {trial.value:.4f}" if trial.value is not None else ""
        if trial.state == TrialState.FAIL:
            value = f", which failed: {' '.join(str(trial.user_attrs.get('reason', 'unknown')).split())}"
        return f"# Trial {trial.number} of study {self.paths.name}{value}.\n{dump_yaml(recipe)}"

    def recover(self) -> list[int]:
        """Put trials that no living process trains back in the queue; to be called by the holder of the driver's lock.

        A retraining that is recorded as running was killed: it is recorded as interrupted. A driver that was killed
        between the end of its best trial and best.yaml left an earlier one there: it is written again.

        Returns:
            The trials' numbers.
        """
        best = self.best
        if best is not None:
            write_atomically(self.paths.best_recipe, self.recipe_of(best))
        retraining = self.latest_retraining
        if retraining is not None and retraining["state"] == "running":
            self.record_latest_retraining({**retraining, "state": "interrupted"})
        orphans = [t for t in self.trials if t.state == TrialState.RUNNING]
        for trial in orphans:
            self.optuna._storage.set_trial_state_values(trial._trial_id, TrialState.WAITING)
        return [t.number for t in orphans]

    @property
    def is_full(self) -> bool:
        """Whether every trial that the study holds in the end has begun."""
        return len(self.trials) >= self.n_target

    @property
    def waiting(self) -> dict[int, dict[int, float]]:
        """Curves of the trials that can go on, by number."""
        return {t.number: dict(t.intermediate_values) for t in self.trials if t.state == TrialState.WAITING}

    def begin(self, number: int | None = None) -> Attempt | None:
        """Give a trial to a worker: one that waits, or a new one.

        A new trial that cannot be built is told as FAIL with its reason, and the next one is made.

        Args:
            number: of the waiting trial; None for a new one.

        Returns:
            None if it was to be a new one and the study is full, or the trial cannot be built.
        """
        while number is not None or not self.is_full:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ExperimentalWarning)
                trial = self._ask(number)
                values = suggest(trial, self.space)
            self._running[trial.number] = trial
            try:
                return self.attempt(trial.number, values)
            except UserError as error:
                self.fail(trial.number, str(error))
                if number is not None:
                    return None
        return None

    def attempt(self, number: int, values: dict[str, Any] | None = None) -> Attempt:
        """Return what a trial trains, with its curve so far.

        Args:
            number: the trial's.
            values: its searched values; None for those that the study has.

        Raises:
            UserError: it cannot be built.
        """
        trial = self.trials[number]
        values = values_of(trial.params, self.space) if values is None else values
        seed = derive_seed(self.space.settings.search.sampler.seed, number, "training")
        return Attempt(number, self.space.config(values), seed, values, dict(trial.intermediate_values))

    def _ask(self, number: int | None) -> optuna.Trial:
        """Do as Study.ask, which would take a waiting trial of its own choice."""
        storage = self.optuna._storage
        self.optuna._thread_local.cached_all_trials = None
        self.optuna.sampler = sampler_for(self.space, len(self.trials) if number is None else number)
        if number is None:
            trial_id = storage.create_new_trial(self.optuna._study_id, self._first_guess())
        else:
            trial_id = self.trials[number]._trial_id
            storage.set_trial_state_values(trial_id, TrialState.RUNNING)
        return optuna.Trial(self.optuna, trial_id)

    @property
    def first_guess(self) -> int | None:
        """Number of the trial that is not drawn but known to do well; None if there is none."""
        return 0 if self.space.settings.search.sampler.name == "tpe" else None

    def _first_guess(self) -> FrozenTrial | None:
        """Return what a study that TPE searches begins with, as Study.enqueue_trial would put it; None later on."""
        if self.trials or self.first_guess is None:
            return None
        params, _ = params_of(first_guess(self.space), self.space)
        return optuna.trial.create_trial(state=TrialState.RUNNING, system_attrs={"fixed_params": params})

    def report(self, number: int, epoch: int, val_accuracy: float) -> None:
        """Record an epoch's validation accuracy."""
        self._running[number].report(val_accuracy, epoch)

    def note(self, number: int, attributes: Mapping[str, Any]) -> None:
        """Record attributes of a trial that runs or waits; ended trials cannot change."""
        trial_id = self.trials[number]._trial_id
        for key, value in attributes.items():
            self.optuna._storage.set_trial_user_attr(trial_id, key, value)

    def note_look(self, number: int, look: Look) -> None:
        """Record what a running trial's look within its first epoch gave."""
        looks = self.attributes(number).get(LOOKS_KEY, [])
        self.note(number, {LOOKS_KEY: [*looks, [look.share, look.val_accuracy]]})

    def note_history(self, number: int, history: Sequence[EpochResult]) -> None:
        """Record every epoch of a running trial; out of the dashboard's sight, which would print it on one line."""
        trial_id = self._running[number]._trial_id
        self.optuna._storage.set_trial_system_attr(trial_id, HISTORY_KEY, [vars(result) for result in history])

    def attributes(self, number: int) -> dict[str, Any]:
        """Return a trial's attributes."""
        return self.trials[number].user_attrs

    def complete(self, number: int, value: float) -> None:
        """End a trial that was trained to its end, and keep best.yaml current."""
        self.optuna.tell(self._running.pop(number), value)
        best = self.best
        if best is not None and best.number == number:
            write_atomically(self.paths.best_recipe, self.recipe_of(best))

    def prune(self, number: int) -> None:
        """End a trial that ASHA stopped, running or waiting; its value is its last epoch's, if it ended one."""
        self._running.pop(number, None)
        trial = self.trials[number]
        values = [trial.intermediate_values[trial.last_step]] if trial.last_step is not None else None
        self.optuna._storage.set_trial_state_values(trial._trial_id, TrialState.PRUNED, values)

    def fail(self, number: int, reason: str) -> None:
        """End a trial that cannot go on."""
        self.note(number, {"reason": reason})
        self.optuna.tell(self._running.pop(number), state=TrialState.FAIL)

    def release(self, number: int) -> None:
        """Put a running trial back in the queue."""
        trial = self._running.pop(number)
        self.optuna._storage.set_trial_state_values(trial._trial_id, TrialState.WAITING)


def history_of(trial: FrozenTrial) -> list[dict[str, Any]]:
    """Return an ended trial's epochs, each an EpochResult as a dict; empty if it has trained none or goes on."""
    return list(trial.system_attrs.get(HISTORY_KEY, ()))
