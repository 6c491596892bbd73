"""A search from its first check to its last report."""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from fmnist_tune.config import SearchSpace
from fmnist_tune.config.implied import with_values
from fmnist_tune.errors import UserError
from fmnist_tune.models.check import check_models
from fmnist_tune.search.cluster import (
    WorkerPlan,
    import_libraries,
    import_torch,
    machines,
    plan_workers,
    prepare_environment,
    start_ray,
    stop_ray,
)
from fmnist_tune.search.derived import derived_defaults
from fmnist_tune.search.display import Display
from fmnist_tune.search.driver import Driver
from fmnist_tune.search.ending import Ending, all_trials, ending_of, extension_of
from fmnist_tune.search.lessons import lessons_for
from fmnist_tune.search.limits import Limits, check_time
from fmnist_tune.search.pace import Pace
from fmnist_tune.search.scheduler import LessonData
from fmnist_tune.search.signals import stopping_on_signals
from fmnist_tune.study.database import (
    StorageLostError,
    database_exists,
    database_url,
    names_in,
    open_database,
    storage_errors,
)
from fmnist_tune.study.folder import missing_files, recover
from fmnist_tune.study.layout import StudyPaths, check_folder, make_folder
from fmnist_tune.study.lessons import keep_lesson
from fmnist_tune.study.lock import DriverLock
from fmnist_tune.study.record import StudyRecord
from fmnist_tune.study.url import without_secrets
from fmnist_tune.study.warm_start import check_data, import_trials, source_of
from fmnist_tune.tasks.task import Source, open_source


@dataclass(frozen=True)
class RunOptions:
    """A search's files, database and cluster; None for the default.

    Attributes:
        studies_dir: folder of all studies.
        storage: database URL; SQLite in `studies_dir` by default.
        data_dir: the user's copy of the data set.
        address: a Ray cluster to join.
        n_workers: trials at a time.
        warm_start: a study whose finished trials are imported where they fit.
    """

    studies_dir: Path
    storage: str | None = None
    data_dir: Path | None = None
    address: str | None = None
    n_workers: int | None = None
    warm_start: str | None = None

    @property
    def url(self) -> str:
        """The database's URL."""
        return self.storage or database_url(self.studies_dir)


@dataclass(frozen=True)
class RunOutcome:
    """The result of one run of a search.

    Attributes:
        wall_s: seconds from the command to the end.
        startup_s: of these, until Ray was running.
        first_step_s: of these, until the first training step; None without one.
        n_workers: trials at a time; 0 if nothing was left to do.
        epochs, train_s: epochs of this run; seconds in training and validation, summed over trials.
        ending: why it ended.
    """

    record: StudyRecord
    wall_s: float
    startup_s: float
    first_step_s: float | None
    n_workers: int
    epochs: int
    train_s: float
    ending: Ending


def run_search(
    space: SearchSpace,
    options: RunOptions,
    limits: Limits,
    console: Console,
    started: float,
    *,
    make_driver: type[Driver] = Driver,
) -> RunOutcome:
    """Run a study until it has all its trials, its time is over, or it is interrupted.

    Args:
        space: what to search.
        options: its files, database and cluster.
        limits: of this run alone.
        console: for progress, on stderr.
        started: time.monotonic() of the command.
        make_driver: the driver's class, such as one that is instrumented.

    Raises:
        UserError: something is missing or wrong, found before Ray starts and anything is created; or the study can no
            longer be written.
    """
    paths = StudyPaths(options.studies_dir, space.settings.study, options.storage)
    limits.check()
    prepare_environment()
    try:
        with Display(console, paths.name, started) as display, ExitStack() as held:
            return _Search(space, options, limits, paths, display, started, make_driver, held).run()
    except StorageLostError as error:
        advice = f"what was reported before is safe; repair it and go on with `{paths.command('resume')}`"
        raise UserError(
            f"{without_secrets(options.url)}: study {paths.name} cannot be written any more: {error}\n"
            f"{error.advice or advice}"
        ) from None


