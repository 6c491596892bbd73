"""The status of the latest retraining of a study's winner, or of its recipe's training."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import pydantic
import pydantic.dataclasses

from fmnist_tune.errors import UserError
from fmnist_tune.study.layout import StudyPaths
from fmnist_tune.study.record import StudyRecord
from fmnist_tune.study.retraining_record import DONE, FAILED, INTERRUPTED, RUNNING
from fmnist_tune.study.seed_results import finished_seed, plan_for

COMPARISON, UNKNOWN = "confirm", "unknown"  # labels without a folder of seeds


@pydantic.dataclasses.dataclass(frozen=True)
class RetrainingStatus:
    """The latest retraining.

    Attributes:
        state: running, interrupted, failed or done.
        reason: why it failed; None otherwise.
        trial: the retrained trial; None for a recipe, and while the best trials are compared.
        label: of its seeds' folder, `recipe` or `trial-7`; `confirm` while the best trials are compared; `unknown` if
            the study's record of it is damaged.
        top: how many of the best trials are compared first; None for none.
        seeds: to train.
        trained: seeds already trained.
        epochs: of each seed; None while the best trials are compared.
        began_at: local time at the start of the latest command.
    """

    state: Literal["running", "interrupted", "failed", "done"]
    reason: str | None
    trial: pydantic.NonNegativeInt | None
    label: str
    top: pydantic.PositiveInt | None
    seeds: list[pydantic.NonNegativeInt]
    trained: list[int]
    epochs: pydantic.PositiveInt | None
    began_at: str

    @property
    def progress(self) -> str:
        """The progress, such as `2 of 3 seeds`; empty while the best trials are compared."""
        return "" if self.label in (COMPARISON, UNKNOWN) else f"{len(self.trained)} of {len(self.seeds)} seeds"

    def sentence(self, paths: StudyPaths) -> str:
        """Return the status as text, with the command that resumes it; empty when it is done."""
        choice: tuple[object, ...] = ()
        if self.label == COMPARISON:
            what = f"comparison of the best {self.top} trials"
        elif self.label == UNKNOWN:
            what = "retraining"
        elif self.trial is None:
            what = "training"
        else:
            what = f"retraining of trial {self.trial}"
            choice = ("--trial", self.trial)
        if self.top is not None:
            choice = ("--top", self.top)
        if self.seeds:
            choice = (*choice, "--seeds", len(self.seeds))
        command = paths.command("retrain", *choice)
        trained = f": {self.progress} are trained" if self.progress else ""
        if self.state == RUNNING:
            return f"{what} is under way since {self.began_at}{trained}"
        if self.state == INTERRUPTED:
            return f"{what} was interrupted{trained}; go on with: {command}"
        if self.state == FAILED:
            return f"{what} failed ({' '.join(str(self.reason).split())}){trained}; try again with: {command}"
        return ""


STORED: pydantic.TypeAdapter[RetrainingStatus] = pydantic.TypeAdapter(RetrainingStatus)


def retraining_status(record: StudyRecord, *, is_running: bool) -> RetrainingStatus | None:
    """Return the status of a study's latest retraining; None without one.

    Args:
        record: the study.
        is_running: whether a live process drives it; otherwise a retraining recorded as running was killed.
    """
    known = record.retraining.status
    if known is None:
        return None
    try:
        stored = STORED.validate_python({**known, "trained": []})
        trained = _trained(record, stored)
    except (pydantic.ValidationError, UserError) as error:
        problem = f"what the study records of it cannot be read: {str(error).splitlines()[0]}"
        return RetrainingStatus("failed", problem, None, UNKNOWN, None, [], [], None, "")
    if stored.state == RUNNING and not is_running:
        return replace(stored, trained=trained, state="interrupted")
    if stored.state == DONE and record.retraining.problem is not None:
        reason = f"what the study records of its result is damaged: {record.retraining.problem}"
        return replace(stored, trained=trained, state="failed", reason=reason)
    return replace(stored, trained=trained)


def _trained(record: StudyRecord, stored: RetrainingStatus) -> list[int]:
    """Return the finished seeds."""
    trials = record.trials
    if stored.label == COMPARISON or (stored.trial is not None and stored.trial >= len(trials)):
        return []
    plan = plan_for(record, None if stored.trial is None else trials[stored.trial])
    md5 = record.train_md5
    return [seed for seed in stored.seeds if finished_seed(record.paths, plan, seed, md5) is not None]
