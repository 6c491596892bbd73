"""The trials to retrain, and their comparison over seeds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from optuna.trial import FrozenTrial, TrialState

from fmnist_tune.document.blocks import Section, Table
from fmnist_tune.errors import UserError
from fmnist_tune.evaluation import Paired, SeedStats
from fmnist_tune.retrain.metrics import spread_json
from fmnist_tune.study.record import StudyRecord
from fmnist_tune.study.trial_data import metadata_of
from fmnist_tune.tasks.objective import Objective
from fmnist_tune.units import percent


@dataclass(frozen=True)
class Candidate:
    """A trial trained over seeds on the training split.

    Attributes:
        number: the trial's.
        searched: its value in the search.
        value: over the seeds.
    """

    number: int
    searched: float
    value: SeedStats


@dataclass(frozen=True)
class Confirmation:
    """A comparison of a study's best trials over seeds.

    Attributes:
        candidates: sorted by their value over the seeds, the best first.
        lead: the first against the second, seed by seed.
    """

    candidates: tuple[Candidate, ...]
    lead: Paired


def top_k(record: StudyRecord, trial: int | None, top: int | None) -> list[FrozenTrial]:
    """Return the trials to choose from, the best first.

    Raises:
        UserError: there is none, or not the requested one.
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
            reason = metadata_of(chosen).get("reason", "unknown")
            raise UserError(f"--trial {trial}: that trial failed ({reason}), so there is nothing to retrain")
        if not chosen.state.is_finished():
            go_on = record.paths.command("resume")
            raise UserError(f"--trial {trial}: that trial is not trained to its end yet; `{go_on}` goes on")
        return [chosen]
    if not complete:
        reasons = sorted({str(metadata_of(t).get("reason")) for t in trials if t.state == TrialState.FAIL})
        if trials and all(t.state == TrialState.FAIL for t in trials):
            raise UserError(f"study {name!r}: all {len(trials)} trials failed: {'; '.join(reasons[:3])}")
        raise UserError(
            f"study {name!r}: no trial has been trained to its end yet; `{record.paths.command('resume')}` goes on, "
            "and --trial N takes a pruned one"
        )
    if top is not None and top > len(complete):
        raise UserError(f"--top {top}: study {name!r} has {len(complete)} COMPLETE trials")
    return complete[: top or 1]


def confirmation_section(confirmation: Confirmation, objective: Objective) -> Section:
    """Return the section on a comparison of the best trials."""
    rows = [
        (str(c.number), objective.text(c.searched), objective.text(c.value.mean), _std_text(c.value, objective))
        for c in confirmation.candidates
    ]
    first, second = confirmation.candidates[:2]
    lead = confirmation.lead
    mean = objective.difference(lead.difference.mean)
    if lead.difference.std is None:
        text = f"trial {first.number} leads trial {second.number}; one seed does not say how surely"
    elif lead.confidence is None:
        text = f"trial {first.number} against trial {second.number}: {mean} with every seed"
    else:
        assert lead.difference.ci95 is not None
        low, high = map(objective.difference, lead.difference.ci95)
        sure = "more than 99 %" if lead.confidence > 0.99 else percent(lead.confidence, 0)
        text = (
            f"trial {first.number} is better than trial {second.number} with {sure} confidence "
            f"(paired over seeds: {mean}, 95 % interval {low} to {high})"
        )
    title = f"{objective.label}, trained on the training split"
    return Section(title, (Table(("trial", "in the search", "over seeds", "std"), rows), text))


def _std_text(value: SeedStats, objective: Objective) -> str:
    return "-" if value.std is None else objective.difference(value.std).removeprefix("+")


def confirmation_json(confirmation: Confirmation, objective: Objective) -> dict[str, Any]:
    """Return a comparison of the best trials as JSON."""
    return {
        "candidates": [
            {"trial": c.number, "searched": c.searched, objective.metric: spread_json(c.value)}
            for c in confirmation.candidates
        ],
        "lead": {
            "difference": spread_json(confirmation.lead.difference),
            "confidence": confirmation.lead.confidence,
        },
    }
