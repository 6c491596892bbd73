"""Which trials go on."""

from __future__ import annotations

import math
from collections.abc import Iterable

import pytest

from fmnist_tune.config import read_space
from fmnist_tune.search.asha import PAUSED_BEYOND, Asha, NoPruning, SuccessiveHalving
from fmnist_tune.search.scheduler import Pick, Scheduler, Situation
from tests.studies import SPACE

PRUNER = Asha(min_epochs=1, reduction_factor=3)


def asha(curves: dict[int, dict[float, float]] | None = None, **kwargs: float) -> SuccessiveHalving:
    scheduler = PRUNER.model_copy(update=kwargs).build()
    for number, curve in (curves or {}).items():
        for epoch, value in curve.items():
            scheduler.report(number, epoch, value)
    return scheduler


def situation(paused: Iterable[int], *, can_begin: bool = True) -> Situation:
    return Situation(
        paused=sorted(paused),
        running={},
        can_begin=can_begin,
        n_workers=1,
        left_s=math.inf,
        epoch_s=1.0,
        space=read_space(SPACE, "s.yaml"),
        trials={},
    )


def next_of(scheduler: Scheduler, paused: Iterable[int], *, can_begin: bool = True) -> int | None:
    """Return the paused trial that goes on; None for a new one, or none."""
    pick = scheduler.next(situation(paused, can_begin=can_begin))
    return None if pick is None else pick.number


def first_rung(*values: float) -> dict[int, dict[float, float]]:
    return {number: {1: value} for number, value in enumerate(values)}


def test_rungs_are_powers_of_the_reduction_factor() -> None:
    a = asha(min_epochs=2)
    assert [epoch for epoch in range(1, 60) if a.is_rung(epoch)] == [2, 6, 18, 54]
    assert (a.milestone(0), a.milestone(3)) == (2, 6)


def test_a_rung_below_an_epoch_is_within_the_first() -> None:
    a = asha({0: {0.33: 0.5}, 1: {}}, min_epochs=0.33)
    assert [epoch for epoch in range(1, 30) if a.is_rung(epoch)] == [1, 3, 9, 27]
    assert (a.milestone(0), a.milestone(0.33), a.milestone(1)) == (0.33, 1, 3)
    assert a.rank_text(0) == "50.00 % at epoch 0.33, rank 1/1"
    a = asha(min_epochs=0.1)
    assert (a.milestone(0), a.milestone(0.1)) == (0.1, 0.30000000000000004)
    assert a.milestone(0.30000000000000004) == 1


def test_the_first_to_arrive_does_not_go_on_for_being_alone() -> None:
    a = asha()
    for number, value in enumerate([0.1, 0.2, 0.3]):
        a.report(number, 1, value)
        assert not a.is_promoted(0, rounds_up=False)
    assert [a.is_promoted(number, rounds_up=False) for number in range(3)] == [False, False, True]


def test_a_third_goes_on_and_the_rest_hears_where_it_stands() -> None:
    a = asha(first_rung(*(1 - number / 10 for number in range(9))))
    assert [number for number in range(9) if a.is_promoted(number, rounds_up=False)] == [0, 1, 2]
    assert a.rank_text(4) == "60.00 % at epoch 1, rank 5/9"
    assert a.verdict(4, situation([])) == "asha: 60.00 % at epoch 1, rank 5/9; the best 3 were promoted"


@pytest.mark.parametrize(
    ("n", "rounds_up", "text"),
    [(1, False, "none was promoted"), (1, True, "the best one was promoted"), (7, True, "the best 3 were promoted")],
)
def test_why_a_trial_was_given_up_says_how_many_were_promoted(n: int, rounds_up: bool, text: str) -> None:
    a = asha({number: {27: 0.5} for number in range(n)})
    assert (
        a.verdict(n - 1, situation([], can_begin=not rounds_up)) == f"asha: 50.00 % at epoch 27, rank {n}/{n}; {text}"
    )


def test_when_no_new_trial_comes_somebody_goes_on_to_the_end() -> None:
    a = asha(first_rung(0.5, 0.6))
    assert a.next(situation([0, 1])) == Pick()
    assert a.next(situation([0, 1], can_begin=False)) == Pick(1)
    assert a.next(situation([], can_begin=False)) is None


def test_of_equals_the_oldest_go_on() -> None:
    a = asha(first_rung(*[0.5] * 6))
    assert [number for number in range(6) if a.is_promoted(number, rounds_up=False)] == [0, 1]


def test_without_a_pruner_there_are_no_rungs() -> None:
    scheduler = NoPruning(name="none").build()
    assert math.isinf(scheduler.milestone(0))
    assert scheduler.next(situation([])) == Pick()
    assert scheduler.next(situation([], can_begin=False)) is None


def test_a_worker_takes_the_best_of_the_highest_rung_that_is_promoted() -> None:
    curves = first_rung(0.9, 0.8, 0.7, 0.6, 0.5, 0.4)
    for number in (0, 1, 2):
        curves[number] |= {2: 0.9, 3: 0.9 + number / 100}
    a = asha(curves)
    assert next_of(a, range(6)) == 2
    assert next_of(a, (0, 1, 3, 4, 5)) is None, "0 and 1 are above the first rung, and 1 of 3 goes on from the second"
    for number, value in ((6, 0.95), (7, 0.1), (8, 0.1)):
        a.report(number, 1, value)
    assert next_of(a, (0, 1, 3, 4, 5, 6, 7, 8)) == 6


def test_what_is_far_from_going_on_is_not_kept() -> None:
    curves = first_rung(*(1 - number / 100 for number in range(30)))
    assert asha(curves).to_prune(situation(curves)) == list(range(10 + PAUSED_BEYOND, 30))


def test_an_epoch_that_is_reported_again_counts_once() -> None:
    a = asha(first_rung(0.5, 0.6, 0.7))
    a.report(0, 1, 0.5)
    assert a.rank_text(0) == "50.00 % at epoch 1, rank 3/3"
    a.report(0, 1, 0.65)
    assert a.rank_text(0) == "65.00 % at epoch 1, rank 2/3"
