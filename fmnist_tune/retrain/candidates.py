"""Which trials a retraining is about, and how they compare over seeds."""

from __future__ import annotations

from dataclasses import dataclass

from optuna.trial import FrozenTrial, TrialState

from fmnist_tune.errors import UserError
from fmnist_tune.evaluation import Paired, SeedStats
from fmnist_tune.study.record import StudyRecord
from fmnist_tune.study.trial_data import facts_of


@dataclass(frozen=True)
class Candidate:
    """A trial that was trained over seeds on the training split.

    Attributes:
        number: the trial's.
        searched: the value that the search had seen.
        value: over the seeds.
    """

    number: int
    searched: float
    value: SeedStats


@dataclass(frozen=True)
class Confirmation:
    """The best trials of a study compared over seeds.

    Attributes:
        candidates: the best over the seeds first.
        lead: the first against the second, seed by seed.
    """

    candidates: tuple[Candidate, ...]
    lead: Paired


def candidates(record: StudyRecord, trial: int | None, top: int | None) -> list[FrozenTrial]:
    """Return the trials to choose from, the best first.

    Raises:
        UserError: there is none, or not the one that was asked for.
    """
    name = record.paths.name
    trials = record.trials
    complete = sorted(
        (t for t in trials if t.state == TrialState.COMPLETE), key=lambda t: (-(t.value or 0.0), t.number)
    )
    if trial is not None:
        if trial >= len(trials):
            raise UserError(
                f"--trial {trial}: study {name!r} has "
                + (f"trials 0 to {len(trials) - 1}" if trials else "no trials yet")
            )
        chosen = trials[trial]
        if chosen.state == TrialState.FAIL:
            reason = facts_of(chosen).get("reason", "unknown")
            raise UserError(f"--trial {trial}: that trial failed ({reason}), so there is nothing to retrain")
        if not chosen.state.is_finished():
            go_on = record.paths.command("resume")
            raise UserError(f"--trial {trial}: that trial is not trained to its end yet; `{go_on}` goes on")
        return [chosen]
    if not complete:
        reasons = sorted({str(facts_of(t).get("reason")) for t in trials if t.state == TrialState.FAIL})
        if trials and all(t.state == TrialState.FAIL for t in trials):
            raise UserError(f"study {name!r}: all {len(trials)} trials failed: {'; '.join(reasons[:3])}")
        raise UserError(
            f"study {name!r}: no trial has been trained to its end yet; `{record.paths.command('resume')}` goes on, "
            "and --trial N takes a pruned one"
        )
    if top is not None and top > len(complete):
        raise UserError(f"--top {top}: study {name!r} has {len(complete)} COMPLETE trials")
    return complete[: top or 1]
