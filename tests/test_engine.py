"""The search engine: configurations as numbers, curves by a Gaussian process, decisions that follow from trials."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
from scipy.optimize import approx_fprime
from scipy.stats import norm
from threadpoolctl import threadpool_info, threadpool_limits

from benchmarks.engine.__main__ import main
from benchmarks.engine.systems import SYSTEMS
from benchmarks.engine.tables import load_tables
from fmnist_tune.config.domain import ChoiceDomain, FloatDomain, IntDomain
from fmnist_tune.config.parameters import Parameter
from fmnist_tune.engine import Begin, Continue, Encoding, Engine, Point, Reason, SearchState, TrialState
from fmnist_tune.engine.candidates import Candidates
from fmnist_tune.engine.cost import CostModel
from fmnist_tune.engine.curves import CurveModel, Kernel, Likelihood, Observations, Prior, trend_of
from fmnist_tune.engine.effects import main_effects
from fmnist_tune.engine.gain import log_expected_improvement
from fmnist_tune.engine.history import History, accuracy_of, log_error
from fmnist_tune.engine.reason import forecast

LR = Parameter("lr", FloatDomain(1e-4, 1e-1, log=True))
WIDTH = Parameter("width", IntDomain(16, 256, log=True))
KIND = Parameter("kind", ChoiceDomain(("sgd", "adam", [1, 2])))
MOMENTUM = Parameter("momentum", FloatDomain(0.0, 0.9, step=0.3), {"kind": ("sgd",)})
PARAMETERS = (LR, WIDTH, KIND, MOMENTUM)
MAX_EPOCHS = 12


def accuracy(values: dict, epoch: float) -> float:
    level = 0.9 - 0.05 * abs(np.log10(values["lr"]) + 2.5) + (0.02 if values["kind"] == "adam" else 0.0)
    return level - 0.2 / (1 + epoch)


class Study:
    """A search with one worker that is told what an engine decides, as a driver would."""

    def __init__(self) -> None:
        self.trials: list[TrialState] = []
        self.decisions: list[Begin | Continue] = []
        self.n_reports = 0

    def go_on(self, engine: Engine, n_decisions: int) -> None:
        for _ in range(n_decisions):
            decision = engine.decide(SearchState(self.trials, len(self.decisions), left_s=500.0))
            assert decision is not None
            self.decisions.append(decision)
            number = len(self.trials) if isinstance(decision, Begin) else decision.trial
            if isinstance(decision, Begin):
                self.trials.append(TrialState(number, decision.values))
            trial = self.trials[number]
            values, last = trial.values, trial.points[-1].epoch if trial.points else 0.0
            epochs = [decision.until] if decision.until < 1 else np.arange(int(last) + 1, decision.until + 1)
            points = list(trial.points)
            for epoch in epochs:
                points.append(Point(float(epoch), accuracy(dict(values), epoch), self.n_reports))
                self.n_reports += 1
            self.trials[number] = TrialState(number, values, tuple(points), values["width"] / 64 * points[-1].epoch)


def engine(seed: int = 0, **arguments) -> Engine:
    known = lambda rows: [row["width"] / 64 for row in rows]  # noqa: E731
    return Engine(Encoding(PARAMETERS), max_epochs=MAX_EPOCHS, seed=seed, known_seconds=known, **arguments)


def test_values_survive_being_encoded():
    encoding = Encoding(PARAMETERS)
    for row in encoding.draw(np.random.default_rng(0), 200):
        values = encoding.values(row)
        assert encoding.units(values) == pytest.approx(row, nan_ok=True)
        assert encoding.values(encoding.units(values)) == values


def test_draws_and_neighbours_are_values_of_their_domains():
    encoding, rng = Encoding(PARAMETERS), np.random.default_rng(1)
    units = encoding.draw(rng, 300)
    near = encoding.perturb(rng, units, np.full(300, 0.5))
    for row in [*units, *near]:
        values = encoding.values(row)
        assert all(values[p.path] in p.domain for p in PARAMETERS if p.path in values)
        assert ("momentum" in values) == (values["kind"] == "sgd")


def test_a_uniform_draw_is_fair_to_steps_and_choices():
    rows = [Encoding(PARAMETERS).values(row) for row in Encoding(PARAMETERS).draw(np.random.default_rng(2), 3000)]
    kinds = [str(row["kind"]) for row in rows]
    assert {kind: round(kinds.count(kind) / 3000, 1) for kind in set(kinds)} == {"sgd": 0.3, "adam": 0.3, "[1, 2]": 0.3}
    momenta = [row["momentum"] for row in rows if "momentum" in row]
    assert set(momenta) == {0.0, 0.3, 0.6, 0.9}
    assert min(momenta.count(m) for m in set(momenta)) > 200


def test_choices_are_one_hot_and_conditions_have_a_coordinate():
    encoding = Encoding(PARAMETERS)
    assert list(encoding.groups) == [0, 1, 2, 2, 2, 3, 4]
    sgd, adam = (
        encoding.units({"lr": 1e-2, "width": 64, "kind": kind, **more})
        for kind, more in (("sgd", {"momentum": 0.9}), ("adam", {}))
    )
    features = encoding.features(np.stack([sgd, adam]))
    assert np.sum((features[0, 2:5] - features[1, 2:5]) ** 2) == pytest.approx(1)
    assert features[:, 6].tolist() == [1, 0]
    assert features[1, 5] == 0.5


def test_a_condition_on_a_fixed_value_switches_a_parameter_off():
    parameter = Parameter("momentum", FloatDomain(0.0, 0.9), {"optimizer.name": ("sgd",)})
    for name, expected in (("sgd", True), ("adam", False)):
        encoding = Encoding([parameter], {"optimizer": {"name": name}})
        assert ("momentum" in encoding.values(encoding.draw(np.random.default_rng(0), 1)[0])) is expected


def random_data(n: int = 30) -> Observations:
    rng = np.random.default_rng(0)
    return Observations(
        features=rng.random((n, 4)),
        time=rng.random(n) * 1.3 - 0.2,
        trial=rng.integers(0, 10, n),
        z=rng.standard_normal(n),
    )


def test_gradients_are_those_of_finite_differences():
    data = random_data()
    likelihood = Likelihood(data, data.z, np.array([0, 1, 1, 2]), Prior().arrays(3))
    rng = np.random.default_rng(1)
    theta = Prior().arrays(3)[0] + 0.3 * rng.standard_normal(8)
    numeric = approx_fprime(theta, lambda t: likelihood(t)[0], 1e-6)
    assert likelihood(theta)[1] == pytest.approx(numeric, rel=1e-3, abs=1e-3)


def test_the_model_learns_a_function():
    rng = np.random.default_rng(3)
    x, time = rng.random((120, 2)), np.tile([0.0, 0.3, 0.6, 1.0], 30)
    x = np.repeat(x[:30], 4, axis=0)

    def truth(x, time):
        return np.sin(4 * x[:, 0]) + time

    data = Observations(features=x, time=time, trial=np.repeat(np.arange(30), 4), z=truth(x, time))
    trend = trend_of(data, prior_slope=0.0, prior_weight=0.1)
    groups = np.array([0, 1])
    theta = Likelihood(data, trend.standardize(data.z, data.time), groups, Prior().arrays(2)).maximize(50)
    assert theta[1] > theta[0] + 0.5  # the second coordinate does not matter
    model = CurveModel(data, Kernel(theta, groups), trend)
    new = rng.random((50, 2))
    mean, sd = model.predict(new, np.ones(50), np.full(50, -1))
    assert np.abs(mean - truth(new, 1.0)).mean() < 0.1
    assert 0.0 < sd.max() < 0.5
    _, seen = model.predict(x[:4], time[:4], np.zeros(4, dtype=int))
    assert seen.max() < sd.mean()


def test_expected_improvement_is_exact_near_and_far():
    u = np.array([-3.0, -1.0, 0.0, 2.0])
    assert log_expected_improvement(u) == pytest.approx(np.log(norm.pdf(u) + u * norm.cdf(u)), rel=1e-6)
    far = log_expected_improvement(np.array([-30.0, -1e3, -1e6]))
    assert np.isfinite(far).all()
    assert (np.diff(far) < 0).all()


def test_costs_are_what_is_known_until_epochs_are_measured():
    rng = np.random.default_rng(4)
    features = rng.random((200, 2))
    model = CostModel(2, (features, 2 * features[:, 0]))
    assert model.log_s(features) == pytest.approx(2 * features[:, 0], abs=0.01)
    model.observe(features[:30], 2 * features[:30, 0] + 3 + 0.5 * (features[:30, 1] - 0.5))
    assert model.log_s(features) == pytest.approx(2 * features[:, 0] + 3 + 0.5 * (features[:, 1] - 0.5), abs=0.1)


def test_decisions_follow_from_seed_and_trials():
    one, other, third = Study(), Study(), Study()
    one.go_on(engine(), 30)
    other.go_on(engine(), 30)
    third.go_on(engine(seed=1), 30)
    assert one.decisions == other.decisions
    assert one.decisions != third.decisions


def test_an_engine_made_anew_decides_the_same():
    whole, interrupted = Study(), Study()
    whole.go_on(engine(), 30)
    for n in (3, 9, 1, 17):
        interrupted.go_on(engine(), n)
    assert whole.decisions == interrupted.decisions


def test_the_engine_stays_within_limits_and_finds_what_is_good():
    study = Study()
    study.go_on(engine(partial=(0.1, 0.33)), 60)
    assert all(0 < decision.until <= MAX_EPOCHS for decision in study.decisions)
    assert study.decisions[0].until == 0.1
    for trial in study.trials:
        assert all(trial.values[p.path] in p.domain for p in PARAMETERS if p.path in trial.values)
        assert trial.points[-1].epoch <= MAX_EPOCHS
    assert sum(isinstance(decision, Continue) for decision in study.decisions) > 10
    best = max(point.value for trial in study.trials for point in trial.points)
    assert best > accuracy({"lr": 10**-2.5, "kind": "adam"}, MAX_EPOCHS) - 0.01


def test_of_equals_the_cheaper_one_is_trained():
    study = Study()
    study.go_on(engine(), 12)
    begun = [trial.values["width"] for trial in study.trials]  # width only costs
    assert np.mean(np.log(begun)) < np.log(64) - 0.2


def test_nothing_is_begun_that_the_time_left_cannot_train():
    study = Study()
    study.go_on(engine(), 6)
    assert engine().decide(SearchState(study.trials, 6, left_s=0.01)) is None


def test_running_trials_are_not_given_twice_and_do_not_attract_others():
    study = Study()
    study.go_on(engine(), 12)
    state, begun = list(study.trials), []
    for i in range(6):
        decision = engine().decide(SearchState(state, 12 + i, left_s=500.0))
        if isinstance(decision, Continue):
            assert state[decision.trial].until is None
            trial = state[decision.trial]
            state[decision.trial] = TrialState(
                trial.number, trial.values, trial.points, trial.seconds, until=decision.until
            )
        else:
            begun.append(decision.values)
            state.append(TrialState(len(state), decision.values, until=decision.until))
    assert len({str(values) for values in begun}) == len(begun)


def test_accuracies_survive_being_transformed():
    accuracies = np.array([0.0, 0.1, 0.5, 0.93, 1.0])
    assert accuracy_of(log_error(accuracies)) == pytest.approx(accuracies)
    assert accuracy_of(np.array([-1e3, 1e3])) == pytest.approx([0, 1])


@pytest.mark.parametrize("n_reports", [6, 25])
def test_a_forecast_is_what_the_model_draws(n_reports):
    study = Study()
    study.go_on(engine(), n_reports)
    history = History(Encoding(PARAMETERS), MAX_EPOCHS)
    history.update(study.trials)
    data, groups = history.observations(150), Encoding(PARAMETERS).groups
    trend = trend_of(data, prior_slope=0.4, prior_weight=0.08)
    model = CurveModel(data, Kernel(Prior().arrays(max(groups) + 1)[0], groups), trend)
    units = Encoding(PARAMETERS).draw(np.random.default_rng(0), 1)
    features, one = Encoding(PARAMETERS).features(units), np.ones(1)
    chosen = Candidates(units, features, np.array([-1]), 0 * one, one, MAX_EPOCHS * one, np.log(3) * one)
    found = forecast(chosen, 5.0, model, history)

    mean, sd = model.predict(features.repeat(2, 0), history.time_of(np.array([MAX_EPOCHS, 5.0])), np.array([-1, -1]))
    normal = np.random.default_rng(1).standard_normal((200_000, 3))
    ends = accuracy_of(mean[0] + sd[0] * normal[:, 0] + model.noise * normal[:, 1])
    best = max(point.value for trial in study.trials for point in trial.points)
    gains = np.maximum(accuracy_of(mean[1] + sd[1] * normal[:, 2]) - best, 0)
    assert found.end == pytest.approx(np.quantile(ends, [0.5, 0.05, 0.95]), abs=0.003)
    assert found.gain == pytest.approx(gains.mean(), rel=0.03)
    assert (found.horizon, found.seconds) == (5.0, pytest.approx(15))


def test_every_decision_has_its_reason_and_the_models_have_a_forecast():
    study = Study()
    study.go_on(engine(), 40)
    reasons = [decision.reason for decision in study.decisions]
    assert reasons[:4] == [Reason("spread")] * 4
    rules = {reason.rule for reason in reasons[4:]}
    assert "gain" in rules
    assert rules <= {"gain", "leap"}
    for decision in study.decisions[4:]:
        median, low, high = decision.reason.forecast.end
        assert 0 <= low < median < high <= 1
        assert decision.until <= decision.reason.forecast.horizon <= MAX_EPOCHS
        assert decision.reason.forecast.seconds > 0
        assert 0 <= decision.reason.forecast.gain < 0.2


def test_predicted_ends_cover_most_of_those_that_come():
    study = Study()
    study.go_on(engine(), 60)
    covered = []
    for decision in study.decisions[4:]:
        values = decision.values if isinstance(decision, Begin) else study.trials[decision.trial].values
        _, low, high = decision.reason.forecast.end
        covered.append(low <= accuracy(dict(values), MAX_EPOCHS) <= high)
    assert np.mean(covered) > 0.7


def test_in_the_last_moment_the_reason_is_that_the_best_trial_can_still_end():
    study = Study()
    study.go_on(engine(), 12)
    waiting = {trial.number: trial for trial in study.trials if trial.points[-1].epoch < MAX_EPOCHS}
    needed_s = {n: (MAX_EPOCHS - t.points[-1].epoch) * t.values["width"] / 64 for n, t in waiting.items()}
    ahead = max(waiting, key=lambda n: waiting[n].points[-1].value)
    decision = engine().decide(SearchState(study.trials, 12, left_s=1.2 * needed_s[ahead]))
    assert decision == Continue(ahead, MAX_EPOCHS)
    assert decision.reason.rule == "end"
    assert decision.reason.forecast.horizon == MAX_EPOCHS
    assert decision.reason.forecast.seconds == pytest.approx(needed_s[ahead])


@pytest.mark.parametrize(("lead", "waits"), [(0.0005, True), (0.06, False)])
def test_a_slow_trial_that_can_just_end_waits_for_others_unless_it_is_clearly_better(lead, waits):
    study = Study()
    study.go_on(engine(), 12)
    waiting = [trial for trial in study.trials if trial.points[-1].epoch < MAX_EPOCHS / 2]
    ahead = max(waiting, key=lambda trial: trial.points[-1].value)
    last = ahead.points[-1]
    points = (*ahead.points[:-1], Point(last.epoch, last.value + lead, study.n_reports))
    slow = TrialState(len(study.trials), ahead.values, points, seconds=20.0 * last.epoch)
    left_s = 1.2 * 20.0 * (MAX_EPOCHS - last.epoch)
    decision = engine().decide(SearchState([*study.trials, slow], 13, left_s=left_s))
    assert (decision.reason.rule != "end") == waits
    assert waits or decision == Continue(slow.number, MAX_EPOCHS)


def test_a_parameter_explains_what_it_changes_and_a_condition_what_it_switches_on():
    encoding, rng = Encoding(PARAMETERS), np.random.default_rng(0)
    trials = []
    for number, row in enumerate(encoding.draw(rng, 40)):
        values = encoding.values(row)
        points = tuple(Point(float(e), accuracy(values, e), 0) for e in (1, 3, MAX_EPOCHS))
        trials.append(TrialState(number, values, points))
    effects = main_effects(encoding, trials, MAX_EPOCHS)
    assert list(effects)[:2] == ["lr", "kind"]
    assert effects["lr"] > 0.7
    assert effects["kind"] > 0.02
    assert max(effects["width"], effects["momentum"]) < 0.02
    assert 0.9 < sum(effects.values()) < 1.02
    assert main_effects(encoding, trials, MAX_EPOCHS) == effects


def write_table(folder: Path) -> None:
    """Write a table with a choice, a condition and looks."""
    rng = np.random.default_rng(5)
    n, epochs, shares = 40, 9, np.array([0.1, 0.33])
    lr, kind = 10 ** rng.uniform(-4, -1, n), rng.integers(0, 2, n)
    momentum = np.where(kind == 0, rng.random(n), np.nan)
    level = 0.9 - 0.1 * np.abs(np.log10(lr) + 2.5)
    after = np.concatenate([shares, np.arange(1, epochs + 1)])
    curves = level[:, None] - 0.2 / (1 + after)
    np.savez(
        folder / "tiny.npz",
        values=np.column_stack([lr, kind, momentum]),
        accuracy=curves[:, 2:],
        looks=curves[:, :2],
        look_shares=shares,
        seconds=1.0 + kind,
        known_seconds=1.0 + kind,
    )
    parameters = [
        {"name": "lr", "low": 1e-4, "high": 1e-1, "log": True, "int": False},
        {"name": "kind", "choices": ["sgd", "adam"]},
        {"name": "momentum", "low": 0, "high": 1, "log": False, "int": False, "when": {"kind": "sgd"}},
    ]
    info = {"source": "a formula", "epochs": epochs, "parameters": parameters, "best": 0.88, "median_final": 0.8}
    (folder / "tiny.json").write_text(json.dumps({**info, "full_training_s": 13.0}))


@pytest.mark.parametrize("system", list(SYSTEMS))
def test_every_system_searches_a_table_with_choices_conditions_and_looks(tmp_path, system):
    write_table(tmp_path)
    (table,) = load_tables(tmp_path)
    assert table.looks == (0.1, 0.33)
    outcome = SYSTEMS[system].search(table, time_s=30.0, n_workers=2, seed=0)
    regrets = list(outcome.regret.values())
    assert outcome.n_trials > 2
    assert regrets[-1] < 1.0


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (None, "--tables: {folder}: no such folder"),
        ({}, "no table of any name in {folder}"),
        ({"a.json": "{"}, "a.json: cannot be read as a table: JSONDecodeError"),
        ({"a.json": "[]"}, "a.json: cannot be read as a table: TypeError"),
        ({"a.json": '{"source": "x"}'}, "a.json: 'parameters' is missing"),
        ({"a.json": '{"parameters": []}'}, "a.json: cannot be read as a table: FileNotFoundError"),
        ({"a.json": '{"parameters": []}', "a.npz": "x"}, "a.json: cannot be read as a table: "),
    ],
)
def test_tables_that_cannot_be_read_are_named(tmp_path, capsys, files, message):
    folder = tmp_path / "tables"
    if files is not None:
        folder.mkdir()
        for name, text in files.items():
            (folder / name).write_text(text)
    with pytest.raises(SystemExit) as end:
        main(["--tables", str(folder)])
    assert end.value.code == 2
    assert message.format(folder=folder) in capsys.readouterr().err


def on_plateau(values: list[float], rise: float = 0.001, depth: dict[int, int] | None = None) -> list[TrialState]:
    rows = Encoding(PARAMETERS).draw(np.random.default_rng(0), len(values))
    trials, order = [], 0
    for number, (value, row) in enumerate(zip(values, rows, strict=True)):
        epochs = (depth or {}).get(number, 1)
        points = tuple(Point(float(e + 1), value + rise * e, order + e) for e in range(epochs))
        order += epochs
        trials.append(TrialState(number, Encoding(PARAMETERS).values(row), points, seconds=float(epochs)))
    return trials


def test_on_a_plateau_without_a_deadline_the_best_third_is_promoted_then_trials_begin():
    values = [0.101, 0.105, 0.1, 0.104, 0.1, 0.1, 0.103, 0.102, 0.1]
    depth: dict[int, int] = {7: 2}
    for expected in (1, 3, 6):
        decision = engine().decide(SearchState(on_plateau(values, depth=depth), 5))
        assert decision == Continue(expected, 3.0)
        assert decision.reason == Reason("rank")
        depth[expected] = 3
    assert isinstance(engine().decide(SearchState(on_plateau(values, depth=depth), 6)), Continue)  # 1 of 3, from 3 to 9
    depth[1] = 9
    assert isinstance(engine().decide(SearchState(on_plateau(values, depth=depth), 7)), Begin)


@pytest.mark.parametrize(
    ("values", "rise", "depth", "expected"),
    [
        ([0.1] * 8, 0.001, {0: 2}, True),
        ([0.1] * 7, 0.001, {0: 2}, False),  # too few
        ([0.1] * 8, 0.001, {}, False),  # nobody knows yet how they go on
        ([0.1] * 8, 0.01, {0: 2, 1: 2}, False),  # they rise
        ([0.1] * 4 + [0.2, 0.3, 0.4, 0.5], 0.001, {0: 2}, True),
        ([0.1] * 4 + [0.2, 0.3, 0.4, 0.5, 0.6], 0.001, {0: 2}, False),
    ],
)
def test_a_plateau_is_where_half_of_the_curves_begin_the_same_and_flat(values, rise, depth, expected):
    history = History(Encoding(PARAMETERS), MAX_EPOCHS)
    history.update(on_plateau(values, rise, depth))
    assert history.is_on_plateau(0.5) is expected


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--workers", "0"], "--workers: 0 is not positive"),
        (["--seeds", "-1"], "--seeds: -1 is not positive"),
        (["--budgets", "nan"], "--budgets: nan is not positive"),
        (["--budgets", "much"], "--budgets: invalid float value: 'much'"),
        (["--systems", "nothing"], "--systems: invalid choice: 'nothing'"),
    ],
)
def test_wrong_options_of_the_judge_are_refused(tmp_path, capsys, words, message):
    with pytest.raises(SystemExit) as end:
        main(["--tables", str(tmp_path), *words])
    assert end.value.code == 2
    assert message in capsys.readouterr().err


def test_evaluations_that_were_not_finite_do_not_stop_the_search():
    trials = [TrialState(number, row) for number, row in enumerate(rows_of(5))]
    for order, number in enumerate((3, 4), 7):  # those of the others were reported before, and are none
        trials[number] = replace(trials[number], points=(Point(1.0, 0.5 + order / 100, order),), seconds=1.0)
        decision = engine().decide(SearchState(trials, order))
        assert isinstance(decision, Begin | Continue)


def rows_of(n: int) -> list[dict]:
    encoding = Encoding(PARAMETERS)
    return [encoding.values(row) for row in encoding.draw(np.random.default_rng(0), n)]


class Watched(tuple):
    """Trials that note how many threads linear algebra has while a decision reads them."""

    threads: ClassVar[list[int]] = []

    def __iter__(self):
        self.threads.extend(library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas")
        return super().__iter__()


def test_a_decision_takes_one_thread_beside_busy_workers():
    with threadpool_limits(limits=2, user_api="blas"):
        engine().decide(SearchState(Watched(trials_of(3)), 0))
        after = {library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"}
    assert len(Watched.threads) >= 2, "NumPy's library and SciPy's"
    assert set(Watched.threads) == {1}
    assert after == {2}


def trials_of(n: int) -> list[TrialState]:
    return [TrialState(i, row, (Point(1.0, 0.5 + i / 100, i),), seconds=1.0) for i, row in enumerate(rows_of(n))]
