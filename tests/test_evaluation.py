"""Figures over seeds and per class, on numbers that can be checked by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from fmnist_tune.evaluation import (
    accuracy,
    calibration,
    confusion_matrix,
    next_value_ci95,
    paired,
    per_class,
    share_spread,
    softmax,
    spread,
)

SCORES = np.array([[3, 1, 0], [0, 2, 1], [2, 1, 0], [0, 0, 5]], dtype=np.float32)
LABELS = np.array([0, 1, 1, 2])


def test_an_interval_over_seeds_is_students() -> None:
    figure = spread([0.90, 0.92, 0.94])
    assert figure.mean == pytest.approx(0.92)
    assert figure.std == pytest.approx(0.02)
    assert figure.ci95 == pytest.approx((0.92 - 4.302653 * 0.02 / 3**0.5, 0.92 + 4.302653 * 0.02 / 3**0.5))


def test_one_seed_has_no_interval() -> None:
    figure = spread([0.9])
    assert (figure.mean, figure.std, figure.ci95) == (0.9, None, None)


def test_an_interval_of_shares_ends_at_all() -> None:
    assert share_spread([1.0, 0.9, 1.0]).ci95 == pytest.approx((0.8232, 1.0), abs=1e-4)


def test_no_seed_is_refused() -> None:
    with pytest.raises(ValueError, match="no values"):
        spread([])


@given(st.lists(st.floats(0, 1), min_size=2, max_size=20))
def test_the_interval_is_scipys(values: list[float]) -> None:
    figure = spread(values)
    assert figure.ci95 is not None
    if figure.std:
        low, high = stats.t.interval(0.95, len(values) - 1, loc=np.mean(values), scale=stats.sem(values))
        assert figure.ci95 == pytest.approx((low, high), abs=1e-9)


def test_a_lead_is_judged_seed_by_seed() -> None:
    lead = paired([0.91, 0.93, 0.92], [0.90, 0.91, 0.91])
    assert lead.difference.mean == pytest.approx(0.04 / 3)
    assert lead.confidence == pytest.approx(1 - stats.ttest_rel([0.91, 0.93, 0.92], [0.90, 0.91, 0.91]).pvalue)


def test_the_best_of_equals_is_seldom_called_better() -> None:
    rng = np.random.default_rng(0)
    n_called = 0
    for _ in range(2000):
        best, second = sorted(rng.normal(0.93, 0.002, (4, 5)).tolist(), key=np.mean, reverse=True)[:2]
        n_called += (paired(best, second).confidence or 0.0) > 0.95
    assert n_called / 2000 < 0.06


def test_one_more_value_lies_in_its_interval_as_often_as_said() -> None:
    rng = np.random.default_rng(0)
    n_inside = 0
    for _ in range(2000):
        *known, new = rng.normal(0.9, 0.01, 4).tolist()
        low, high = next_value_ci95(spread(known)) or (0.0, 0.0)
        n_inside += low <= new <= high
    assert n_inside / 2000 == pytest.approx(0.95, abs=0.015)
    assert next_value_ci95(spread([0.9])) is None


@pytest.mark.parametrize(("first", "second"), [([0.9], [0.8]), ([0.5, 0.5], [0.25, 0.25])])
def test_a_lead_without_variation_has_no_confidence(first: list[float], second: list[float]) -> None:
    assert paired(first, second).confidence is None


def test_the_confusion_matrix_has_true_classes_as_rows() -> None:
    matrix = confusion_matrix(SCORES, LABELS)
    assert matrix.tolist() == [[1, 0, 0], [1, 1, 0], [0, 0, 1]]
    assert accuracy(SCORES, LABELS) == 0.75


def test_per_class_figures_follow_from_the_confusion_matrix() -> None:
    first, second, third = per_class(np.array([[1, 0, 0], [1, 1, 0], [0, 0, 0]]))
    assert (first.precision, first.recall, first.support) == (0.5, 1.0, 1)
    assert first.f1 == pytest.approx(2 / 3)
    assert (second.precision, second.recall, second.support) == (1.0, 0.5, 2)
    assert (third.precision, third.recall, third.f1, third.support) == (0, 0, 0, 0)


def test_a_model_that_is_as_sure_as_it_is_right_is_calibrated() -> None:
    scores = np.log(np.array([[0.8, 0.2]] * 5, dtype=np.float32))
    found = calibration(scores, np.array([0, 0, 0, 0, 1]), n_bins=10)
    assert found.ece == pytest.approx(0, abs=1e-6)
    assert found.count.sum() == 5


def test_a_model_that_is_surer_than_right_is_not() -> None:
    scores = np.log(np.array([[0.9, 0.1]] * 4, dtype=np.float32))
    assert calibration(scores, np.array([0, 0, 1, 1])).ece == pytest.approx(0.4, abs=1e-6)


def test_probabilities_add_up_even_for_huge_scores() -> None:
    assert softmax(np.array([[1e4, 0.0]], dtype=np.float32)).tolist() == [[1.0, 0.0]]
