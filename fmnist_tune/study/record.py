"""One study in its database: what is searched, what came of it, and how often the test set was opened for it.

Its trials are written by `trial_writer`.
"""

from __future__ import annotations

import copy
import math
import shutil
import time
import warnings
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any

import optuna
from optuna.exceptions import ExperimentalWarning
from optuna.storages import RDBStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from fmnist_tune.config import SearchSpace, dump_yaml, read_space
from fmnist_tune.errors import UserError, did_you_mean
from fmnist_tune.escaping import printable
from fmnist_tune.study.database import study_names
from fmnist_tune.study.differences import space_differences
from fmnist_tune.study.folder import FOLDER_KEY, adopt_folder, folder_facts
from fmnist_tune.study.hold import Hold
from fmnist_tune.study.layout import StudyPaths, write_atomically
from fmnist_tune.study.lock import is_running
from fmnist_tune.study.metrics_file import stored_problem
from fmnist_tune.study.patience import patient
from fmnist_tune.study.sampling import values_of
from fmnist_tune.study.trial_data import best_epoch_of, metadata_of
from fmnist_tune.study.trials import Trials
from fmnist_tune.tasks.config import TaskConfig
from fmnist_tune.tasks.objective import Objective

SPACE_KEY = "space"
TAKEN_FROM_KEY = "taken_from"  # user attribute of a trial that --warm-start copied: its study and number there
EXTENDED_KEY = "extended_to"  # user attribute: how many trials `--trials` has given the study, beyond its file's
TEST_USES_KEY = "test_uses"
RETRAINED_KEY = "retrained"
LATEST_RETRAINING_KEY = "retraining"
RUNNING, INTERRUPTED, FAILED, DONE = "running", "interrupted", "failed", "done"  # how a retraining stands
FORMAT_KEY = "fmnist_tune_format"
FORMAT = 2


