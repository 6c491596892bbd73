"""How the latest retraining of a study's winner, or the training of its recipe, stands."""

from __future__ import annotations

from dataclasses import dataclass

from fmnist_tune.study.layout import StudyPaths
from fmnist_tune.study.record import FAILED, INTERRUPTED, RUNNING, StudyRecord

COMPARISON = "confirm"


@dataclass(frozen=True)
class RetrainingStatus:
    """The latest retraining.

    Attributes:
        state: running, interrupted, failed or done.
        reason: why it failed; None otherwise.
        trial: that is retrained; None for a recipe, and while the best trials are compared.
        label: of its seeds' folder, `recipe` or `trial-7`; `confirm` while the best trials are compared.
        top: how many of the best trials are compared first; None for none.
        seeds: to be trained.
        trained: those of them that are.
        epochs: of each; None while the best trials are compared.
        began_at: local time, when the latest command began.
    """

    state: str
    reason: str | None
    trial: int | None
    label: str
    top: int | None
    seeds: list[int]
    trained: list[int]
    epochs: int | None
    began_at: str

    @property
    def progress(self) -> str:
        """How far it is, such as `2 of 3 seeds`; empty while the best trials are compared."""
        return "" if self.label == COMPARISON else f"{len(self.trained)} of {len(self.seeds)} seeds"

    def sentence(self, paths: StudyPaths) -> str:
        """Return how it stands, for people, with the command that goes on; empty when it is done."""
        choice: tuple[object, ...] = ()
        if self.label == COMPARISON:
            what = f"comparison of the best {self.top} trials"
        elif self.trial is None:
            what = "training"
        else:
            what = f"retraining of trial {self.trial}"
            choice = ("--trial", self.trial)
        if self.top is not None:
            choice = ("--top", self.top)
        command = paths.command("retrain", *choice, "--seeds", len(self.seeds))
        trained = f": {self.progress} are trained" if self.progress else ""
        if self.state == RUNNING:
            return f"{what} is under way since {self.began_at}{trained}"
        if self.state == INTERRUPTED:
            return f"{what} was interrupted{trained}; go on with: {command}"
        if self.state == FAILED:
            return f"{what} failed ({' '.join(str(self.reason).split())}){trained}; try again with: {command}"
        return ""


def retraining_status(record: StudyRecord, *, is_driven: bool) -> RetrainingStatus | None:
    """Return how a study's latest retraining stands; None before there is one.

    Args:
        record: the study.
        is_driven: whether a living process drives it; what nobody drives is not running, but was killed.
    """
    known = record.latest_retraining
    if known is None:
        return None
    if known["state"] == RUNNING and not is_driven:
        known["state"] = INTERRUPTED
    trained = [seed for seed in known["seeds"] if record.paths.seed_result(known["label"], seed).is_file()]
    return RetrainingStatus(**known, trained=trained)
