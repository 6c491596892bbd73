"""The YAML language: what it accepts, and what it says about the rest."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from fmnist_tune.config import load_space, read_space
from fmnist_tune.errors import FileError, UserError


def problems(text: str) -> list[str]:
    with pytest.raises(FileError) as caught:
        read_space(text, "f.yaml")
    return [str(problem) for problem in caught.value.problems]


def test_the_contracts_example_means_what_the_contract_says() -> None:
    space = read_space(
        """
study: cnn
search: {trials: 48, timeout: 10m, sampler: {name: tpe, seed: 0}, pruner: {name: asha, min_epochs: 1, reduction_factor: 3}}
model:
  name: cnn
  blocks: {int: [1, 3]}
  base_channels: {choice: [16, 32, 64]}
  head: {choice: [[], [128], [512]]}
training:
  epochs: 12
  optimizer:
    name: {choice: [sgd, adamw]}
    lr: {float: [1e-4, 1e-1], log: true}
    momentum: {float: [0.8, 0.99], when: {training.optimizer.name: sgd}}
  schedule: one_cycle
resources: {cpus: 1, gpus: auto}
""",
        "cnn.yaml",
    )
    by_path = {p.path: p for p in space.parameters}
    assert space.settings.search.timeout == 600
    assert space.settings.resources.gpus is None
    assert by_path["training.optimizer.lr"].domain.ends() == [1e-4, 1e-1]
    assert by_path["training.optimizer.momentum"].when == {"training.optimizer.name": ("sgd",)}
    values = {
        "model.blocks": 2,
        "model.base_channels": 16,
        "model.head": [128],
        "training.optimizer.name": "adamw",
        "training.optimizer.lr": 0.01,
    }
    config = space.config(values)
    assert config.model.name == "cnn"
    assert config.model.block_channels == [16, 32]
    assert config.training.optimizer.momentum == 0.0
    assert not space.is_active(by_path["training.optimizer.momentum"], values)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "empty; a search space has at least study and model"),
        ("[1, 2]", "a list; a search space is a mapping"),
        ("word", "the single value 'word'"),
        ("study: x\nmodel:\n\tname: mlp", "a tab in the indentation; YAML allows spaces only (line 3)"),
        ("study: [x", "not YAML: expected ',' or ']'"),
        ("study: x\nstudy: y\nmodel: {name: mlp}", "study: given twice (line 2)"),
        ("study: x\nmodle: {name: mlp}", "modle: unknown key; allowed are study, task, search, resources, model, training, data; did you mean 'model'? (line 2)"),
        ("study: x\nmodel: {name: mlp, widht: 3}", "did you mean 'width'?"),
        ("study: x\nmodel: {name: mpl}", "model.name: 'mpl' is not a model; allowed are mlp, cnn, torchvision; did you mean 'mlp'? (line 2)"),
        ("study: x\nmodel: {depth: 2}", "model.name: missing; allowed are mlp, cnn"),
        ("study: x", "model: missing; every file needs it"),
        ("model: {name: mlp}", "study: missing; every file needs it"),
        ("study: ../../x\nmodel: {name: mlp}", "study: '../../x' cannot name a study"),
        ("study: ''\nmodel: {name: mlp}", "study: '' cannot name a study"),
        ("study: 3\nmodel: {name: mlp}", "study: 3: should be a valid string"),
        ("study: x\nmodel: {name: mlp}\nsearch: {trials: -3}", "search.trials: -3: should be greater than or equal to 1"),
        ("study: x\nmodel: {name: mlp}\nsearch: {timeout: banana}", "search.timeout: 'banana' is not a duration"),
        ("study: x\nmodel: {name: mlp}\nsearch: {trials: {int: [1, 2]}}", "search.trials: cannot be searched"),
        ("study: x\nmodel: {name: mlp}\ntraining: {epochs: 1.5}", "training.epochs: 1.5: should be a valid integer"),
        ("study: x\nmodel: {name: mlp}\ntraining: {epochs: true}", "training.epochs: True: should be a valid integer"),
        ("study: x\nmodel: {name: mlp}\ntraining: {batch_size: {flaot: [1, 2]}}", "did you mean 'float'?"),
        ("study: x\nmodel: {name: mlp}\ntraining: {optimizer: {lr: '0.1'}}", "training.optimizer.lr: '0.1': should be a valid number"),
        ("study: x\nmodel: {name: mlp}\ntraining: {optimizer: {lr: .nan}}", "training.optimizer.lr: nan: should be"),
        ("study: x\nmodel: {name: mlp}\ntraining: {optimizer: {lr: {float: [0.1, 0.01]}}}", "training.optimizer.lr: low 0.1 > high 0.01"),
        ("study: x\nmodel: {name: mlp}\ntraining: {optimizer: {lr: {float: [0, 0.1], log: true}}}", "log needs low > 0, but low is 0"),
        ("study: x\nmodel: {name: mlp}\ntraining: {optimizer: {lr: {float: [0.1]}}}", "float must be [low, high], but is [0.1]"),
        ("study: x\nmodel: {name: mlp}\ntraining: {optimizer: {lr: {float: [a, b]}}}", "low 'a' is not a number"),
        ("study: x\nmodel: {name: mlp}\ntraining: {optimizer: {lr: {float: [0.1, 1], step: 0.1, log: true}}}", "log and step exclude each other"),
        ("study: x\nmodel: {name: mlp}\ntraining: {optimizer: {lr: {float: [0.1, 1], lgo: true}}}", "unknown key 'lgo' beside float; allowed are log, step, when; did you mean 'log'?"),
        ("study: x\nmodel: {name: mlp, depth: {int: [1, 2.5]}}", "high 2.5 is not a whole number"),
        ("study: x\nmodel: {name: mlp, depth: {int: [1, 2], step: 5}}", "step 5 is larger than the range"),
        ("study: x\nmodel: {name: mlp, dropout: {float: [0, 2]}}", "model.dropout: 2.0: should be less than 1"),
        ("study: x\nmodel: {name: mlp, activation: {choice: []}}", "choice is empty; list at least one value"),
        ("study: x\nmodel: {name: mlp, activation: {choice: [relu, rleu]}}", "'rleu' is not one of relu, leaky_relu, gelu, silu, tanh; did you mean 'relu'?"),
        ("study: x\nmodel: {name: mlp, activation: {choice: [relu, relu]}}", "choice lists 'relu' twice"),
        ("study: x\nmodel: {name: mlp, depth: {choice: [{int: [1, 2]}]}}", "inside a choice would never be searched"),
        ("study: x\nmodel: {name: mlp, depth: {int: [1, 2], when: {model.widht: 3}}, width: 8}", "when: unknown parameter 'model.widht'; did you mean 'model.width'?"),
        ("study: x\nmodel: {name: mlp, depth: {int: [1, 2], when: {model.width: 3}}, width: {int: [3, 4], when: {model.depth: 1}}}", "when is circular: model.depth -> model.width -> model.depth"),
        ("study: x\nmodel: {name: mlp, depth: {int: [1, 2], when: {model.activation: rel}}, activation: {choice: [relu, gelu]}}", "when: model.activation can never be 'rel'; it is one of relu, gelu; did you mean 'relu'?"),
        ("study: x\nmodel: {name: mlp, depth: {int: [1, 2], when: 3}}", "when must be a mapping"),
        ("study: x\nmodel: {name: cnn, blocks: 6}", "model: 6 blocks do not fit an image of 28 pixels"),
        ("study: x\nmodel: {name: cnn, channels: [4], blocks: 2}", "model: give either channels, or blocks and base_channels, not both"),
        ("study: x\nmodel: {name: mlp}\ntraining: {optimizer: {name: {choice: [sgd, adamw]}, momentum: 0.9}}", "momentum 0.9 has no effect on adamw"),
        ("study: x\nmodel: {name: mlp, dropout: {float: [0, 0.5]}}\nsearch: {sampler: {name: grid}}", "a grid needs a step"),
        ("study: x\nmodel: {name: mlp, width: {int: [1, 60000]}}\nsearch: {sampler: {name: grid}}", "the grid has more than 10,000 configurations"),
        ("study: x\nmodel: {name: mlp}\ndata: {keep: {12: 0.5}}", "data.keep.12: 12: should be less than 10"),
        ("study: x\nmodel: {name: mlp}\nresources: {gpus: lots}", "'lots' is neither auto nor a number of GPUs"),
        ("study: x\nmodel: {name: mlp}\nresources: {cpus: auto}", "resources.cpus"),
        ("study: x\nmodel: {name: mlp}\nresources: {cpus: 0}", "resources.cpus"),
        ("study: x\nmodel: {name: mlp}\nresources: {cpus: 1.5}", "resources.cpus"),
        ("study: x\nmodel: {name: mlp, width: 99999999999999999999999}", "too large for a whole number"),
        ("a: &a [*a]", "alias inside itself"),
        ("study: x\nmodel: {name: mlp}\ndata: {keep: {99999999999999999999: 0.1}}", "data.keep: 99999999999999999999 is too large for a whole number"),
        ("study: x\nmodel: {name: mlp, !foo x: 1}", "could not determine a constructor for the tag '!foo'"),
        ("study: x\nmodel: {name: mlp}\nsearch: {pruner: {min_epochs: .inf}}", "inf is neither a whole number of epochs"),
        ("study: x\nmodel: {name: mlp, dropout: {float: [0, 1], step: 1e-17}}", "step 1e-17 is too small: 0 .. 1 has more than 1e+15 of them"),
        ("study: x\nmodel: {name: mlp, width: {int: [32, 1000000000000]}}\nsearch: {sampler: {name: grid}}", "width"),
        ("!!python/object/apply:os.system ['true']", "a list; a search space is a mapping"),
        ("study: x\nmodel: {name: mlp, norm: !!bool maybe}", "model.norm: 'maybe' is no bool"),
        ("study: x\nmodel: {name: mlp, dropout: !!float ''}", "model.dropout: '' is no float"),
        ("study: x\nmodel: {name: mlp, norm: !!timestamp x}", "model.norm: 'x' is no timestamp"),
        ("study: x\nmodel: {name: mlp, norm: batch}\ntraining: {batch_size: 1}", "training.batch_size: batches of 1 have no variance for model.norm batch"),
        ("study: x\nmodel: {choice: [{name: cnn, blocks: 6}, {name: cnn, blocks: 7}]}", "blocks do not fit an image of 28 pixels"),
    ],
)  # fmt: skip
def test_a_mistake_is_named_with_its_place_and_what_is_allowed(text: str, expected: str) -> None:
    assert any(expected in problem for problem in problems(text)), problems(text)


def test_the_size_of_a_space_is_not_found_by_listing_it() -> None:
    space = read_space("study: x\nmodel: {name: mlp, dropout: {float: [0.0, 0.9], step: 1e-12}}", "f.yaml")
    assert space.size() == 10_001


def test_all_problems_of_a_file_come_at_once() -> None:
    found = problems(
        """