class StudyRecord:
    """A study: what everybody may ask of it, and what is written of it as a whole.

    Attributes:
        former_name: which its stored search space and files still have after a renaming that is yet to be finished.
    """

    def __init__(
        self, storage: RDBStorage, study: optuna.Study, space: SearchSpace, paths: StudyPaths, *, extended_to: int = 0
    ) -> None:
        self.storage = storage
        self.optuna = study
        self.space = space
        self.paths = paths
        self.hold = Hold(storage, paths)
        self._extended_to = extended_to
        self._n_of_run: int | None = None
        self.former_name: str | None = None
        self._trials: list[FrozenTrial] | None = None

    @classmethod
    def load(cls, storage: RDBStorage, paths: StudyPaths) -> StudyRecord:
        """Open an existing study.

        Raises:
            UserError: there is none of this name, it is not one of ours, or it is from a newer version.
        """
        names = study_names(storage)
        if paths.name not in names:
            known = f"; there are {', '.join(sorted(names))}" if names else "; there are none yet"
            name = paths.name.removesuffix(".yaml").removesuffix(".yml")
            raise UserError(f"study {paths.name!r}: no such study{did_you_mean(name, names) or known}")
        study = optuna.load_study(study_name=paths.name, storage=patient(storage))
        text, version = study.user_attrs.get(SPACE_KEY), study.user_attrs.get(FORMAT_KEY)
        if not isinstance(text, str) or not isinstance(version, int):
            raise UserError(f"study {paths.name!r}: not made by fmnist-tune (it has no search space)")
        if version > FORMAT:
            raise UserError(
                f"study {paths.name!r}: made by a newer fmnist-tune (format {version}, not {FORMAT}); upgrade"
            )
        space = read_space(text, f"study {paths.name}", is_stored=True)
        old_name, n_extended = space.settings.study, study.user_attrs.get(EXTENDED_KEY, 0)
        if not paths.folder.exists():
            adopt_folder(paths, study.user_attrs.get(FOLDER_KEY), old_name, names)
        if old_name == paths.name:
            return cls(storage, study, space, paths, extended_to=n_extended)
        renamed = read_space(text, space.source, {"study": paths.name}, is_stored=True)
        record = cls(storage, study, renamed, paths, extended_to=n_extended)
        record.former_name = old_name
        return record

    @classmethod
    def open(
        cls, storage: RDBStorage, space: SearchSpace, paths: StudyPaths, *, folder_id: str | None = None
    ) -> StudyRecord:
        """Open the study of a search space, or create it.

        Args:
            storage: the database.
            space: what is searched, or a recipe.
            paths: of the study.
            folder_id: of the driver's lock, to take the study before anything in it changes; None without a driver.

        Raises:
            UserError: the study exists with another search space (names every difference), or is driven from elsewhere;
                or it does not exist, but its folder has another one's files.
        """
        if not cls.is_begun(storage, paths):
            cls.adopt_folders(storage, paths)
            paths.check_unused(study_names(storage))
            study = optuna.create_study(
                study_name=paths.name, storage=patient(storage), direction="maximize", load_if_exists=True
            )
            record = cls(storage, study, space, paths)
            if folder_id is not None:
                record.hold.take(folder_id)
            record._begin()
            if folder_id is not None:
                record.bind_folder(folder_id)
            return record
        record = cls.load(storage, paths)
        changes = space_differences(record.space.tree, space.tree)
        if changes:
            what, warm_start = "recipe", ""
            if space.parameters:
                what = "search space"
                warm_start = f", with --warm-start {paths.name} to take over the trials that fit it"
            raise UserError(
                f"{space.source}: study {paths.name!r} was begun with another {what}:\n  "
                + "\n  ".join(changes)
                + f"\neither give it a name of its own (--study {paths.name}-2{warm_start}), or change it back"
            )
        if folder_id is not None:
            record.hold.take(folder_id)
            record.bind_folder(folder_id)
        record.space = space
        record.write_space()  # the budget and the initial points may have changed
        return record

    @classmethod
    def adopt_folders(cls, storage: RDBStorage, paths: StudyPaths) -> None:
        """Let the study that the files at this name belong to, if it was renamed without them, have them."""
        if paths.left_files:
            for name in study_names(storage):
                with suppress(UserError):  # another program's study, or one of a newer version
                    cls.load(storage, replace(paths, name=name))

    @classmethod
    def is_begun(cls, storage: RDBStorage, paths: StudyPaths) -> bool:
        """Return whether a study of this name is there, and whole; who creates one may be killed in between."""
        if paths.name not in study_names(storage):
            return False
        study = optuna.load_study(study_name=paths.name, storage=storage)
        is_blank = study.direction == StudyDirection.MAXIMIZE and study.user_attrs.keys() <= {SPACE_KEY}
        return not is_blank or bool(study.trials)

    def name_metric(self) -> None:
        """Tell Optuna, for its dashboard, what the study's values are; a renaming there forgets it."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)
            self.optuna.set_metric_names([self.objective.metric])

    def _begin(self) -> None:
        self.name_metric()
        self.optuna.set_user_attr(SPACE_KEY, self.space.to_yaml())
        self.optuna.set_user_attr(FORMAT_KEY, FORMAT)  # the last: with it the study is whole

    @property
    def trials(self) -> list[FrozenTrial]:
        """Every trial, by number; not to be changed."""
        return self.optuna.get_trials(deepcopy=False) if self._trials is None else self._trials

    def snapshot(self) -> StudyRecord:
        """Return the study with its trials as they are now: all that is said of it then fits, and is read once."""
        record = copy.copy(self)
        record.show(self.trials)
        return record

    def keep_trials(self) -> Trials:
        """Have the trials in memory from here on, for the process that drives the study; returns what changes them."""
        if self.optuna.user_attrs[FORMAT_KEY] != FORMAT:
            self.optuna.set_user_attr(FORMAT_KEY, FORMAT)
        trials = Trials(patient(self.storage), self.paths.name)
        self.show(trials.all)
        return trials

    def show(self, trials: list[FrozenTrial]) -> None:
        """Have these trials, and not ask the database for them."""
        self._trials = trials

    @property
    def is_running(self) -> bool:
        """Whether a living process drives the study, from this studies folder or another one."""
        return is_running(self.paths, self.storage.engine)

    @property
    def objective(self) -> Objective:
        """What the study maximises."""
        return self.space.task.objective

    def limit_trials(self, n_trials: int) -> None:
        """Take what `--trials` says: more than the study is to hold extend it, fewer end this run alone."""
        self._n_of_run = n_trials
        self._extended_to = max(self._extended_to, n_trials if n_trials > self._n_whole else 0)

    def extend(self) -> None:
        """Record an extension, once nothing refuses the run; to be called by the holder of the driver's lock."""
        if self._extended_to != self.optuna.user_attrs.get(EXTENDED_KEY, 0):
            self.optuna.set_user_attr(EXTENDED_KEY, self._extended_to)

    @property
    def n_target(self) -> int:
        """How many trials the study holds in the end: its file's, more if it was extended; fewer at the run's wish."""
        n = self._n_whole if self._n_of_run is None else self._n_of_run
        if self.space.settings.search.sampler.name == "grid":
            return min(n, self.space.size() or n)
        return n

    @property
    def _n_whole(self) -> int:
        return max(self.space.settings.search.trials, self._extended_to)

    @property
    def best(self) -> FrozenTrial | None:
        """The COMPLETE trial with the highest value, the first of equals; None before there is one."""
        complete = [t for t in self.trials if t.state == TrialState.COMPLETE]
        return max(complete, key=lambda t: (t.value, -t.number), default=None)

    @property
    def best_as_data(self) -> dict[str, Any] | None:
        """The best COMPLETE trial as plain data: number, value and config (a recipe); None before there is one."""
        best = self.best
        if best is None:
            return None
        return {"number": best.number, "value": best.value, "config": self._recipe_as_data(best)}

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

    def write_space(self) -> None:
        """Store the search space, if it is not the stored one; from then on the study has its present name alone."""
        if self.optuna.user_attrs[SPACE_KEY] != self.space.to_yaml():
            self.optuna.set_user_attr(SPACE_KEY, self.space.to_yaml())
        self.former_name = None

    def bind_folder(self, folder_id: str) -> None:
        """Record which folder has the study's files; to be called by the holder of the folder's lock."""
        facts = folder_facts(self.paths, folder_id)
        if self.optuna.user_attrs.get(FOLDER_KEY) != facts:
            self.optuna.set_user_attr(FOLDER_KEY, facts)

    @property
    def train_md5(self) -> list[str]:
        """Checksums of the training data that the study is bound to; empty for a task whose data are computed."""
        data = self.optuna.user_attrs.get("data")
        keys = ("train_images_md5", "train_labels_md5", "fingerprint")
        return [str(data[key]) for key in keys if key in data] if isinstance(data, dict) else []

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
        """What the latest retraining gave, as `metrics.json` has it; None before there is one, or if it is damaged."""
        metrics = self.optuna.user_attrs.get(RETRAINED_KEY)
        if metrics is None or self._problem_of(metrics) is not None:
            return None
        uses = {"test_uses": len(self.test_uses)} if "test_uses" in metrics else {}  # a report opens it again
        return {**metrics, **uses, "study": self.paths.name, "model": str(self.paths.model)}  # may have changed

    @property
    def retrained_problem(self) -> str | None:
        """What is wrong with what the study records of its latest retraining's result; None if nothing is."""
        metrics = self.optuna.user_attrs.get(RETRAINED_KEY)
        return None if metrics is None else self._problem_of(metrics)

    def _problem_of(self, metrics: object) -> str | None:
        task = self.space.task
        return stored_problem(metrics, task.stored, task.result_key)

    @property
    def latest_retraining(self) -> dict[str, Any] | None:
        """How the latest retraining stands, as `RetrainingStatus` describes it; None before there is one."""
        known = self.optuna.user_attrs.get(LATEST_RETRAINING_KEY)
        return None if known is None else dict(known) if isinstance(known, dict) else {}

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

    def config_of(self, trial: FrozenTrial) -> TaskConfig:
        """Return what a trial trains or has trained."""
        return self.space.config(values_of(trial.params, self.space))

    def recipe_of(self, trial: FrozenTrial) -> str:
        """Return a trial as a recipe in YAML."""
        value = f", {self.objective.metric} {trial.value:.4f}" if trial.value is not None else ""
        if trial.state == TrialState.FAIL:
            value = f", which failed: {' '.join(printable(str(metadata_of(trial).get('reason', 'unknown'))).split())}"
        lines = [f"# Trial {trial.number} of study {self.paths.name}{value}."]
        best_epoch = best_epoch_of(trial)
        if best_epoch is not None and best_epoch < (n_epochs := self.config_of(trial).training.epochs):
            lines.append(
                f"# It was best after epoch {best_epoch}: `retrain` trains it for so many. `train` of this file,"
            )
            lines.append(f"# which has no validation split to stop early by, trains it for all {n_epochs}.")
        return "\n".join([*lines, dump_yaml(self._recipe_as_data(trial))])

    def trained_recipe(self, trial: FrozenTrial | None) -> str:
        """Return what a retraining trains, in YAML: a trial, or where there is none the study's own recipe."""
        return self.space.to_yaml() if trial is None else self.recipe_of(trial)

    def _recipe_as_data(self, trial: FrozenTrial) -> dict[str, Any]:
        return self.space.recipe(values_of(trial.params, self.space))

    def write_best_recipe(self) -> None:
        """Keep best.yaml current; there is none before there is a best trial."""
        best = self.best
        if best is not None:
            write_atomically(self.paths.best_recipe, self.recipe_of(best))

    def recover(self) -> None:
        """Put right what a killed process left; to be called by the holder of the driver's lock.

        A driver that was killed between the end of its best trial and best.yaml left an earlier one there: it is
        written again. One killed between a trial's end and the removal of its checkpoints left those. A retraining that
        is recorded as running was killed: it is recorded as interrupted.
        """
        self.write_best_recipe()
        alive = {str(t.number) for t in self.trials if not t.state.is_finished()}
        folder = self.paths.trial_folder(0).parent
        for trial in folder.iterdir() if folder.is_dir() else ():
            if trial.name not in alive:
                shutil.rmtree(trial, ignore_errors=True)
        retraining = self.latest_retraining
        if retraining is not None and retraining.get("state") == RUNNING:
            self.record_latest_retraining({**retraining, "state": INTERRUPTED})

    @property
    def is_extended(self) -> bool:
        """Whether `--trials` has given it more trials than its file."""
        return self.n_target > self.space.settings.search.trials

    @property
    def is_limited(self) -> bool:
        """Whether `--trials` gives this run fewer trials than the study is to hold."""
        return self._n_of_run is not None and self._n_of_run < self._n_whole

    @property
    def can_grow(self) -> bool:
        """Whether it could hold more trials; a grid has no more than its configurations."""
        search = self.space.settings.search
        return search.sampler.name != "grid" or self.n_target < (self.space.size() or math.inf)

    @property
    def is_full(self) -> bool:
        """Whether every trial that the study holds in the end has begun."""
        return len(self.trials) >= self.n_target

    @property
    def is_finished(self) -> bool:
        """Whether every trial that the study holds in the end has ended."""
        return self.is_full and all(trial.state.is_finished() for trial in self.trials)
