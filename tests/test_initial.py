"""Initial points: what `search.initial` may say, and the trials that a study begins with."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import optuna
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from fmnist_tune.config import load_space, read_space
from fmnist_tune.errors import FileError
from fmnist_tune.study.sampling import params_of
from fmnist_tune.study.trial_data import is_initial
from fmnist_tune.study.trial_writer import TrialWriter
from fmnist_tune.study.warm_start import import_trials
from tests.conftest import CommandLine
from tests.studies import drive, open_study, report

SPACE = """
study: s
search: {trials: 8, sampler: {name: tpe}, initial: INITIAL}
model:
  name: cnn
  blocks: {int: [2, 3]}
  base_channels: {choice: [16, 24]}
  head: {choice: [[], [128]]}
  dropout: {float: [0.0, 0.5], step: 0.1}
  residual: {choice: [true, false]}
training:
  epochs: 4
  batch_size: 64
  optimizer:
    name: {choice: [sgd, adamw]}
    lr: {float: [1e-4, 1, ]}
    momentum: {float: [0.8, 0.99], when: {training.optimizer.name: sgd}}
  augment: {choice: [{flip: true}, {shift: 2}]}
"""
WHOLE = {
    "model.blocks": 3,
    "model.base_channels": 24,
    "model.head": [128],
    "model.dropout": 0.3,
    "model.residual": False,
    "training.optimizer.name": "sgd",
    "training.optimizer.lr": 0.01,
    "training.optimizer.momentum": 0.9,
    "training.augment": {"shift": 2},
}
GRID = """
study: s
search: {trials: 100, sampler: {name: grid}, initial: INITIAL}
model: {name: {choice: [mlp, cnn]}, depth: {int: [1, 3], when: {model.name: mlp}}, blocks: {int: [1, 2], when: {model.name: cnn}}}
training: {batch_size: {choice: [32, 64]}}
"""


def written(*points: Any, text: str = SPACE) -> str:
    """Return a space with these points."""
    return text.replace("INITIAL", json.dumps(points))


def problems(text: str) -> list[str]:
    with pytest.raises(FileError) as caught:
        read_space(text, "f.yaml")
    return [str(problem) for problem in caught.value.problems]


def begin(trials: TrialWriter, n: int) -> list[dict[str, Any]]:
    """Begin and complete so many trials, or as many as there are; returns their values."""
    found = []
    while len(found) < n and (spec := trials.begin()) is not None:
        found.append(dict(spec.values))
        trials.complete(spec.number, 0.5)
    return found


def test_points_are_read_as_their_domains_list_them() -> None:
    space = read_space(
        SPACE.replace(
            "INITIAL",
            "[{training.optimizer.lr: 1e-4, model.head: [], model.dropout: 0.30000000001, training.augment: {flip: true}},"
            " {training.optimizer.lr: 1, model.base_channels: 16.0, model.residual: true}]",
        ),
        "f.yaml",
    )
    first, second = space.initial
    assert first == {
        "training.optimizer.lr": 1e-4,
        "model.head": [],
        "model.dropout": 0.3,
        "training.augment": {"flip": True},
    }
    assert second == {"training.optimizer.lr": 1.0, "model.base_channels": 16, "model.residual": True}
    assert isinstance(second["training.optimizer.lr"], float)
    assert isinstance(second["model.base_channels"], int)


def test_no_points_are_as_good_as_no_key() -> None:
    assert read_space(written(), "f.yaml").initial == ()
    assert read_space(SPACE.replace(", initial: INITIAL", ""), "f.yaml").initial == ()


@pytest.mark.parametrize(
    ("point", "expected"),
    [
        (
            {"model.block": 3},
            ".model.block: no parameter that this file searches; did you mean 'model.blocks'? (line 3)",
        ),
        ({"zzz": 3}, ".zzz: no parameter that this file searches; searched are model.blocks, model.base_channels,"),
        ({3: 3}, ".3: no parameter that this file searches; searched are model.blocks, model.base_channels,"),
        ({"training.batch_size": 64}, ".training.batch_size: fixed in this file at 64; a point gives values to what"),
        ({"model": {"blocks": 3}}, ".model: a section; name each parameter by its dotted path, such as model.blocks"),
        (
            {"training.optimizer": 1},
            ".training.optimizer: a section; name each parameter by its dotted path, such as t",
        ),
        ({"model.blocks": 4}, ".model.blocks: 4 is not in 2 .. 3 (line 3)"),
        ({"model.blocks": 3.0}, ".model.blocks: 3.0 is not in 2 .. 3; write 3 (line 3)"),
        ({"model.blocks": "3"}, ".model.blocks: '3' is not in 2 .. 3; write 3 without quotes"),
        ({"model.blocks": True}, ".model.blocks: True is not in 2 .. 3"),
        ({"model.blocks": [2, 3]}, ".model.blocks: [2, 3] is not in 2 .. 3 (line 3)"),
        ({"model.dropout": 0.25}, ".model.dropout: 0.25 is not in 0 .. 0.5 (step 0.1)"),
        ({"model.dropout": None}, ".model.dropout: None is not in 0 .. 0.5 (step 0.1)"),
        ({"model.base_channels": 17}, ".model.base_channels: 17 is not one of 16, 24"),
        ({"model.head": [64]}, ".model.head: [64] is not one of [], [128]"),
        ({"model.residual": 1}, ".model.residual: 1 is not one of True, False"),
        (
            {"training.optimizer.name": "adam"},
            ".training.optimizer.name: 'adam' is not one of sgd, adamw; did you mean",
        ),
        (
            {"model.blocks": {"int": [2, 3]}},
            ".model.blocks: cannot be searched; only values in model, training and data",
        ),
        (
            {"training.optimizer.name": "adamw", "training.optimizer.momentum": 0.9},
            ".training.optimizer.momentum: has no effect where training.optimizer.name is adamw; it is used when that is sgd",
        ),
        (
            {"training.optimizer.momentum": 0.9},
            ".training.optimizer.momentum: is used only when training.optimizer.name is sgd; give the point a value for",
        ),
        ({}, ": empty; name at least one searched parameter"),
        (3, ": 3: should be a mapping"),
        (None, ": empty; should be a mapping"),
        ("model.blocks=3", ": 'model.blocks=3': should be a mapping"),
    ],
)
def test_a_wrong_point_is_named_with_its_place_and_what_is_allowed(point: Any, expected: str) -> None:
    (problem,) = problems(SPACE.replace("INITIAL", yaml.safe_dump([point], default_flow_style=True).strip()))
    assert problem.startswith(f"search.initial.0{expected}")


@pytest.mark.parametrize(
    ("initial", "expected"),
    [
        (
            "{model.blocks: 3}",
            "search.initial: a mapping alone; a list of points belongs here: write [{...}], or - before",
        ),
        ("[[]]", "search.initial: [[]]: should be a mapping"),
        ("null", "search.initial: None: should be a valid list"),
        ("model.blocks", "search.initial: 'model.blocks': should be a valid list"),
    ],
)
def test_what_is_no_list_of_points_is_refused(initial: str, expected: str) -> None:
    (problem,) = problems(SPACE.replace("INITIAL", initial))
    assert problem.startswith(expected)


def test_every_wrong_value_of_every_point_is_named_at_once() -> None:
    text = written({"model.blocks": 3}, {"model.blocks": 9, "model.dropout": 2}, {"model.blocks": 3.0}, {"a": 1})
    places = [problem.split(": ")[0] for problem in problems(text)]
    assert places == [f"search.initial.{at}" for at in ("1.model.blocks", "1.model.dropout", "2.model.blocks", "3.a")]


def test_the_same_point_twice_is_refused() -> None:
    twice = written({"training.optimizer.lr": 1}, {"model.blocks": 3}, {"training.optimizer.lr": 1.0})
    assert problems(twice) == ["search.initial.2: the same point as search.initial.0; leave it out (line 3)"]


def test_a_point_that_no_model_can_have_is_refused() -> None:
    text = "study: s\nsearch: {initial: [{model.pad: 0}]}\n" + (
        "model: {name: cnn, padding: valid, kernel_size: {choice: [3, 9]}, channels: {choice: [[8], [8, 8, 8]]}}"
    )
    point = {"model.kernel_size": 9, "model.channels": [8, 8, 8]}
    (problem,) = problems(text.replace("{model.pad: 0}", json.dumps(point)))
    assert problem.startswith("search.initial.0: model: ")
    assert read_space(text.replace("{model.pad: 0}", '{"model.kernel_size": 9}'), "f.yaml").initial


def test_a_parameter_that_cannot_be_read_is_named_alone() -> None:
    (problem,) = problems(written({"model.blocks": 3}).replace("{int: [2, 3]}", "{int: [3, 2]}"))
    assert problem.startswith("model.blocks: low 3 > high 2")


def test_a_condition_on_a_parameter_that_cannot_be_read_is_no_mistake_of_the_point() -> None:
    broken = written(WHOLE).replace("name: {choice: [sgd, adamw]}", "name: {choice: [sgd, sgd]}")
    assert [problem.split(":")[0] for problem in problems(broken)] == ["training.optimizer.name"]


@given(
    st.floats(1e-4, 1, allow_nan=False),
    st.integers(0, 5),
    st.sampled_from([[], [128]]),
    st.sampled_from(["sgd", "adamw"]),
)
def test_a_point_of_the_space_is_read_as_it_was_written(lr: float, tenths: int, head: list[int], name: str) -> None:
    point = {
        "model.dropout": tenths / 10,
        "model.head": head,
        "training.optimizer.name": name,
        "training.optimizer.lr": lr,
    }
    space = read_space(written(point), "f.yaml")
    assert space.initial == (point,)
    assert read_space(space.to_yaml(), "again.yaml").initial == (point,)


def test_a_recipe_has_no_initial_points() -> None:
    text = "study: s\nsearch: {initial: [{model.depth: 2}]}\nmodel: {name: mlp, depth: 2}"
    (problem,) = problems(text)
    assert problem.startswith(
        "search.initial: nothing is searched in this file, so that a study has no points to begin"
    )
    assert read_space(text.replace("[{model.depth: 2}]", "[]"), "f.yaml").initial == ()


def test_points_beyond_the_number_of_trials_are_a_warning() -> None:
    text = written({"model.blocks": 2}, {"model.blocks": 3}, {"model.dropout": 0}).replace("trials: 8", "trials: 2")
    warnings = read_space(text, "f.yaml").warnings
    assert warnings == ("search.initial: 3 points, but search.trials is 2: the last 1 never begin",)


def test_check_shows_the_points(command: CommandLine) -> None:
    file = command.folder / "s.yaml"
    file.write_text(written({"model.blocks": 3, "model.head": []}, WHOLE, {"training.optimizer.name": "adamw"}))
    found = command("check", str(file), "--json").json
    assert found["initial"] == [{"model.blocks": 3, "model.head": []}, WHOLE, {"training.optimizer.name": "adamw"}]
    assert not [fixed for fixed in found["fixed"] if fixed["path"].startswith("search.initial")]
    lines = [line.split() for line in command("check", str(file)).out.splitlines()]
    table = lines[lines.index(["initial", "point", "0", "1", "2"]) :]
    assert ["model.blocks", "3", "3", "sampled"] in table
    assert ["model.head", "[]", "[128]", "sampled"] in table
    assert ["training.optimizer.momentum", "-", "0.9", "-"] in table


def test_a_study_begins_with_its_points_in_their_order(tmp_path: Path) -> None:
    record = open_study(tmp_path, written(WHOLE, {"model.blocks": 2, "model.head": []}))
    first, second, third = (begin(TrialWriter(record), 1)[0] for _ in range(3))  # each as after a crash
    assert first == WHOLE
    assert second.items() >= {"model.blocks": 2, "training.optimizer.lr": second["training.optimizer.lr"]}.items()
    assert second["model.head"] == []
    assert "model.base_channels" in second, "what a point leaves out is sampled"
    assert third != second
    assert [t.user_attrs.get("initial") for t in record.trials] == [True, True, None]
    assert [is_initial(t) for t in record.trials] == [True, True, False]


@pytest.mark.parametrize("sampler", ["tpe", "random", "qmc", "grid", "gp", "cmaes"])
def test_every_sampler_begins_with_the_points_and_then_samples(tmp_path: Path, sampler: str) -> None:
    text = SPACE.replace("{float: [1e-4, 1, ]}", "{choice: [0.01, 0.1]}").replace("[0.8, 0.99]", "[0.9, 0.9]")
    partial = {"training.optimizer.name": "adamw", "model.dropout": 0.5}
    record = open_study(tmp_path, written(WHOLE, partial, text=text), search__sampler__name=sampler, search__trials=5)
    values = begin(TrialWriter(record), 9)
    assert len(values) == 5
    assert values[0] == WHOLE
    assert values[1].items() >= partial.items()
    assert values[1].keys() == WHOLE.keys() - {"training.optimizer.momentum"}
    assert len({json.dumps(v) for v in values}) == 5


def test_a_grid_visits_every_configuration_once_its_points_first(tmp_path: Path) -> None:
    points = ({"model.name": "cnn"}, {"model.name": "mlp", "model.depth": 3, "training.batch_size": 64})
    record = open_study(tmp_path, written(*points, text=GRID))
    values = begin(TrialWriter(record), 99)
    assert values[0]["model.name"] == "cnn"
    assert values[1] == points[1]
    assert len({json.dumps(v, sort_keys=True) for v in values}) == len(values) == 10
    assert [is_initial(t) for t in record.trials] == [True, True, *[False] * 8]


def test_a_point_of_a_grid_that_others_have_used_up_is_passed_over(tmp_path: Path) -> None:
    whole = [{"model.name": "cnn", "model.blocks": n, "training.batch_size": 32} for n in (1, 2)]
    record = open_study(tmp_path, written(*whole, {"model.name": "cnn", "training.batch_size": 32}, text=GRID))
    values = begin(TrialWriter(record), 99)
    assert len({json.dumps(v, sort_keys=True) for v in values}) == len(values) == 10
    assert sum(map(is_initial, record.trials)) == 2


def test_a_trial_that_has_a_points_values_is_not_repeated(tmp_path: Path) -> None:
    """A warm start and initial points combine."""
    old = open_study(tmp_path, written(WHOLE).replace("study: s", "study: old"))
    begin(TrialWriter(old), 2)
    new = open_study(tmp_path, written(WHOLE, {"model.blocks": 2}).replace("study: s", "study: new"))
    assert import_trials(new, old) == 2
    trials = TrialWriter(new)
    assert trials.initial == [{"model.blocks": 2}]
    (third,) = begin(trials, 1)
    assert third["model.blocks"] == 2
    assert [is_initial(t) for t in new.trials] == [True, False, True]


def test_an_enqueued_trial_with_a_points_values_is_not_repeated(tmp_path: Path) -> None:
    record = open_study(tmp_path, written({"model.blocks": 2}, {"model.blocks": 3}))
    record.optuna.enqueue_trial({"model.blocks": 2})
    assert TrialWriter(record).initial == [{"model.blocks": 3}]


def test_points_may_change_where_a_study_goes_on(tmp_path: Path) -> None:
    begin(TrialWriter(open_study(tmp_path, written({"model.blocks": 2}, {"model.blocks": 3}))), 3)
    more = open_study(tmp_path, written({"model.blocks": 3}, {"model.dropout": 0.5}, WHOLE))
    assert more.space.initial[-1] == WHOLE
    values = begin(TrialWriter(more), 3)
    assert [is_initial(t) for t in more.trials] == [True, True, False, True, True, False]
    assert values[0]["model.dropout"] == 0.5
    assert values[1] == WHOLE
    stored = open_study(tmp_path, written({"model.blocks": 3}, {"model.dropout": 0.5}, WHOLE)).optuna.user_attrs[
        "space"
    ]
    assert read_space(stored, "stored").initial == more.space.initial


def test_points_of_a_study_of_version_0_1_are_not_begun_again(tmp_path: Path) -> None:
    record = open_study(tmp_path, written(WHOLE))
    params, distributions = params_of(WHOLE, record.space)
    record.optuna.add_trial(
        optuna.create_trial(value=0.9, params=params, distributions=distributions, user_attrs={"known_good": True})
    )
    assert TrialWriter(record).initial == []
    assert is_initial(record.trials[0])


def test_initial_points_are_promoted_as_others_are(tmp_path: Path) -> None:
    text = written(*({"model.blocks": n} for n in (2, 3))).replace(
        "trials: 8", "trials: 8, pruner: {reduction_factor: 2}"
    )
    driver = drive(open_study(tmp_path, text))
    assert [driver.next_assignment() is None for _ in range(2)] == [False, False]
    assert not driver.on_report(report(0, [0.5]))
    assert driver.on_report(report(1, [0.6]))
    assignment = driver.next_assignment()
    assert assignment is not None
    assert assignment.number == 2


@pytest.mark.parametrize("name", ["a-mlp", "b-cnn", "cnn", "e-cnn", "mlp", "transfer"])
def test_a_shipped_space_leaves_nothing_of_its_points_to_the_sampler(name: str) -> None:
    space = load_space(Path(__file__).parent.parent / "search_spaces" / f"{name}.yaml")
    for point in space.initial:
        assert {p.path for p in space.parameters if space.is_active(p, point)} == point.keys()
    assert len(space.initial) == (3 if name == "cnn" else 1)
