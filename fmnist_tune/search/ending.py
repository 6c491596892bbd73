"""Why a run of a search ended."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from fmnist_tune.search.driver import Driver
from fmnist_tune.study.record import StudyRecord
from fmnist_tune.study.summary import common_failure
from fmnist_tune.units import clock, duration


@dataclass(frozen=True)
class Ending:
    """The end of a run.

    Attributes:
        by: trials (the study has all of them), timeout (the time is over or too short for another epoch), interrupted
            (by Ctrl-C or SIGTERM), nothing_left (no trial could continue), or failed (nothing could be trained, or
            every trial failed).
        text: the same as text, shown to people.
    """

    by: Literal["trials", "timeout", "interrupted", "nothing_left", "failed"]
    text: str


def all_trials(record: StudyRecord) -> Ending:
    """Return the ending for a study that has all its trials."""
    failure = common_failure(record)
    if failure is not None:
        return Ending("failed", failure)
    n = record.quota.n_target
    has = f"study {record.paths.name} has all of its {n} trials"
    if record.quota.is_limited:
        has = f"study {record.paths.name} has {len(record.trials)} of its trials, and --trials {n} is reached"
    return Ending("trials", has)


def ending_of(driver: Driver, timeout_s: float | None) -> Ending:
    """Return why a driver has nothing left to do.

    Args:
        driver: after its run, with all trials released.
        timeout_s: of the run; None for no limit.
    """
    if driver.stop_requested:
        return Ending("interrupted", "interrupted; the same command goes on")
    if driver.failure is not None:
        return Ending("failed", driver.failure)
    if driver.record.is_finished:
        return all_trials(driver.record)
    deadline = driver.deadline
    if timeout_s is None or deadline.at is None or driver.fits_anything:
        return Ending("nothing_left", "no trial that waits could go on")
    time_given, left_s = f"its time of {duration(timeout_s)}", deadline.left_s
    if left_s < 1:
        over = "is over" if driver.totals.train_s else "was over before anything was trained; --timeout gives it more"
        return Ending("timeout", f"{time_given} {over}")
    other, usual = "other " if driver.totals.train_s else "", clock(deadline.usual_s)
    text = f"no {other}epoch fits into {time_given}: {clock(left_s)} were left, and one takes about {usual}"
    return Ending("timeout", text)


def extension_of(record: StudyRecord) -> str:
    """Return how a study that has all its trials would go on."""
    if record.quota.is_limited:
        return "without that it goes on"
    if not record.quota.can_grow:
        return "that is its whole grid"
    return f"--trials {2 * record.quota.n_target} would extend it"
