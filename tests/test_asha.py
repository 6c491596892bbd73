"""Which trials stop early."""

from __future__ import annotations

from fmnist_tune.config.schema import Pruner
from fmnist_tune.search.asha import Asha


def asha(name: str = "asha", curves: dict[int, dict[int, float]] | None = None, **kwargs: int) -> Asha:
    return Asha(Pruner.model_validate({"name": name, "min_epochs": 1, "reduction_factor": 3, **kwargs}), curves or {})


def test_rungs_are_powers_of_the_reduction_factor() -> None:
    a = asha(min_epochs=2, reduction_factor=3)
    assert [epoch for epoch in range(1, 60) if a.is_rung(epoch)] == [2, 6, 18, 54]


def test_the_first_to_reach_a_rung_goes_on() -> None:
    assert asha().report(0, 1, 0.1) is None


def test_the_best_third_goes_on_and_the_rest_hears_why() -> None:
    a = asha()
    stopped = [number for number in range(9) if a.report(number, 1, 1 - number / 10) is not None]
    assert stopped == [1, 2, 3, 4, 5, 6, 7, 8]
    assert a.report(9, 1, 0.95) is None
    assert a.report(10, 1, 0.85) == "asha: 0.8500 after epoch 1 is below 0.9000 (best 1/3 of 11)"


def test_equals_go_on_together() -> None:
    a = asha()
    assert [a.report(number, 1, 0.5) for number in range(5)] == [None] * 5


def test_between_rungs_nothing_stops() -> None:
    a = asha(curves={n: {1: 0.9, 2: 0.9, 3: 0.9} for n in range(10)})
    assert a.report(99, 2, 0.0) is None
    assert a.report(99, 3, 0.0) is not None


def test_it_is_rebuilt_from_curves_alone() -> None:
    values = [0.3, 0.9, 0.2, 0.8, 0.7, 0.95, 0.1]
    undisturbed, curves = asha(), {}
    for number, value in enumerate(values):
        expected = undisturbed.report(number, 1, value)
        assert asha(curves=curves).report(number, 1, value) == expected
        curves[number] = {1: value}


def test_without_a_pruner_nothing_stops() -> None:
    a = asha("none")
    assert [a.report(number, 1, -number) for number in range(9)] == [None] * 9
