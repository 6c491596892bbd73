"""What a study has learned from earlier ones, kept in it: what is decided by it follows from the study alone."""

from __future__ import annotations

from typing import Any

from fmnist_tune.study.patience import patient
from fmnist_tune.study.record import StudyRecord

PREFIX = "lesson:"  # system attributes of the study, counted from 0


def lessons_in(record: StudyRecord) -> list[dict[str, Any]]:
    """Return a study's lessons, in the order in which it learned them."""
    attributes = patient(record.storage).get_study_system_attrs(_id(record))
    found = {int(key.removeprefix(PREFIX)): value for key, value in attributes.items() if key.startswith(PREFIX)}
    return [lesson for _, lesson in sorted(found.items())]


def keep_lesson(record: StudyRecord, lesson: dict[str, Any]) -> None:
    """Keep a lesson in a study whose lock is held."""
    patient(record.storage).set_study_system_attr(_id(record), f"{PREFIX}{len(lessons_in(record))}", lesson)


def _id(record: StudyRecord) -> int:
    return record.storage.get_study_id_from_name(record.paths.name)
