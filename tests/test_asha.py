"""Which trials go on."""

from __future__ import annotations

import pytest

from fmnist_tune.config.schema import Pruner
from fmnist_tune.search.asha import PAUSED_BEYOND, Asha
from fmnist_tune.search.queue import Queue

PRUNER = Pruner(name="asha", min_epochs=1, reduction_factor=3)


def asha(curves: dict[int, dict[float, float]] | None = None, **kwargs: float) -> Asha:
    return Asha(PRUNER.model_copy(update=kwargs), curves or {})


def first_rung(*values: float) -> dict[int, dict[float, float]]:
    return {number: {1: value} for number, value in enumerate(values)}


def paused(curves: dict[int, dict[float, float]]) -> Queue:
    queue = Queue(PRUNER, curves)
    for number in curves:
        queue.pause(number)
    return queue


def test_rungs_are_powers_of_the_reduction_factor() -> None:
    a = asha(min_epochs=2)
    assert [epoch for epoch in range(1, 60) if a.is_rung(epoch)] == [2, 6, 18, 54]
    assert (a.epochs_to_rung(None), asha({0: {1: 0.5, 2: 0.5, 3: 0.5}}).epochs_to_rung(0)) == (2, 6)


def test_a_rung_below_an_epoch_is_a_look_within_the_first() -> None:
    a = asha({0: {0.33: 0.5}, 1: {}}, min_epochs=0.33)
    assert [epoch for epoch in range(1, 30) if a.is_rung(epoch)] == [1, 3, 9, 27]
    assert (a.looks, a.looks_left(0), a.looks_left(1)) == ((0.33,), (), (0.33,))
    assert (a.epochs_to_rung(None), a.epochs_to_rung(0)) == (0.33, 1 - 0.33)
    assert a.at_rung(0) == 0.33
    assert a.rank_text(0) == "50.00 % at epoch 0.33, rank 1/1"
    assert asha(min_epochs=0.1).looks == (0.1, 0.30000000000000004)
    assert asha({0: {0.30000000000000004: 0.5}}, min_epochs=0.1).looks_left(0) == (), "what lies behind it is past"


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
    assert a.verdict(4, rounds_up=False) == "asha: 60.00 % at epoch 1, rank 5/9; the best 3 were promoted"


@pytest.mark.parametrize(
    ("n", "rounds_up", "text"),
    [(1, False, "none was promoted"), (1, True, "the best one was promoted"), (7, True, "the best 3 were promoted")],
)
def test_why_a_trial_was_given_up_says_how_many_were_promoted(n: int, rounds_up: bool, text: str) -> None:
    a = asha({number: {27: 0.5} for number in range(n)})
    assert a.verdict(n - 1, rounds_up=rounds_up) == f"asha: 50.00 % at epoch 27, rank {n}/{n}; {text}"


def test_when_no_new_trial_comes_somebody_goes_on_to_the_end() -> None:
    queue = paused(first_rung(0.5, 0.6))
    assert queue.next(is_full=False) is None
    assert queue.next(is_full=True) == 1


def test_of_equals_the_oldest_go_on() -> None:
    a = asha(first_rung(*[0.5] * 6))
    assert [number for number in range(6) if a.is_promoted(number, rounds_up=False)] == [0, 1]


def test_without_a_pruner_there_are_no_rungs() -> None:
    a = Asha(PRUNER.model_copy(update={"name": "none"}), {0: {1: 0.5}})
    assert a.at_rung(0) is None


def test_a_worker_takes_the_best_of_the_highest_rung_that_goes_on() -> None:
    curves = first_rung(0.9, 0.8, 0.7, 0.6, 0.5, 0.4)
    for number in (0, 1, 2):
        curves[number] |= {2: 0.9, 3: 0.9 + number / 100}
    queue = paused(curves)
    assert queue.next(is_full=False) == 2
    queue.take(2)
    assert queue.next(is_full=False) is None  # 0 and 1 are above the first rung, and 1 of 3 goes on from the second
    for number, value in ((6, 0.95), (7, 0.1), (8, 0.1)):
        queue.asha.report(number, 1, value)
        queue.pause(number)
    assert queue.next(is_full=False) == 6


def test_what_was_cut_short_goes_first() -> None:
    queue = paused(first_rung(0.9, 0.8, 0.7))
    for number in (4, 3):
        queue.requeue(number)
    assert queue.next(is_full=False) == 3
    queue.take(3)
    assert queue.next(is_full=False) == 4
    queue.take(4)
    assert queue.next(is_full=False) == 0


def test_what_is_far_from_going_on_is_not_kept() -> None:
    curves = first_rung(*(1 - number / 100 for number in range(30)))
    queue = paused(curves)
    assert queue.to_prune() == list(range(10 + PAUSED_BEYOND, 30))


def test_an_epoch_that_is_reported_again_counts_once() -> None:
    a = asha(first_rung(0.5, 0.6, 0.7))
    a.report(0, 1, 0.5)
    assert a.rank_text(0) == "50.00 % at epoch 1, rank 3/3"
    a.report(0, 1, 0.65)
    assert a.rank_text(0) == "65.00 % at epoch 1, rank 2/3"
