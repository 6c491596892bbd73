"""The command line's limits of one run, and whether they leave time to train anything."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass

from fmnist_tune.config import SearchSpace
from fmnist_tune.errors import UserError
from fmnist_tune.search.deadline import Deadline
from fmnist_tune.study.record import StudyRecord
from fmnist_tune.units import clock, duration

MIN_TIMEOUT_S = 10.0  # the least that Ray and a worker need to start (benchmarks/RESULTS.md)


@dataclass(frozen=True)
class Limits:
    """The limits of one run from the command line; they do not change the study's file.

    Attributes:
        n_trials: total trials of the study; None for what its file says or it was extended to.
        timeout_s: of this run; None for the file's.
    """

    n_trials: int | None = None
    timeout_s: float | None = None

    def check(self) -> None:
        """Check `--timeout`.

        Raises:
            UserError: it is too short to train anything.
        """
        if self.timeout_s is not None:
            _check_start("--timeout", self.timeout_s)

    def timeout_of(self, space: SearchSpace) -> float | None:
        """Return the seconds that a run may take; None for no limit.

        Raises:
            UserError: they are too few to train anything.
        """
        if self.timeout_s is not None:
            return self.timeout_s
        of_file = space.settings.search.timeout
        if of_file is not None:
            _check_start(f"{space.source}: search.timeout", of_file)
        return of_file


def _check_start(where: str, timeout_s: float) -> None:
    if timeout_s < MIN_TIMEOUT_S:
        raise UserError(
            f"{where}: {duration(timeout_s)} is too short: Ray and its workers need about "
            f"{duration(MIN_TIMEOUT_S)} before anything is trained; give several minutes, such as --timeout 10m"
        )


def check_time(record: StudyRecord, timeout_s: float) -> None:
    """Refuse a time too short for one epoch, judged by the epochs of the study's trials.

    Raises:
        UserError: nothing would be trained.
    """
    deadline = Deadline(time.monotonic() + timeout_s - MIN_TIMEOUT_S, lambda number: record.space.config({}))
    waiting = [t for t in record.trials if not t.state.is_finished()]
    for trial in waiting:
        deadline.recall(trial)
    if any(deadline.fits(t.number) for t in waiting) or (not record.is_full and deadline.fits(None)):
        return
    usual = clock(deadline.usual_s)
    enough = 60 * math.ceil((MIN_TIMEOUT_S + 2 * deadline.usual_s) / 60)
    raise UserError(
        f"study {record.paths.name!r}: {duration(timeout_s)} is too short: an epoch of its trials took about {usual} "
        f"when they were trained, so that none would fit; give it more, such as --timeout {duration(enough)}"
    )
