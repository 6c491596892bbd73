"""The simulator: what its searches tell of the real one."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from optuna.trial import TrialState

from fmnist_tune.search.simulation import CHANCE, Checkpoint, Curve, Simulation, curves_from_table
from fmnist_tune.study.trial_data import curve_of, history_of
from tests.studies import SPACE, open_study


def rising(number: int, values: Mapping[str, Any]) -> Curve:
    """Return a curve of 100 s an epoch that ends the higher, the later its trial began."""
    return Curve([0.2 + 0.01 * number + 0.05 * epoch for epoch in range(8)], 100.0)


def test_a_search_ends_with_every_trial_and_tells_how_long_it_would_have_taken(tmp_path: Path) -> None:
    simulation = Simulation(
        open_study(tmp_path, training__epochs=8, search__trials=20, search__pruner__min_epochs=0.5), rising, n_workers=3
    )
    simulation.run()
    record, totals = simulation.driver.record, simulation.driver.totals
    assert record.is_finished
    assert {t.state for t in record.trials} == {TrialState.COMPLETE, TrialState.PRUNED}
    assert record.best is not None
    assert record.best.value == pytest.approx(0.55 + 0.01 * record.best.number)
    assert totals.epochs == sum(len(history_of(t)) for t in record.trials)
    assert curve_of(record.trials[0])[0.5] == pytest.approx(CHANCE + 0.5 * (0.2 - CHANCE))
    n_first_halves = sum(not history_of(t) for t in record.trials)
    assert totals.train_s == pytest.approx(100 * totals.epochs + 50 * n_first_halves)
    assert totals.train_s / 3 <= simulation.clock.now <= totals.train_s
    assert not simulation.busy


def test_a_search_with_a_deadline_ends_by_then_and_another_one_goes_on_from_its_checkpoints(tmp_path: Path) -> None:
    text = SPACE.replace("name: asha", "name: none")
    checkpoints: dict[int, Checkpoint] = {}
    first = Simulation(open_study(tmp_path, text), rising, n_workers=2, timeout_s=730.0, checkpoints=checkpoints)
    first.run()
    assert 600 <= first.clock.now <= 730
    assert [t.state for t in first.driver.record.trials].count(TrialState.WAITING) == 2
    second = Simulation(open_study(tmp_path, text), rising, n_workers=2, clock=first.clock, checkpoints=checkpoints)
    second.run()
    assert second.driver.record.is_finished
    assert first.driver.totals.epochs + second.driver.totals.epochs == 6 * 4


def test_recorded_curves_are_found_by_the_values_of_their_trainings(tmp_path: Path) -> None:
    text = """
study: s
search: {trials: 4, sampler: {name: grid}, pruner: {name: none}}
model: {name: mlp, hidden: [8], dropout: {choice: [0.0, 0.1, 0.2, 0.3]}}
training: {epochs: 2}
"""
    curves = curves_from_table(({"model.dropout": d / 10}, Curve([0.5, 0.9 - d / 10], 1.0)) for d in range(4))
    simulation = Simulation(open_study(tmp_path, text), curves, n_workers=1)
    simulation.run()
    values = {t.params["model.dropout"]: t.value for t in simulation.driver.record.trials}
    assert values == {d / 10: 0.9 - d / 10 for d in range(4)}
    with pytest.raises(KeyError):
        curves(0, {"model.dropout": 0.5})
