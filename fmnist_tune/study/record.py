"""One study in its database: what is searched, and its trials, which `trial_writer` writes."""

from __future__ import annotations

import copy
import warnings
from contextlib import suppress
from dataclasses import replace

import optuna
from optuna.exceptions import ExperimentalWarning
from optuna.storages import RDBStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from fmnist_tune.config import SearchSpace, read_space
from fmnist_tune.config.implied import begun_with
from fmnist_tune.config.parameters import space_differences
from fmnist_tune.errors import UserError, did_you_mean
from fmnist_tune.study.database import study_names
from fmnist_tune.study.folder import FOLDER_KEY, adopt_folder, folder_facts
from fmnist_tune.study.hold import Hold
from fmnist_tune.study.layout import StudyPaths
from fmnist_tune.study.lock import is_running
from fmnist_tune.study.patience import patient
from fmnist_tune.study.quota import EXTENDED_KEY, Quota
from fmnist_tune.study.retraining_record import RetrainingRecord
from fmnist_tune.study.sampling import values_of
from fmnist_tune.study.trials import Trials
from fmnist_tune.tasks.config import TaskConfig
from fmnist_tune.tasks.objective import Objective

SPACE_KEY = "space"
TAKEN_FROM_KEY = "taken_from"  # user attribute of a trial that --warm-start copied: its study and number there
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
        self.quota = Quota(study, space, extended_to)
        self.former_name: str | None = None
        self._trials: list[FrozenTrial] | None = None

    @classmethod
    def load(cls, storage: RDBStorage, paths: StudyPaths) -> StudyRecord:
        """Open an existing study.

        Raises:
            UserError: there is none of this name, it is not one of ours, or it is from a newer version.
        """
        if paths.name not in (names := study_names(storage)):
            known = f"; there are {', '.join(sorted(names))}" if names else "; there are none yet"
            hint = did_you_mean(paths.name.removesuffix(".yaml").removesuffix(".yml"), names)
            raise UserError(f"study {paths.name!r}: no such study{hint or known}")
        study = optuna.load_study(study_name=paths.name, storage=patient(storage))
        text = _stored_space(study)
        space = read_space(text, f"study {paths.name}", is_stored=True)
        old_name, n_extended = space.settings.study, study.user_attrs.get(EXTENDED_KEY, 0)
        if not paths.folder.exists():
            adopt_folder(paths, study.user_attrs.get(FOLDER_KEY), old_name, names)
        if old_name != paths.name:
            space = read_space(text, space.source, {"study": paths.name}, is_stored=True)
        record = cls(storage, study, space, paths, extended_to=n_extended)
        record.former_name = old_name if old_name != paths.name else None
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
            record.name_metric()
            study.set_user_attr(SPACE_KEY, space.to_yaml())
            study.set_user_attr(FORMAT_KEY, FORMAT)  # the last: with it the study is whole
            if folder_id is not None:
                record.bind_folder(folder_id)
            return record
        record = cls.load(storage, paths)
        space = space.changed(begun_with(space.tree, space.implied, record.space.tree, record.space.task.config))
        _check_same(record, space)
        if folder_id is not None:
            record.hold.take(folder_id)
            record.bind_folder(folder_id)
        record.space = record.quota.space = space
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

    @property
    def trials(self) -> list[FrozenTrial]:
        """Every trial, by number; not to be changed."""
        return self.optuna.get_trials(deepcopy=False) if self._trials is None else self._trials

    def snapshot(self) -> StudyRecord:
        """Return the study with its trials as they are now: all that is said of it then fits, and is read once."""
        record = copy.copy(self)
        record.show(self.trials)
        return record

    def show(self, trials: list[FrozenTrial]) -> None:
        """Have these trials, and not ask the database for them."""
        self._trials = trials

    def keep_trials(self) -> Trials:
        """Have the trials in memory from here on, for the process that drives the study; returns what changes them."""
        if self.optuna.user_attrs[FORMAT_KEY] != FORMAT:
            self.optuna.set_user_attr(FORMAT_KEY, FORMAT)
        trials = Trials(patient(self.storage), self.paths.name)
        self._trials = trials.all
        return trials

    @property
    def is_running(self) -> bool:
        """Whether a living process drives the study, from this studies folder or another one."""
        return is_running(self.paths, self.storage.engine)

    @property
    def retraining(self) -> RetrainingRecord:
        """What is recorded of retrainings and of the test set."""
        return RetrainingRecord(self.optuna, self.space.task, self.paths)

    @property
    def objective(self) -> Objective:
        """What the study maximises."""
        return self.space.task.objective

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

    def write_space(self) -> None:
        """Store the search space, if it is not the stored one; from then on the study has its present name alone."""
        if self.optuna.user_attrs[SPACE_KEY] != self.space.to_yaml():
            self.optuna.set_user_attr(SPACE_KEY, self.space.to_yaml())
        self.former_name = None

    def bind_folder(self, folder_id: str) -> None:
        """Record which folder has the study's files; to be called by the holder of the folder's lock."""
        if self.optuna.user_attrs.get(FOLDER_KEY) != (facts := folder_facts(self.paths, folder_id)):
            self.optuna.set_user_attr(FOLDER_KEY, facts)

    @property
    def train_md5(self) -> list[str]:
        """Checksums of the training data that the study is bound to; empty for a task whose data are computed."""
        known = data if isinstance(data := self.optuna.user_attrs.get("data"), dict) else {}
        return [str(known[key]) for key in ("train_images_md5", "train_labels_md5", "fingerprint") if key in known]

    @property
    def is_recipe(self) -> bool:
        """Whether nothing is searched: the study holds the training of one recipe."""
        return not self.space.parameters

    def config_of(self, trial: FrozenTrial) -> TaskConfig:
        """Return what a trial trains or has trained."""
        return self.space.config(values_of(trial.params, self.space))

    @property
    def is_full(self) -> bool:
        """Whether every trial that the study holds in the end has begun."""
        return len(self.trials) >= self.quota.n_target

    @property
    def is_finished(self) -> bool:
        """Whether every trial that the study holds in the end has ended."""
        return self.is_full and all(trial.state.is_finished() for trial in self.trials)


def _stored_space(study: optuna.Study) -> str:
    """Return a study's search space as YAML.

    Raises:
        UserError: it is not one of ours, or from a newer version.
    """
    text, version = study.user_attrs.get(SPACE_KEY), study.user_attrs.get(FORMAT_KEY)
    if not isinstance(text, str) or not isinstance(version, int):
        raise UserError(f"study {study.study_name!r}: not made by fmnist-tune (it has no search space)")
    if version > FORMAT:
        raise UserError(
            f"study {study.study_name!r}: made by a newer fmnist-tune (format {version}, not {FORMAT}); upgrade"
        )
    return text


def _check_same(record: StudyRecord, space: SearchSpace) -> None:
    """Refuse a search space that is not the one which the study was begun with; names every difference."""
    changes, name = space_differences(record.space.tree, space.tree), record.paths.name
    if not changes:
        return
    what, warm_start = "recipe", ""
    if space.parameters:
        what = "search space"
        warm_start = f", with --warm-start {name} to take over the trials that fit it"
    raise UserError(
        f"{space.source}: study {name!r} was begun with another {what}:\n  "
        + "\n  ".join(changes)
        + f"\neither give it a name of its own (--study {name}-2{warm_start}), or change it back"
    )
