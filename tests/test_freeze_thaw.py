"""Freeze-thaw as a scheduler: on a simulated clock through interruptions and deadlines, of odd spaces, and with Ray."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from optuna.trial import TrialState

from fmnist_tune.config import read_space
from fmnist_tune.config.defaults import default_values, fixed_values
from fmnist_tune.engine import Point
from fmnist_tune.engine.adapter import as_seen
from fmnist_tune.errors import FileError, UserError
from fmnist_tune.search.scheduler import KnownTrial
from fmnist_tune.search.simulation import Checkpoint, Curve, SimulatedClock, Simulation
from fmnist_tune.study.record import StudyRecord
from fmnist_tune.study.trial_data import curve_of, is_initial
from fmnist_tune.study.trial_writer import notes_of
from tests.conftest import TINY_SPACE, CommandLine
from tests.studies import SPACE, drive, open_study, report

ASHA = "{name: asha, reduction_factor: 2}"
FREEZE_THAW = SPACE.replace(ASHA, "{name: freeze-thaw}").replace("trials: 6", "trials: 12")


def curve(number: int, values: Mapping[str, Any]) -> Curve:
    level = 0.9 - 0.05 * abs(math.log10(values["training.optimizer.lr"]) + 2.5)
    seconds = 10.0 if values["model.hidden"] == [8] else 20.0
    return Curve([level - 0.2 / (epoch + 1) for epoch in range(1, 10)], seconds, {0.1: level - 0.4, 0.3: level - 0.3})


def search(
    folder: Path,
    text: str,
    stops: tuple[int, ...] = (),
    curves: Any = curve,
    before: Callable[[StudyRecord], None] = lambda record: None,
    **options: Any,
) -> Any:
    """Search with drivers that stop after some reports each, `before` each of which something is done; return the trials."""
    folder.mkdir(exist_ok=True)
    checkpoints: dict[int, Checkpoint] = {}
    clock = SimulatedClock()
    for n in (*stops, None):
        record = open_study(folder, text)
        before(record)
        options = {"n_workers": 1, **options}
        simulation = Simulation(record, curves, checkpoints=checkpoints, clock=clock, **options)
        if n is None:
            simulation.run()
        for _ in range(n or 0):
            if not simulation.busy and simulation.give() is None:
                break
            (worker,) = simulation.busy.values()
            simulation.take(worker.step())
        simulation.driver.release_all()
    assert simulation.driver.failure is None
    return record.trials


@pytest.mark.parametrize(
    ("search", "expected"),
    [
        ("", "freeze-thaw"),
        ("search: {trials: 5, sampler: {seed: 3}}", "freeze-thaw"),
        ("search: {sampler: {name: tpe}}", "asha"),
        ("search: {sampler: {name: random, seed: 3}}", "asha"),
        ("search: {pruner: {min_epochs: 2}}", "asha"),
        ("search: {pruner: {name: none}}", "none"),
    ],
)
def test_a_file_that_names_neither_sampler_nor_pruner_gets_it(search: str, expected: str) -> None:
    text = f"study: s\n{search}\nmodel: {{name: mlp, dropout: {{float: [0.0, 0.5]}}}}\n"
    space = read_space(text, "s.yaml")
    assert space.settings.search.pruner.name == expected
    assert ("search.pruner" in space.implied) is (expected == "freeze-thaw")
    fixed, by_default = fixed_values(space), {default.path for default in default_values(space)}
    assert ("search.pruner.name" in by_default) is ("search.pruner.name" not in fixed)


def test_a_recipe_has_no_scheduler_to_choose() -> None:
    assert read_space("study: s\nmodel: {name: mlp}\n", "s.yaml").implied == ()


@pytest.mark.parametrize("stored", ["{name: asha}", "{name: none}", None])
def test_a_study_that_was_begun_keeps_its_pruner(tmp_path: Path, stored: str | None) -> None:
    text = "study: s\nsearch: {trials: 3}\nmodel: {name: mlp, dropout: {float: [0.0, 0.5]}}\n"
    begun = text if stored is None else text.replace("trials: 3", f"trials: 3, pruner: {stored}")
    record = open_study(tmp_path, begun)
    if stored is None:  # as version 0.2.0 stored it
        record.optuna.set_user_attr("space", text)
    again = open_study(tmp_path, text.replace("trials: 3", "trials: 4"))
    assert again.space.settings.search.pruner.name == ("none" if stored == "{name: none}" else "asha")
    assert again.space.settings.search.trials == 4
    with pytest.raises(UserError, match=r"search\.pruner"):
        open_study(tmp_path, text.replace("trials: 3", "trials: 3, pruner: {name: freeze-thaw}"))


def test_a_new_study_without_a_pruner_is_resumed_with_freeze_thaw(tmp_path: Path) -> None:
    text = "study: s\nsearch: {trials: 3}\nmodel: {name: mlp, dropout: {float: [0.0, 0.5]}}\n"
    for _ in range(2):
        assert open_study(tmp_path, text).space.settings.search.pruner.name == "freeze-thaw"
    record = open_study(tmp_path, text)
    assert type(record).load(record.storage, record.paths).space.settings.search.pruner.name == "freeze-thaw"


@pytest.mark.parametrize("first", [1, 0.1])
def test_an_interrupted_search_decides_what_it_would_have(tmp_path: Path, first: float) -> None:
    text = FREEZE_THAW.replace("freeze-thaw", f"freeze-thaw, min_epochs: {first}")
    one, other = search(tmp_path / "a", text), search(tmp_path / "b", text, (1, 1, 2, 3, 1, 4, 9))
    assert [(t.state, t.params, curve_of(t), notes_of(t)) for t in one] == [
        (t.state, t.params, curve_of(t), notes_of(t)) for t in other
    ]
    assert all(min(curve_of(t)) == first for t in one)
    states = [t.state for t in one]
    assert set(states) == {TrialState.COMPLETE, TrialState.PRUNED}
    assert max(t.value for t in one if t.state == TrialState.COMPLETE) == max(max(curve_of(t).values()) for t in one)


def as_formerly(record: StudyRecord) -> None:
    """Make every note of the scheduler the number that it was before there were reasons."""
    with record.storage.engine.begin() as connection:
        connection.exec_driver_sql(
            "UPDATE trial_system_attributes SET value_json = json_extract(value_json, '$.evaluations') "
            "WHERE key LIKE 'picked:%' AND json_type(value_json) = 'object'"
        )


def test_a_study_whose_notes_are_numbers_alone_goes_on_as_it_would_have(tmp_path: Path) -> None:
    stops = (1, 1, 2, 3, 1, 4, 9)
    one = search(tmp_path / "a", FREEZE_THAW)
    other = search(tmp_path / "b", FREEZE_THAW, stops, before=as_formerly)
    assert [(t.state, t.params, curve_of(t)) for t in one] == [(t.state, t.params, curve_of(t)) for t in other]
    numbers = [note for t in other for note in notes_of(t).values() if isinstance(note, int)]
    assert len(numbers) > 6
    orders = [[{epoch: n_of(note) for epoch, note in notes_of(t).items()} for t in trials] for trials in (one, other)]
    assert orders[0] == orders[1]


def n_of(note: Any) -> int:
    return note["evaluations"] if isinstance(note, dict) else note


def test_what_was_expected_of_a_proposal_is_not_said_of_a_grids_trial(tmp_path: Path) -> None:
    trials = search(tmp_path, HEAD.replace("random", "grid") + ODD["grid"], curves=lambda n, v: Curve([0.5] * 9, 1.0))
    assert all(set(notes_of(t)[0.0]) == {"evaluations"} for t in trials)


def test_before_the_deadline_a_trial_is_trained_to_its_end(tmp_path: Path) -> None:
    text = FREEZE_THAW.replace("trials: 12", "trials: 99").replace("epochs: 4", "epochs: 9")
    trials = search(tmp_path, text, n_workers=2, timeout_s=400.0)
    assert any(t.state == TrialState.COMPLETE for t in trials)
    assert len(trials) > 6


@pytest.mark.parametrize(("first", "time_s"), [(1, 600.0), (0.1, 300.0)])
def test_where_first_evaluations_are_the_same_many_trials_begin_and_the_best_of_them_end(
    tmp_path: Path, first: float, time_s: float
) -> None:
    def plateau(number: int, values: Mapping[str, Any]) -> Curve:
        rise = 0.0002 * (number % 7)
        return Curve([0.1 + rise * epoch**3 for epoch in range(1, 10)], 10.0, {0.1: 0.1 + rise, 0.3: 0.1 + rise})

    text = FREEZE_THAW.replace("freeze-thaw", f"freeze-thaw, min_epochs: {first}").replace("epochs: 4", "epochs: 9")
    trials = search(tmp_path, text.replace("trials: 12", "trials: 999"), curves=plateau, n_workers=2, timeout_s=time_s)
    epochs = [max(curve_of(t), default=0.0) for t in trials]
    looks_s = 10.0 * sum(min(epoch, first) for epoch in epochs)
    assert 0.35 < looks_s / (2 * time_s) < 0.6
    ended = [t for t in trials if t.state == TrialState.COMPLETE]
    assert len(ended) >= 2
    if 0.15 * 2 * time_s > 90.0:  # one training is a small part of the time
        earliest = min(max(note["evaluations"] for note in notes_of(t).values()) for t in ended)
        assert earliest < 0.25 * sum(len(curve_of(t)) for t in trials)
    assert max(t.value for t in ended) == max(max(curve_of(t).values(), default=0.0) for t in trials)


def test_good_configurations_alone_are_no_plateau(tmp_path: Path) -> None:
    def good(number: int, values: Mapping[str, Any]) -> Curve:
        return Curve([0.9 - 0.3 / (epoch + 1) + 0.001 * (number % 7) for epoch in range(1, 10)], 10.0)

    text = FREEZE_THAW.replace("epochs: 4", "epochs: 9").replace("trials: 12", "trials: 999")
    trials = search(tmp_path, text, curves=good, n_workers=2, timeout_s=600.0)
    assert 8 < len(trials) < 0.35 * 2 * 600.0 / 10.0  # on a plateau, 42 % of the time would begin trials
    assert any(t.state == TrialState.COMPLETE for t in trials)


def test_initial_points_come_first_and_are_no_program_to_be_finished(tmp_path: Path) -> None:
    text = FREEZE_THAW.replace("search: {", "search: {initial: [{training.optimizer.lr: 1e-4}], ")
    trials = search(tmp_path, text)
    assert [is_initial(t) for t in trials] == [True] + [False] * 11
    assert trials[0].state == TrialState.PRUNED


HEAD = "study: s\nsearch: {trials: 8, pruner: {name: freeze-thaw}, sampler: {name: random, seed: 1}}\n"
ODD = {
    "one parameter": "model: {name: mlp, dropout: {float: [0.0, 0.5]}}\ntraining: {epochs: 3}\n",
    "one value": "model: {name: mlp, dropout: {choice: [0.2]}}\ntraining: {epochs: 3}\n",
    "lengths": "model: {name: mlp, dropout: {float: [0.0, 0.5]}}\ntraining: {epochs: {choice: [1, 2, 5]}}\n",
    "conditions": "model: {name: {choice: [mlp, cnn]}, blocks: {int: [1, 2], when: {model.name: cnn}}}\n",
    "grid": "model: {name: mlp, dropout: {float: [0.0, 0.3], step: 0.1}}\ntraining: {epochs: 3}\n",
}


@pytest.mark.parametrize(
    ("space", "value"),
    [*((space, 0.5) for space in ODD), *(("one parameter", value) for value in (0.0, 1.0, -3.0, 40.0, math.nan))],
)
def test_any_space_and_any_values_come_to_an_end(tmp_path: Path, space: str, value: float) -> None:
    head = HEAD.replace("random", "grid") if space == "grid" else HEAD
    trials = search(tmp_path, head + ODD[space], curves=lambda n, v: Curve([value] * 99, 1.0), n_workers=2)
    assert all(t.state.is_finished() for t in trials)
    if space == "grid":
        assert len({t.params["model.dropout"] for t in trials}) == 4


def test_failures_only_are_survived(tmp_path: Path) -> None:
    record = open_study(tmp_path, FREEZE_THAW)
    driver = drive(record)
    for number in range(12):
        assert driver.next_assignment() is not None
        driver.on_report(report(number, [], failure="RuntimeError: loss is nan", n_new=0))
    assert driver.next_assignment() is None
    assert record.is_finished


def test_the_order_of_evaluations_follows_from_the_notes() -> None:
    notes = {0.0: 4, 0.3: {"evaluations": 7}, 1.0: {"evaluations": 20, "rule": "spread"}}  # formerly numbers alone
    known = KnownTrial(3, "paused", {}, {0.3: 0.4, 1: 0.5, 2: 0.6, 3: 0.7}, 9, 10.0, notes)
    seen = as_seen(known, None)
    assert seen.points == (Point(0.3, 0.4, 4), Point(1, 0.5, 7), Point(2, 0.6, 20), Point(3, 0.7, 21))
    assert (seen.seconds, seen.until, seen.epochs, seen.is_over) == (30.0, None, 9, False)


@pytest.mark.parametrize(
    ("pruner", "message"),
    [
        ("{name: freezethaw}", "'freezethaw' is not a scheduler; allowed are asha, freeze-thaw, none"),
        ("{name: freeze-thaw, min_epochs: 2}", "search.pruner.min_epochs: 2: should be less than or equal to 1"),
        ("{name: freeze-thaw, min_epochs: 0}", "search.pruner.min_epochs: 0: should be greater than or equal to 0.01"),
        ("{name: freeze-thaw, reduction_factor: 2}", "search.pruner.reduction_factor: a key of asha and none, not of"),
    ],
)
def test_a_mistake_is_named(pruner: str, message: str) -> None:
    with pytest.raises(FileError) as error:
        read_space(f"study: s\nmodel: {{name: mlp}}\nsearch: {{pruner: {pruner}}}\n", "s.yaml")
    assert message in str(error.value)


@pytest.mark.ray
def test_a_search_with_ray(joined: CommandLine) -> None:
    space = TINY_SPACE.replace("name: asha, min_epochs: 1, reduction_factor: 2", "name: freeze-thaw, min_epochs: 0.5")
    result = joined.search(space, "--json")
    assert result.code == 0, result.err
    assert result.json["trials"]["failed"] == 0
    assert result.json["trials"]["complete"] >= 1
