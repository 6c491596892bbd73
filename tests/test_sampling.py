"""What is tried next: the samplers, and what a study begins with."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import FrozenTrial, TrialState

from fmnist_tune.config import read_space
from fmnist_tune.study.sampling import BEST_SHOWN, MOST_SHOWN, ShownTrials, distribution, values_of
from fmnist_tune.study.trial_writer import TrialWriter
from fmnist_tune.study.warm_start import import_trials
from tests.studies import SPACE, drive, open_study, report


def test_a_sampler_learns_from_trials_that_pause_or_run(tmp_path: Path) -> None:
    record = open_study(tmp_path, search__trials=30)
    trials = TrialWriter(record)
    for _ in range(4):
        trials.begin()
    for number in (0, 1, 2):
        trials.report(number, 1, 0.5)
    trials.release(0)
    seen = [t for t in ShownTrials(record.trials).select() if t.state == TrialState.PRUNED]
    assert [(t.number, t.value) for t in seen] == [(0, 0.5), (1, 0.5), (2, 0.5)]
    assert [t.state for t in record.trials] == [TrialState.WAITING, *[TrialState.RUNNING] * 3]


def test_what_a_resumed_study_suggests_is_what_an_undisturbed_one_would_have(tmp_path: Path) -> None:
    def search(folder: Path, *, restart: bool) -> list[dict[str, Any]]:
        folder.mkdir()
        text = SPACE.replace("name: random", "name: tpe").replace("trials: 6", "trials: 15")
        driver = drive(open_study(folder, text))
        while (assignment := driver.next_assignment()) is not None:
            lr = assignment.config["training"]["optimizer"]["lr"]
            driver.on_report(report(assignment.number, [1 - lr] * 4, stop="epochs", n_new=4))
            if restart:
                driver = drive(open_study(folder, text))
        return [t.params for t in driver.record.trials]

    undisturbed = search(tmp_path / "a", restart=False)
    assert len(undisturbed) == 15
    assert search(tmp_path / "b", restart=True) == undisturbed


def test_conditional_parameters_are_sampled_only_when_used(tmp_path: Path) -> None:
    record = open_study(tmp_path, search__trials=30)
    trials = TrialWriter(record)
    while (spec := trials.begin()) is not None:
        momentum = spec.config.training.optimizer.momentum
        assert (
            ("training.optimizer.momentum" in spec.values)
            == (spec.values["training.optimizer.name"] == "sgd")
            == (momentum > 0)
        )
        assert spec.config.model.widths in ([8], [16, 8])
        trials.complete(spec.number, 0.5)
    assert len(record.trials) == 30


@pytest.mark.parametrize("sampler", ["tpe", "random", "qmc", "gp", "cmaes"])
def test_every_sampler_fills_a_study(tmp_path: Path, sampler: str) -> None:
    record = open_study(tmp_path, search__sampler__name=sampler, search__trials=14)
    trials = TrialWriter(record)
    values = []
    while (spec := trials.begin()) is not None:
        values.append(spec.values["training.optimizer.lr"])
        trials.complete(spec.number, values[-1])
    assert len(set(values)) >= 12  # gp may propose the best end twice
    assert all(1e-4 <= lr <= 1e-1 for lr in values)


@pytest.mark.parametrize("sampler", ["tpe", "random", "qmc", "grid", "gp", "cmaes"])
def test_what_an_enqueued_trial_lacks_is_drawn(tmp_path: Path, sampler: str) -> None:
    text = SPACE.replace("lr: {float: [1e-4, 1e-1], log: true}", "lr: {float: [0.1, 0.3], step: 0.1}")
    text = text.replace("dropout: {float: [0.0, 0.5]}", "dropout: {float: [0.0, 0.5], step: 0.5}")
    text = text.replace("momentum: {float: [0.8, 0.99], ", "momentum: {choice: [0.8, 0.9], ")
    record = open_study(tmp_path, text, search__sampler__name=sampler)
    record.optuna.enqueue_trial({"training.optimizer.name": "sgd"})
    driver = drive(record)
    assert driver.next_assignment() is not None
    (trial,) = open_study(tmp_path, text, search__sampler__name=sampler).trials
    assert trial.state == TrialState.RUNNING
    assert trial.params["training.optimizer.name"] == "sgd"
    assert trial.params.keys() == {p.path for p in record.space.parameters}
    assert driver.running[0].spec.values == values_of(trial.params, record.space)


@pytest.mark.parametrize("sampler", ["gp", "cmaes"])
def test_a_sampler_that_learns_draws_otherwise_after_other_values(tmp_path: Path, sampler: str) -> None:
    def fifteenth(folder: Path, sign: int) -> Any:
        folder.mkdir()
        trials = TrialWriter(open_study(folder, search__sampler__name=sampler, search__trials=15))
        while (spec := trials.begin()) is not None:
            values = spec.values
            trials.complete(spec.number, 0.5 + sign * values["training.optimizer.lr"])
        return values

    assert fifteenth(tmp_path / "a", 1) != fifteenth(tmp_path / "b", -1), "drawn at random it would be the same"


def test_lists_of_conditions_and_ranges_of_whole_numbers_are_drawn_as_they_stand(tmp_path: Path) -> None:
    text = (
        "study: s\nsearch: {trials: 40, sampler: {name: random}}\nmodel: {name: mlp, hidden: [8]}\n"
        "training:\n  batch_size: {int: [16, 128], step: 16}\n  epochs: {int: [1, 64], log: true}\n  optimizer:\n"
        "    name: {choice: [sgd, rmsprop, adam]}\n"
        "    momentum: {float: [0.8, 0.99], when: {training.optimizer.name: [sgd, rmsprop]}}\n"
    )
    trials = TrialWriter(open_study(tmp_path, text))
    epochs, names = [], set()
    while (spec := trials.begin()) is not None:
        values, training = spec.values, spec.config.training
        assert ("training.optimizer.momentum" in values) == (training.optimizer.name in ("sgd", "rmsprop"))
        assert training.batch_size in range(16, 129, 16)
        assert 1 <= training.epochs <= 64
        epochs.append(training.epochs)
        names.add(training.optimizer.name)
        trials.complete(spec.number, 0.5)
    assert names == {"sgd", "rmsprop", "adam"}
    assert sum(n <= 8 for n in epochs) >= 12, "half of them, where log is heeded; one in eight where it is not"


def test_a_grid_study_visits_every_configuration_once_and_ends(tmp_path: Path) -> None:
    text = """
