"""Figures over seeds and per class, on numbers that can be checked by hand."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from fmnist_tune.evaluation import (
    ClassSpread,
    accuracy,
    calibration,
    class_spreads,
    confusion_matrix,
    next_value_ci95,
    paired,
    per_class,
    share_spread,
    softmax,
    spread,
)
from fmnist_tune.retrain.metrics import evaluate
from fmnist_tune.study.results import class_table, classes_text, recalls_of, weakest_classes

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


@pytest.mark.parametrize(
    ("first", "second"),
    [([0.9], [0.8]), ([0.5, 0.5], [0.25, 0.25]), ([0.8837, 0.9269, 0.865], [0.8820, 0.9252, 0.8633])],
)
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
    assert (third.precision, third.recall, third.f1, third.support) == (None, None, None, 0)


def test_a_class_that_is_never_predicted_has_no_precision_but_an_f1_of_0() -> None:
    never = per_class(np.array([[0, 2], [0, 3]]))[0]
    assert (never.precision, never.recall, never.f1, never.support) == (None, 0.0, 0.0, 2)


def test_figures_over_seeds_are_those_of_the_seeds_for_which_they_are_defined() -> None:
    always_b = np.array([[0, 1, 0]] * 4, dtype=np.float32)
    a, b, c = class_spreads([SCORES, always_b], np.array([0, 1, 1, 1]))
    assert a.precision is not None
    assert a.precision.values == (0.5,)
    assert a.recall is not None
    assert a.recall.values == (1.0, 0.0)
    assert b.recall is not None
    assert (c.precision is not None, c.recall, c.f1, c.support) == (True, None, None, 0)


@pytest.mark.parametrize("n_seeds", [1, 2, 3])
def test_the_table_of_the_classes_is_the_same_from_the_scores_and_from_metrics_json(n_seeds: int) -> None:
    names, labels = ("a", "b", "c", "d"), np.random.default_rng(0).integers(0, 3, 60)  # no image of d
    scores = [np.random.default_rng(seed).normal(size=(60, 4)).astype(np.float32) for seed in range(n_seeds)]
    scores[0][:, 0] -= 99  # its class a is never predicted
    stored = json.loads(json.dumps(evaluate(scores, labels, names)))["per_class"]
    from_json = {name: ClassSpread.from_json(stored[name], n_seeds) for name in names}
    of_scores = dict(zip(names, class_spreads(scores, labels), strict=True))
    assert from_json == of_scores
    assert class_table(from_json) == class_table(of_scores)


def test_an_older_metrics_json_has_the_interval_of_recall_alone() -> None:
    stored = {"precision": 0.9, "recall": 0.8, "f1": None, "support": 10, "recall_ci95": [0.7, 0.85]}
    (row,) = class_table({"a": ClassSpread.from_json(stored, 3)}).rows
    assert row == ("a", "90.0", "80.0 ± 10.0", "-", "10")


def test_a_class_without_images_is_left_out_of_the_weakest_and_named() -> None:
    recalls = {"A": 0.9, "B": None, "C": 0.7, "D": 0.8, "E": 0.95}
    assert weakest_classes(recalls) == [("C", 0.7), ("D", 0.8)]
    assert classes_text(recalls) == (
        "Weakest classes by recall: C 70.0 %, D 80.0 %. The test set has no images of B: how well it is recognised is "
        "not known."
    )
    older = {"A": {"recall": 0.0, "support": 0}, "B": {"recall": 0.5, "support": 9}, "C": {"f1": 0.5}}
    assert recalls_of(older) == {"A": None, "B": 0.5}


def test_two_seeds_are_told_as_two_values_and_three_as_an_interval() -> None:
    assert share_spread([0.93]).certainty() == "one seed, no interval"
    assert share_spread([0.9349, 0.93]).certainty() == "two seeds, 93.00 % and 93.49 %: too few for an interval"
    assert share_spread([0.9349, 0.93]).extent == (0.93, 0.9349)
    assert share_spread([0.9, 0.92, 0.94]).certainty() == "95 % interval of the mean 87.03 % to 96.97 %, 3 seeds"


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
