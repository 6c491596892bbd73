"""Where a study's files are."""

from __future__ import annotations

import errno
import json
import os
import shlex
import tempfile
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from fmnist_tune.config.schema import study_name
from fmnist_tune.errors import UserError
from fmnist_tune.files import new_file
from fmnist_tune.study.url import sqlite_path, without_secrets

STUDIES_DIR = Path("studies")  # the default of --studies-dir
LOCK = "driver.lock"
WEIGHTS, TEST_SCORES = "weights.safetensors", "test_scores.npy"  # left by a finished training in its folder
RESULT, IDENTITY = "result.json", "of.json"  # of a seed: its result, and what that depends on
METRICS, CONFIG, CARD, AUDIT = "metrics.json", "config.yaml", "model_card.md", "robustness.csv"  # of the model folder
LEFT_BY_A_STUDY = ("trials", "training.log", "best.yaml", "retrain", "model")


@dataclass(frozen=True)
class StudyPaths:
    """Paths of one study, which need not exist, and the commands on it.

    Attributes:
        studies_dir: folder of all studies.
        name: of the study.
        storage: the database's URL, if the user gave one.
    """

    studies_dir: Path
    name: str
    storage: str | None = None

    def __post_init__(self) -> None:
        try:
            study_name(self.name)
        except ValueError as error:
            raise UserError(f"study: {error}") from None

    @property
    def folder(self) -> Path:
        """The study's own folder."""
        return self.studies_dir / self.name

    @property
    def best_recipe(self) -> Path:
        """The best trial as a recipe."""
        return self.folder / "best.yaml"

    @property
    def lock(self) -> Path:
        """Held by the process that drives the study."""
        return self.folder / LOCK

    @property
    def test_uses_lock(self) -> Path:
        """Held while an opening of the test set is recorded."""
        return self.folder / "test_uses.lock"

    @property
    def shown_storage(self) -> str | None:
        """The database's URL without secrets, fit to be shown and stored."""
        return None if self.storage is None else without_secrets(self.storage)

    @property
    def training_log(self) -> Path:
        """A line for each start and end of an epoch, appended by the workers."""
        return self.folder / "training.log"

    @property
    def model(self) -> Path:
        """The retrained model."""
        return self.folder / "model"

    @property
    def retrain_log(self) -> Path:
        """The training log of retrainings."""
        return self.folder / "retrain" / "training.log"

    def retraining(self, label: str, seed: int) -> Path:
        """One seed of a retraining (`trial-7`, `recipe`) or of a confirmation (`confirm-trial-7`)."""
        return self.folder / "retrain" / label / f"seed-{seed}"

    @property
    def tensorboard(self) -> Path:
        """One run per trial, for `tensorboard --logdir`."""
        return self.folder / "tensorboard"

    def trial_folder(self, number: int) -> Path:
        """Checkpoints of a trial that may resume."""
        return self.folder / "trials" / str(number)

    def command(self, command: str, *words: object) -> str:
        """Return a command on this study, ready to type, such as `fmnist-tune retrain cnn --seeds 3`."""
        return command_line(command, self.name, *words, studies_dir=self.studies_dir, storage=self.storage)

    def command_on_all(self, command: str) -> str:
        """Return a command on all studies, ready to type, such as `fmnist-tune studies`."""
        return command_line(command, studies_dir=self.studies_dir, storage=self.storage)

    def disk_bytes(self) -> int:
        """Return the bytes that the study's folder takes on disk."""
        return disk_bytes(self.folder)

    @property
    def left_files(self) -> list[str]:
        """The files in the folder that only a study can have left."""
        return [name for name in LEFT_BY_A_STUDY if (self.folder / name).exists()]

    def check_unused(self, others: Iterable[str] = ()) -> None:
        """Refuse to begin a study in a folder with files of another one.

        Args:
            others: names of the studies in the database.

        Raises:
            UserError: there are such files, which it names; or the folder would collide with a database file or,
                ignoring case, with another study's folder.
        """
        database = None if self.storage is None else sqlite_path(self.storage)
        if database is not None and self.folder.absolute() in files_of(database.absolute()):
            raise UserError(
                f"study {self.name!r}: its folder {self.folder} would be a file of the database {database}; give the "
                "study another name (--study)"
            )
        beside = [path.name for path in self.studies_dir.iterdir()] if self.studies_dir.is_dir() else []
        for other in (*others, *beside):
            if other != self.name and other.lower() == self.name.lower():
                raise UserError(
                    f"study {self.name!r}: {other!r} is there already and differs from it only by upper and lower "
                    "case, which not every file system or database tells apart; give the study another name (--study)"
                )
        left = self.left_files
        if left:
            raise UserError(
                f"{self.folder}: has files ({', '.join(left)}) of a study {self.name!r} that is not in the database; "
                "give the new study a name of its own (--study), or move that folder away"
            )


def files_of(database: Path) -> list[Path]:
    """Return a SQLite database's file and those that SQLite creates beside it."""
    return [database.with_name(database.name + suffix) for suffix in ("", "-wal", "-shm", "-journal")]


def command_line(command: str, *words: object, studies_dir: Path, storage: str | None) -> str:
    """Return a command ready to type: quoted for a shell, with the options that select the same studies.

    Secrets in `storage` are masked as ***, since the text is shown and stored.
    """
    options: list[object] = [] if studies_dir == STUDIES_DIR else ["--studies-dir", studies_dir]
    if storage:
        options += ["--storage", without_secrets(storage)]
    return shlex.join(["fmnist-tune", command, *map(str, [*words, *options])])


def disk_bytes(path: Path) -> int:
    """Return the bytes that a folder takes on disk, 0 if it does not exist; files may come and go meanwhile."""
    total = 0
    for folder, _, names in os.walk(path):
        for name in names:
            with suppress(FileNotFoundError):
                total += os.lstat(os.path.join(folder, name)).st_size
    return total


def check_folder(path: Path) -> None:
    """Check, without creating it, that a folder could be created and written to.

    Raises:
        UserError: it could not.
    """
    place = path.absolute()
    while not os.path.exists(place):  # Path.exists raises if a folder may not be entered
        place = place.parent
    if not place.is_dir():
        raise UserError(f"{path}: cannot be written to: {place} is not a directory")
    if not os.access(place, os.W_OK | os.X_OK):
        raise UserError(f"{path}: cannot be written to: {os.strerror(errno.EACCES)}")
    _check_writable(place, path)


def make_folder(path: Path) -> None:
    """Create a writable folder.

    Raises:
        UserError: it cannot be created or written to.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{path}: cannot be written to: {error.strerror}") from None
    _check_writable(path, path)


def _check_writable(place: Path, path: Path) -> None:
    """Write a file without a name; root may write everywhere, but nothing can be created in /proc."""
    try:
        with tempfile.TemporaryFile(dir=place):
            pass
    except OSError as error:
        raise UserError(f"{path}: cannot be written to: {error.strerror}") from None


def write_atomically(path: Path, content: str | bytes) -> None:
    """Replace a file's content; a crash leaves the old or the new content, never a part.

    A symbolic link is replaced; its target stays as it is.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name[:40]}.{os.getpid()}")  # a name may be as long as the file system allows
    try:
        with new_file(temporary) as file:
            file.write(content.encode() if isinstance(content, str) else content)
        os.replace(temporary, path)
    except OSError:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise


def read_json(path: Path) -> object:
    """Return a JSON file's content; None if it cannot be read."""
    try:
        content: object = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return content
