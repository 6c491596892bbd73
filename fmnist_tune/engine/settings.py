"""The engine's settings."""

from __future__ import annotations

from dataclasses import dataclass, field

from fmnist_tune.engine.curves import Prior


@dataclass(frozen=True)
class Settings:
    """What was found by `python -m benchmarks.engine`.

    Attributes:
        n_initial: cheap, spread-out configurations before the model decides.
        n_new: new configurations compared in a decision.
        n_refined: of these, the best ones of which neighbours are compared too.
        n_unfinished: trials compared, the most promising.
        n_observations: from which the model predicts, at most.
        n_known: configurations from which the known seconds are learned.
        refit: the kernel is fitted again when the evaluations are this many times those of the last fit.
        max_iterations: of a fit.
        margin: by which the best value is to be exceeded, at most, where there was no progress; in units of the
            spread of the trials.
        n_stalled: new configurations compared there.
        chance: of becoming the best that a trial is to have, to be continued once there are to be no others.
        plateau: share of the trials that must be on a plateau for ranks alone to decide.
        n_to_end: of the time that it takes to train the most promising trial to its end, this is reserved for it.
        prior: of the kernel.
        slope: by which curves are expected to rise, per unit of time.
        slope_weight: of that expectation, against the trials' own slopes.
        lesson_weight: of what earlier studies say, in the first trials; log seconds count half.
    """

    n_initial: int = 4
    n_new: int = 150
    n_refined: int = 5
    n_unfinished: int = 100
    n_observations: int = 150
    n_known: int = 96
    refit: float = 1.25
    max_iterations: int = 25
    margin: float = 3.0
    n_stalled: int = 24
    chance: float = 0.05
    plateau: float = 0.5
    n_to_end: float = 1.0
    prior: Prior = field(default_factory=Prior)
    slope: float = 0.4
    slope_weight: float = 0.08
    lesson_weight: float = 1.0
