"""What earlier studies teach a new one: `search.learn_from`, and `--learn-from`."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace

from optuna.trial import FrozenTrial

from fmnist_tune.config import SearchSpace
from fmnist_tune.errors import UserError, did_you_mean
from fmnist_tune.search.deadline import measured_epoch_s
from fmnist_tune.search.scheduler import KnownTrial, LessonData
from fmnist_tune.study.database import names_in, open_database
from fmnist_tune.study.layout import StudyPaths
from fmnist_tune.study.lessons import lessons_in
from fmnist_tune.study.record import StudyRecord
from fmnist_tune.study.sampling import values_of
from fmnist_tune.study.trial_data import curve_of


def lessons_for(space: SearchSpace, paths: StudyPaths, url: str) -> list[LessonData]:
    """Return what a new run of a study learns: lessons that the study does not hold yet.

    Args:
        space: of the study, which names its teachers.
        paths: of the study.
        url: of the database.

    Raises:
        UserError: a teacher is not there, is the study itself, or has nothing to teach.
    """
    teachers = space.settings.search.learn_from
    if not teachers:
        return []
    names, known = names_in(url), set[str]()
    if paths.name in names:
        known = {lesson["study"] for lesson in lessons_in(StudyRecord.load(open_database(url, create=False), paths))}
    found = []
    for name in teachers:
        where = f"search.learn_from: {name}"
        if name == paths.name:
            raise UserError(f"{where}: a study cannot learn from itself; its own trials count anyway")
        if name in known:
            continue
        if name not in names:
            there = f"; there are {', '.join(sorted(names))}" if names else "; there are none yet"
            raise UserError(f"{where}: no such study in this database{did_you_mean(name, names) or there}")
        old = StudyRecord.load(open_database(url, create=False), replace(paths, name=name))
        found.append(_checked_lesson(old, space, where))
    return found


def lesson_of(record: StudyRecord) -> LessonData | None:
    """Return what a study teaches others; None if fewer than three of its trials were evaluated."""
    from fmnist_tune.engine.adapter import lesson_from  # takes half a second

    return lesson_from(record.space, _known_trials(record), record.paths.name)


def _checked_lesson(old: StudyRecord, space: SearchSpace, where: str) -> LessonData:
    shared = {p.path for p in old.space.parameters} & {p.path for p in space.parameters}
    if not shared:
        raise UserError(f"{where}: nothing that it searched is searched here, so it has nothing to teach")
    lesson = lesson_of(old)
    if lesson is None:
        raise UserError(f"{where}: fewer than three of its trials have been evaluated, too few to learn from")
    return lesson


def _known_trials(record: StudyRecord) -> Sequence[KnownTrial]:
    known = []
    for trial in record.trials:
        with suppress(UserError):  # it cannot be built
            known.append(_known_trial(record, trial))
    return known


def _known_trial(record: StudyRecord, trial: FrozenTrial) -> KnownTrial:
    measured = measured_epoch_s(trial)
    return KnownTrial(
        number=trial.number,
        state="ended",
        values=values_of(trial.params, record.space),
        curve=curve_of(trial),
        n_epochs=record.config_of(trial).training.epochs,
        epoch_s=0.0 if measured is None else measured[1],
    )
