"""What a study records of its retrainings, and of every opening of the test set."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import optuna

from fmnist_tune.files import locked
from fmnist_tune.study.layout import StudyPaths
from fmnist_tune.study.metrics_file import stored_problem
from fmnist_tune.tasks.task import Task

TEST_USES_KEY = "test_uses"
RETRAINED_KEY = "retrained"
LATEST_RETRAINING_KEY = "retraining"
RUNNING, INTERRUPTED, FAILED, DONE = "running", "interrupted", "failed", "done"  # how a retraining stands


class RetrainingRecord:
    """Reads and writes it; the study's user attributes hold it."""

    def __init__(self, study: optuna.Study, task: Task, paths: StudyPaths) -> None:
        self._study = study
        self._task = task
        self._paths = paths

    @property
    def test_uses(self) -> list[dict[str, Any]]:
        """Every opening of the test set for this study: at, command, trial (None for a recipe), seeds."""
        return list(self._study.user_attrs.get(TEST_USES_KEY, ()))

    def add_test_use(self, command: str, trial: int | None, seeds: list[int]) -> int:
        """Record that the test set is being opened for this study; returns how often it has been now.

        A retraining that goes on after an interruption is the one that was recorded, also where `train` began it and
        `retrain` goes on.
        """
        interchangeable = ("train", "retrain")
        # Not the lock of the driver: a search may hold that for days, and a report does not wait for it.
        with locked(self._paths.test_uses_lock):
            uses = self.test_uses
            same = (u for u in uses if u["trial"] == trial and u["command"] in interchangeable)
            if command not in interchangeable or not any(set(seeds) <= set(use["seeds"]) for use in same):
                at = time.strftime("%Y-%m-%d %H:%M:%S")
                uses.append({"at": at, "command": command, "trial": trial, "seeds": seeds})
                self._study.set_user_attr(TEST_USES_KEY, uses)
        return len(uses)

    @property
    def result(self) -> dict[str, Any] | None:
        """What the latest one gave, as `metrics.json` has it; None before there is one, or if it is damaged."""
        metrics = self._study.user_attrs.get(RETRAINED_KEY)
        if metrics is None or self._problem_of(metrics) is not None:
            return None
        uses = {"test_uses": len(self.test_uses)} if "test_uses" in metrics else {}  # a report opens it again
        return {**metrics, **uses, "study": self._paths.name, "model": str(self._paths.model)}  # may have changed

    @property
    def problem(self) -> str | None:
        """What is wrong with what the study records of the latest one's result; None if nothing is."""
        metrics = self._study.user_attrs.get(RETRAINED_KEY)
        return None if metrics is None else self._problem_of(metrics)

    def set_result(self, metrics: dict[str, Any]) -> None:
        """Record what one gave."""
        self._study.set_user_attr(RETRAINED_KEY, metrics)

    @property
    def status(self) -> dict[str, Any] | None:
        """How the latest one stands, as `RetrainingStatus` describes it; None before there is one."""
        known = self._study.user_attrs.get(LATEST_RETRAINING_KEY)
        return None if known is None else dict(known) if isinstance(known, dict) else {}

    def set_status(self, facts: Mapping[str, Any]) -> None:
        """Record how one stands; to be called by the holder of the driver's lock."""
        self._study.set_user_attr(LATEST_RETRAINING_KEY, dict(facts))

    def _problem_of(self, metrics: object) -> str | None:
        return stored_problem(metrics, self._task.stored, self._task.result_key)