study: s
search: {trials: 1000, sampler: {name: grid, seed: 1}}
model: {name: {choice: [mlp, cnn]}, depth: {int: [1, 3], when: {model.name: mlp}}, blocks: {int: [1, 2], when: {model.name: cnn}}}
training: {batch_size: {int: [32, 95]}}
"""
    record = open_study(tmp_path, text)
    trials = TrialWriter(record)
    seen = []
    while (spec := trials.begin()) is not None:
        seen.append(tuple(sorted(spec.values.items())))
        trials.complete(spec.number, 0.5)
    assert len(seen) == len(set(seen)) == record.quota.n_target == 320
    assert len(seen) > MOST_SHOWN, "other samplers are shown fewer"


def test_a_sampler_is_shown_the_best_and_the_latest_of_many_trials() -> None:
    study = optuna.create_study(direction="maximize")
    values = [0.9 if number == 3 else 0.5 + number / 10_000 for number in range(1200)]
    study.add_trials([optuna.create_trial(value=value, params={}, distributions={}) for value in values])
    seen = [t.number for t in ShownTrials(study.trials).select()]
    assert len(seen) <= MOST_SHOWN
    assert 3 in seen
    assert 4 not in seen
    n_latest = MOST_SHOWN - 4 * BEST_SHOWN
    assert seen[-n_latest:] == list(range(1200 - n_latest, 1200))
    assert len(ShownTrials(study.trials[:MOST_SHOWN]).select()) == MOST_SHOWN


def test_what_is_shown_of_a_growing_study_is_what_is_shown_of_it_read_anew() -> None:
    rng, trials = random.Random(0), list[FrozenTrial]()
    shown = ShownTrials(trials)
    for number in range(900):
        trial = optuna.create_trial(state=TrialState.WAITING, intermediate_values={})
        trial.number = number
        trials.append(trial)
        for other in rng.sample([t for t in trials if not t.state.is_finished()], k=number % 2):
            other.intermediate_values = {rng.randint(1, 9): 0.5}
            other.state = rng.choice([TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL])
            other.value = None if other.state == TrialState.FAIL else rng.randint(0, 60) / 60
        if number % 7 == 0:
            numbers = [t.number for t in shown.select(without=number)]
            assert numbers == [t.number for t in ShownTrials(trials).select(without=number)]
            assert number not in numbers


def test_trials_are_taken_over_from_one_study_after_another(tmp_path: Path) -> None:
    records = [open_study(tmp_path, SPACE.replace("study: s", f"study: {name}")) for name in ("a", "b", "new")]
    for record, n in zip(records[:2], (1, 2), strict=True):
        for number in range(n):
            trials = TrialWriter(record)
            assert trials.begin() is not None
            trials.complete(number, 0.5 + number / 10)
    assert [import_trials(records[2], old) for old in records[:2]] == [1, 2]
    assert [t.value for t in records[2].trials] == [0.5, 0.5, 0.6]


def test_a_trial_is_taken_over_once_whatever_the_ways_to_it(tmp_path: Path) -> None:
    a, b, c = (open_study(tmp_path, SPACE.replace("study: s", f"study: {name}")) for name in "abc")
    trials = TrialWriter(a)
    for number in range(2):
        assert trials.begin() is not None
        trials.complete(number, 0.5)
    assert [import_trials(b, a), import_trials(c, a), import_trials(c, b)] == [2, 2, 2]
    assert len(c.trials) == 2


def test_a_grid_in_decimal_steps_has_its_round_numbers_and_both_ends(tmp_path: Path) -> None:
    text = "study: s\nsearch: {trials: 9, sampler: {name: grid}}\nmodel: {name: mlp, dropout: {float: [0.0, 0.3], step: 0.1}}"
    trials = TrialWriter(open_study(tmp_path, text))
    seen = []
    while (spec := trials.begin()) is not None:
        seen.append(spec.values["model.dropout"])
        trials.complete(spec.number, 0.5)
    assert sorted(seen) == [0.0, 0.1, 0.2, 0.3]


@pytest.mark.parametrize(("high", "step", "last"), [(0.9, 0.3, 0.9), (0.7, 0.1, 0.7), (0.85, 0.3, 0.6)])
def test_the_last_step_of_a_range_is_drawn(high: float, step: float, last: float) -> None:
    space = read_space(f"study: s\nmodel: {{name: mlp, dropout: {{float: [0.0, {high}], step: {step}}}}}", "s.yaml")
    (parameter,) = space.parameters
    drawn = distribution(parameter)
    assert isinstance(drawn, optuna.distributions.FloatDistribution)
    assert drawn.high == parameter.domain.ends()[1] == last


def test_a_grid_goes_on_from_another_study_with_what_that_one_left(tmp_path: Path) -> None:
    text = "study: {}\nsearch: {{trials: 9, sampler: {{name: {}}}}}\nmodel: {{name: mlp, depth: {{int: [1, 6]}}}}"
    old = open_study(tmp_path, text.format("old", "random"), search__trials=4)
    begun = TrialWriter(old)
    while (spec := begun.begin()) is not None:
        begun.complete(spec.number, 0.5)
    taken = {t.params["model.depth"] for t in old.trials}
    assert 1 < len(taken) < 4  # some twice
    new = open_study(tmp_path, text.format("new", "grid"))
    assert import_trials(new, old) == len(taken)
    trials = TrialWriter(new)
    while (spec := trials.begin()) is not None:
        trials.complete(spec.number, 0.5)
    depths = [t.params["model.depth"] for t in new.trials]
    assert {*depths[: len(taken)]} == taken
    assert sorted(depths) == [1, 2, 3, 4, 5, 6]


def test_a_quasi_random_study_is_spread_out_from_its_first_trial_on(tmp_path: Path) -> None:
    text = "study: s\nsearch: {trials: 8, sampler: {name: qmc}}\nmodel: {name: mlp, dropout: {float: [0, 0.8]}}\ntraining: {label_smoothing: {float: [0, 0.8]}}"
    trials = TrialWriter(open_study(tmp_path, text))
    drawn = []
    while (spec := trials.begin()) is not None:
        drawn.append(spec.values)
        trials.report(spec.number, 1, 0.5)
        trials.release(spec.number)  # it pauses
    for path in ("model.dropout", "training.label_smoothing"):
        assert sorted(int(10 * values[path]) for values in drawn) == list(range(8))  # one in each eighth: Sobol'