@dataclass(frozen=True)
class _Search:
    """One run of a search; attributes as `run_search` takes them.

    Attributes:
        held: released at its end.
    """

    space: SearchSpace
    options: RunOptions
    limits: Limits
    paths: StudyPaths
    display: Display
    started: float
    make_driver: type[Driver]
    held: ExitStack

    def run(self) -> RunOutcome:
        """Run it; anything missing or wrong is found before Ray starts and anything is created."""
        background = self.held.enter_context(ThreadPoolExecutor(1))
        imports = background.submit(import_libraries)
        has_timeout = (self.limits.timeout_s or self.space.settings.search.timeout) is not None
        background.submit(import_torch, self.space, has_timeout=has_timeout)  # nobody waits for it
        source = open_source(self.space, self.options.data_dir, self.display.phase)
        for warning in self.space.warnings:
            self.display.line(f"warning: {warning}", "yellow")
        check_folder(self.options.studies_dir)
        old = source_of(self.options.warm_start, self.paths, self.options.url)
        if old is not None:
            check_data(old, source.description)
        # An existing study is checked before Ray starts; a new one is created only once Ray is running and has room.
        lessons = lessons_for(self.space, self.paths, self.options.url)
        record = self._known_record(source)
        if record is not None and record.is_finished and old is None:
            return self._finished(record)
        timeout_s = self.limits.timeout_of(self.space)
        if record is not None and timeout_s is not None:
            check_time(record, timeout_s)
        check_models(self.space.corner_configs(), self.space.source)
        self.display.phase("starting Ray")
        try:
            logs = start_ray(self.options.address)
            imports.result()
            space = self.space if record is None else record.space
            plan = plan_workers(space.settings.resources, machines(), self.options.n_workers, logs)
            record = record or self._open_record(source, self._completed(plan, timeout_s))
            self._prepare(record, old, lessons)
            return self._train(record, source.data, plan, timeout_s)
        finally:
            stop_ray()

    def _known_record(self, source: Source) -> StudyRecord | None:
        """Return the existing study; None if it may be created."""
        names = names_in(self.options.url)
        if self.paths.name in names:
            record = self._open_record(source, self.space)
            missing = missing_files(record)
            if missing:
                self.display.line(missing, "yellow")
            return record
        if database_exists(self.options.url):
            StudyRecord.adopt_folders(open_database(self.options.url, create=False), self.paths)
        self.paths.check_unused(names)
        return None

    def _completed(self, plan: WorkerPlan, timeout_s: float | None) -> SearchSpace:
        """Return the space as a new study is begun with it; say what is other than the schema has it."""
        derived = [default for default in derived_defaults(self.space, plan, timeout_s) if default.value != 1]
        for default in derived:
            self.display.line(str(default))
        return self.space.changed(with_values(self.space.tree, {d.path: d.value for d in derived}))

    @storage_errors()
    def _open_record(self, source: Source, space: SearchSpace) -> StudyRecord:
        make_folder(self.options.studies_dir)
        storage = open_database(self.options.url, create=True)
        if StudyRecord.is_begun(storage, self.paths):  # finds its folder before the lock would create another
            StudyRecord.load(storage, self.paths)
        lock = self.held.enter_context(DriverLock(self.paths))
        record = StudyRecord.open(storage, space, self.paths, folder_id=lock.folder_id)
        self.held.callback(record.hold.end)
        if self.limits.n_trials is not None:
            record.quota.limit(self.limits.n_trials)
        record.bind_data(source.description)
        return record

    def _finished(self, record: StudyRecord) -> RunOutcome:
        with record.hold.writing():
            recover(record)  # after a kill, best.yaml may be out of date
        ending = all_trials(record)
        self.display.line(f"{ending.text}; {extension_of(record)}")
        wall_s = time.monotonic() - self.started
        return RunOutcome(record, wall_s, wall_s, None, 0, 0, 0.0, ending)

    def _prepare(self, record: StudyRecord, old: StudyRecord | None, lessons: Sequence[LessonData]) -> None:
        with record.hold.writing():
            record.quota.extend()
            for lesson in lessons:
                keep_lesson(record, lesson)
                n, study = len(lesson["configurations"]), lesson["study"]
                self.display.line(f"learns from study {study}: {n} of its configurations, as far as they prove true")
            if old is not None:
                n_taken = import_trials(record, old)
                text = f"{n_taken} of {len(old.trials)} trials of study {old.paths.name} fit and are taken over"
                self.display.line(text)

    def _train(self, record: StudyRecord, data: Any, plan: WorkerPlan, timeout_s: float | None) -> RunOutcome:
        from fmnist_tune.search.runner import run

        startup_s = time.monotonic() - self.started
        self.display.phase(str(plan))
        with ThreadPoolExecutor(1, "curves") as curves:
            with record.hold.writing():
                driver = self.make_driver(
                    record,
                    deadline=None if timeout_s is None else self.started + timeout_s,
                    n_threads=plan.cpus,
                    n_workers=plan.n_workers,
                    on_event=self.display.event,
                    pace=Pace(is_local=self.options.address is None),
                    executor=curves,
                )
            n_initial = len(driver.writer.initial)
            if n_initial and record.trials:
                text = f"initial points that have not begun yet: {n_initial}; they come before what is sampled"
                self.display.line(text)
            self.display.attach(driver)
            try:
                with stopping_on_signals(driver, self.display.line):
                    run(driver, plan, data)
            except KeyboardInterrupt:
                driver.stop_requested = True
            except Exception:  # such as that no worker comes up: the trials go on once one does
                with record.hold.writing():
                    driver.release_all()
                raise
            with record.hold.writing():
                driver.release_all()
                record.hold.check()
                ending = ending_of(driver, timeout_s)
            return self._outcome(driver, plan, startup_s, ending)

    def _outcome(self, driver: Driver, plan: WorkerPlan, startup_s: float, ending: Ending) -> RunOutcome:
        totals = driver.totals
        return RunOutcome(
            record=driver.record,
            wall_s=time.monotonic() - self.started,
            startup_s=startup_s,
            first_step_s=None if totals.first_step_at is None else totals.first_step_at - self.started,
            n_workers=plan.n_workers,
            epochs=totals.epochs,
            train_s=totals.train_s,
            ending=ending,
        )