study: x
search: {trials: 0, sampler: {name: tep}}
model: {name: cnn, drpout: 3}
training: {schedule: {choice: []}, batch_size: 0}
"""
    )
    assert [line.split(":")[0] for line in found] == [
        "search.trials",
        "search.sampler.name",
        "training.schedule",
        "model.drpout",
        "training.batch_size",
    ]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("missing.yaml", "no such file"),
        (".", "a directory; give a YAML file"),
        ("latin.yaml", "not UTF-8 text"),
    ],
)
def test_an_unreadable_file_is_named(tmp_path: Path, name: str, expected: str) -> None:
    (tmp_path / "latin.yaml").write_bytes(b"study: caf\xe9")
    with pytest.raises(UserError, match=expected):
        load_space(tmp_path / name)


def test_numbers_are_read_as_yaml_1_2_reads_them() -> None:
    space = read_space("study: on\nmodel: {name: mlp, width: 010}\ntraining: {optimizer: {lr: 1e-4}}", "f.yaml")
    config = space.config({})
    assert space.settings.study == "on"
    assert config.model.width == 10
    assert config.training.optimizer.lr == 0.0001


def test_a_model_that_only_some_values_allow_is_a_warning() -> None:
    space = read_space("study: x\nmodel: {name: cnn, blocks: {int: [3, 6]}}", "f.yaml")
    assert "1 of the 2 corners of the space cannot be built" in space.warnings[0]
    with pytest.raises(UserError, match="6 blocks do not fit"):
        space.config({"model.blocks": 6})


def test_the_model_itself_can_be_searched() -> None:
    space = read_space(
        "study: x\nmodel: {name: {choice: [mlp, cnn]}, depth: {int: [1, 3], when: {model.name: mlp}}, "
        "blocks: {int: [1, 2], when: {model.name: cnn}}}",
        "f.yaml",
    )
    assert space.size() == 5
    assert space.config({"model.name": "mlp", "model.depth": 3}).model.widths == [128, 128, 128]


def test_choices_of_whole_models_are_all_looked_at() -> None:
    models = "{choice: [{name: cnn}, {name: cnn, blocks: 6}, {name: torchvision, weights: absent.pth}]}"
    space = read_space(f"study: x\nmodel: {models}", "f.yaml")
    assert any("blocks do not fit" in warning for warning in space.warnings)
    names = {config.model.name for config in space.corner_configs()}  # whose weights are asked for before a search
    assert names == {"cnn", "torchvision"}


def test_a_configuration_is_found_in_the_space_that_gave_it() -> None:
    space = read_space(
        "study: x\nmodel: {name: mlp, dropout: {choice: [0, 0.5]}}\n"
        "training: {augment: {choice: [{}, {flip: true}, {flip: true, shift: 2}]}, "
        "optimizer: {weight_decay: {float: [0, 1], when: {model.dropout: 0.0}}}}",
        "f.yaml",
    )
    for dropout in (0, 0.5):
        for augment in ({}, {"flip": True}, {"flip": True, "shift": 2}):
            values = {"model.dropout": dropout, "training.augment": augment}
            if not dropout:
                values["training.optimizer.weight_decay"] = 0.25
            assert space.values_for(space.config(values)) == values
    other = read_space("study: x\nmodel: {name: mlp, dropout: 0.25}", "f.yaml").config({})
    assert space.values_for(other) is None


@pytest.mark.parametrize("name", ["08", "0089", "1e5", "1.5e3", "59e6", "7", "true", "a"])
def test_a_name_that_looks_like_a_number_stays_a_name(name: str) -> None:
    space = read_space(f"study: '{name}'\nmodel: {{name: mlp, depth: {{int: [1, 2]}}}}", "f.yaml")
    again = read_space(space.to_yaml(), "f.yaml")
    assert (again.settings.study, again.tree) == (name, space.tree)


def test_a_recipe_round_trips() -> None:
    space = load_space("search_spaces/cnn.yaml")
    values: dict[str, Any] = {}
    for p in space.parameters:
        if space.is_active(p, values):
            values[p.path] = p.domain.ends()[-1]
    text = yaml.safe_dump(space.recipe(values), sort_keys=False)
    recipe = read_space(text, "best.yaml")
    assert recipe.parameters == ()
    assert recipe.config({}) == space.config(values)


scalars = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8))
keys = st.sampled_from(
    ["study", "search", "model", "training", "data", "resources", "name", "float", "int", "choice", "when", "log", "step",
     "depth", "width", "hidden", "optimizer", "lr", "epochs", "trials", "keep", "mlp", "cnn", "sampler", "x", 3]
)  # fmt: skip
trees = st.recursive(
    scalars,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(keys, inner, max_size=4)),
    max_leaves=25,
)


@given(trees)
@settings(max_examples=300, deadline=None)
def test_any_tree_is_accepted_or_refused_with_a_message(tree: Any) -> None:
    text = yaml.safe_dump(tree, allow_unicode=True)
    try:
        read_space(text, "f.yaml")
    except UserError as error:
        assert str(error).startswith("f.yaml: ")


@given(st.text(max_size=200))
@settings(max_examples=300, deadline=None)
def test_any_text_is_accepted_or_refused_with_a_message(text: str) -> None:
    try:
        read_space(text, "f.yaml")
    except UserError as error:
        assert str(error).startswith("f.yaml: ")


@given(
    low=st.floats(1e-6, 1e3),
    span=st.floats(0, 1e3),
    blocks=st.lists(st.integers(1, 6), min_size=1, max_size=4, unique=True),
)
@settings(max_examples=100, deadline=None)
def test_what_is_written_is_what_is_read(low: float, span: float, blocks: list[int]) -> None:
    tree = {
        "study": "x",
        "model": {"name": "mlp", "depth": {"choice": blocks}},
        "training": {"optimizer": {"lr": {"float": [low, low + span], "log": True}}},
    }
    space = read_space(yaml.safe_dump(tree), "f.yaml")
    assert read_space(space.to_yaml(), "again").tree == space.tree
    assert {p.path: p.domain.ends() for p in space.parameters} == {
        "model.depth": blocks,
        "training.optimizer.lr": [low, low + span],
    }
