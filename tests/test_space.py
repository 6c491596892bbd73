"""The YAML language: what it accepts, and what it says about the rest."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from fmnist_tune.config import dump_yaml, load_space, read_space
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


# What a file says after `study: x` and `model: {name: mlp, `, and what the message tells to write instead.
OTHER_TOOLS = [
    ("dropout: {uniform: [0, 0.5]}}", "model.dropout: {'uniform': [0, 0.5]}: should be a valid number; to search it, write {float: [0, 0.5]}"),
    ("dropout: {min: 0, max: 1}}", "to search it, write {float: [0, 1]}"),
    ("dropout: {type: float, low: 0.1, high: 0.5, log: true}}", "write {float: [0.1, 0.5], log: true}"),
    ("dropout: {distribution: log_uniform_values, min: 1e-4, max: 0.5}}", "write {float: [0.0001, 0.5], log: true}"),
    ("dropout: {_type: quniform, _value: [0, 0.5, 0.1]}}", "write {float: [0, 0.5], step: 0.1}"),
    ("dropout: 'tune.loguniform(1e-4, 0.5)'}", "write {float: [0.0001, 0.5], log: true}"),
    ("dropout: [0.0, 0.5]}", "write {choice: [0.0, 0.5]}, or {float: [0.0, 0.5]} for all that lies between"),
    ("dropout: {float: {min: 0, max: 0.5}}}", "float must be [low, high], but is {'min': 0, 'max': 0.5}; write {float: [0, 0.5]}"),
    ("dropout: {float: [0, 0.3, 0.5]}}", "for these values alone write {choice: [0, 0.3, 0.5]}"),
    ("dropout: '0.1'}", "write 0.1 without quotes"),
    ("dropout: 10%}", "write 0.1"),
    ("dropout: {value: 0.1}}", "write 0.1"),
    ("width: {randint: [8, 64]}}", "write {int: [8, 64]}"),
    ("width: {low: 8, high: 64}}", "write {int: [8, 64]}"),
    ("width: {values: [8, 64]}}", "write {choice: [8, 64]}"),
    ("width: 64.0}", "model.width: 64.0: should be a valid integer; write 64"),
    ("width: {int: [8, 64], log: yes}}", "log must be true or false, but is 'yes'; write true, without quotes"),
    ("width: {int: [8, 64], q: 8}}", "unknown key 'q' beside int; allowed are log, step, when; write step"),
    ("hidden: [[64], [128]]}", "write {choice: [[64], [128]]}"),
    ("hidden: 128}", "write [128]"),
    ("hidden: '128, 64'}", "write [128, 64]"),
    ("activation: {categorical: [relu, gelu]}}", "write {choice: [relu, gelu]}"),
    ("activation: {choice: 'relu, gelu'}}", "choice must be a list of values, but is 'relu, gelu'; write {choice: [relu, gelu]}"),
    ("when: {a: b}}", "when stands inside the braces of a searched value"),
    ("lr: 0.1}", "unknown key; allowed are name, hidden, depth, width, activation, norm, dropout; lr stands in training.optimizer"),
    ("blocks: 2}", "model.blocks: a key of cnn, not of mlp; allowed are name"),
    ("width: {int: [8, 64], when: {training.schedule: cosine}}}", "when: unknown parameter 'training.schedule'; it has to stand in the file"),
    ("depth: 1}\nepochs: 5", "epochs: unknown key; allowed are study, task, search, resources, model, training, data; epochs stands in training"),
    ("depth: 1}\nparameters: {a: 1}", "what is searched stands in its place in model, training and data"),
    ("depth: 1}\nsearch: {sampler: tpe}", "search.sampler: 'tpe' alone; write {name: tpe}"),
    ("depth: 1}\nsearch: {pruner: none}", "search.pruner: 'none' alone; write {name: none}"),
    ("depth: 1}\nsearch: {timeout: none}", "leave the key out for its default"),
    ("depth: 1}\ntraining: {optimizer: adam}", "training.optimizer: 'adam' alone; write {name: adam}"),
    ("depth: 1}\ntraining: {optimizer: [sgd, adam]}", "write {name: {choice: [sgd, adam]}}"),
    ("depth: 1}\ntraining: {optimizer: {values: [sgd, adam]}}", "to search training.optimizer, write {name: {choice: [sgd, adam]}}"),
    ("depth: 1}\ntraining: {schedule: {name: cosine}}", "write cosine"),
    ("depth: 1}\ntraining: {early_stopping: none}", "leave the key out for its default"),
    ("depth: 1}\ntraining: {augment: true}", "training.augment: True: should be a mapping of flip, shift, rotate, scale, erase"),
    ("depth: 1}\ntraining:", "training: empty; should be a mapping of epochs"),
    ("depth: &d 1}\ntraining: {<<: {epochs: 1}}", "training.<<: YAML 1.2 has no merge keys; write the keys out here"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "expected"), OTHER_TOOLS)
def test_what_another_tool_reads_is_refused_with_what_to_write_instead(text: str, expected: str) -> None:
    found = problems(f"study: x\nmodel: {{name: mlp, {text}")
    assert any(expected in problem for problem in found), found


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        ("mlp", "model: 'mlp' alone; write {name: mlp}"),
        ("[mlp, cnn]", "write {name: {choice: [mlp, cnn]}}"),
        ("{name: [mlp, cnn]}", "write {choice: [mlp, cnn]}"),
        ("{name: resnet18}", "write name: torchvision, architecture: resnet18"),
        ("{name: {choice: [mlp, cnn]}, depth: {int: [1, 3]}}", "model.depth: a key of mlp, but model.name can be cnn too; add when: {model.name: mlp} to it"),
        ("{name: {choice: [mlp, cnn]}, blocks: 2}", "model.blocks: a key of cnn, but model.name can be mlp too; write {choice: [2], when: {model.name: cnn}}"),
    ],
)  # fmt: skip
def test_a_model_said_in_another_way_is_refused_with_what_to_write_instead(model: str, expected: str) -> None:
    found = problems(f"study: x\nmodel: {model}")
    assert any(expected in problem for problem in found), found


ends = st.one_of(st.integers(1, 1000), st.floats(1e-6, 1.0))


@given(
    range_=st.tuples(ends, ends).filter(lambda pair: pair[0] < pair[1]).map(list),
    word=st.sampled_from(["uniform", "loguniform", "randint", "lograndint", "log_uniform", "interval", "suggest_float"]),
    form=st.sampled_from(["{{{word}: {ends}}}", "{{type: {word}, bounds: {ends}}}", "{{_type: {word}, _value: {ends}}}",
                          "{{distribution: {word}, min: {low}, max: {high}}}", "'{word}({low}, {high})'"]),
)  # fmt: skip
@settings(max_examples=150)
def test_what_is_proposed_instead_is_accepted_and_means_the_range(range_: list[float], word: str, form: str) -> None:
    low, high = map(repr, range_)
    file = "study: x\nmodel: {{name: mlp}}\ntraining: {{optimizer: {{weight_decay: {}}}}}"
    (problem,) = problems(file.format(form.format(word=word, ends=f"[{low}, {high}]", low=low, high=high)))
    proposed = problem.partition("write ")[2].rpartition(" (line")[0]
    (parameter,) = read_space(file.format(proposed), "f.yaml").parameters
    assert parameter.domain.ends() == range_
    assert parameter.domain.log == ("log" in word)


def test_a_wrong_name_hides_no_other_mistake() -> None:
    found = problems(
        """
study: x
study: y
search: {trials: -1, sampler: {name: gird}}
model: {name: cnnn, drpout: 3, blocks: 99, kernel_size: 4}
training: {schedule: cosin, optimizer: {name: adm, momentum: 0.9, lr: -1}, loss: msee}
"""
    )
    assert [line.split(": ")[0] for line in found] == [
        "study",
        "search.trials",
        "search.sampler.name",
        "model.name",
        "training.optimizer.name",
        "training.optimizer.lr",
        "training.schedule",
        "training.loss",
        "model.blocks",
        "model.drpout",
        "training.optimizer",
        "model",
    ]
    assert "momentum 0.9 has no effect on adam;" in found[10]
    assert "kernel_size 4 with padding same" in found[11]


@pytest.mark.parametrize(
    ("task", "hint"),
    [
        ("modular", "; did you mean 'modular-addition'?"),
        ("fashion-mnst", "; did you mean 'fashion-mnist'?"),
        ("waves", "; a task of your own is named package.module:Class"),
    ],
)
def test_a_misspelt_task_makes_no_mistakes_of_the_keys_of_the_one_that_is_meant(task: str, hint: str) -> None:
    (found,) = problems(
        f"study: x\ntask: {task}\nmodel: {{name: net, width: 8}}\ntraining: {{steps: 3}}\ndata: {{n: 9}}"
    )
    assert found == f"task: {task!r} is not one of fashion-mnist, modular-addition{hint} (line 2)"


def test_a_name_that_cannot_be_guessed_does_not_make_mistakes_of_what_may_be_right() -> None:
    found = problems(
        "study: x\nmodel: {name: foo, depth: 2, blocks: 2}\ntraining: {optimizer: {name: foo, momentum: 0.9}}"
    )
    assert [line.split(": ")[0] for line in found] == ["model.name", "training.optimizer.name"]


def test_values_that_exclude_each_other_are_found_though_neither_is_wrong_alone() -> None:
    (found,) = problems(
        "study: x\nmodel: {name: mlp}\n"
        "training: {optimizer: {name: {choice: [sgd, adamw]}, momentum: {float: [0.0, 0.9]}}}"
    )
    assert "momentum 0.9 has no effect on adamw; leave it out, or search it with when: " in found


@pytest.mark.parametrize(
    ("text", "warning"),
    [
        ("search: {pruner: {min_epochs: 99}}\ntraining: {epochs: 6}", "search.pruner: asha first compares trials after epoch 99, but the last one is 6: no trial is stopped early"),
        ("search: {pruner: {min_epochs: 6}}\ntraining: {epochs: 6}", "after epoch 6, but the last one is 6"),
        ("search: {pruner: {min_epochs: 14}}\ntraining: {epochs: {int: [6, 14], step: 4}}", "after epoch 14, but the last one is 14"),
        ("search: {pruner: {min_epochs: 8}}\ntraining: {epochs: {int: [6, 14], step: 4}}", "those with 6 epochs end before, and none of them is stopped early; use a min_epochs below 6"),
        ("search: {pruner: {name: none, min_epochs: 2}}", "search.pruner: min_epochs has no effect with name none"),
        ("resources: {gpus: 2}", "resources.gpus: a trial trains on one GPU; the others of 2 are reserved for nothing"),
        ("training: {schedule: cosine, epochs: {int: [6, 14], when: {training.schedule: step}}}", "training.epochs: never used, since training.schedule is cosine and nothing else"),
    ],
)  # fmt: skip
def test_a_setting_without_effect_is_a_warning(text: str, warning: str) -> None:
    space = read_space(f"study: x\nmodel: {{name: mlp, dropout: {{float: [0.0, 0.5]}}}}\n{text}", "f.yaml")
    (found,) = space.warnings
    assert warning in found


def test_more_trials_than_configurations_are_a_warning() -> None:
    text = "study: x\nsearch: {trials: 4, sampler: {name: SAMPLER}}\nmodel: {name: mlp, depth: {int: [1, 3]}}"
    (warning,) = read_space(text.replace("SAMPLER", "tpe"), "f.yaml").warnings
    assert warning.startswith("search.trials: 4 of a space with 3 configurations: some are trained more than once")
    assert read_space(text.replace("SAMPLER", "grid"), "f.yaml").warnings == ()


def test_a_search_section_in_a_recipe_is_a_warning() -> None:
    (warning,) = read_space("study: x\nsearch: {trials: 4}\nmodel: {name: mlp}", "f.yaml").warnings
    assert warning == "search: nothing is searched in this file, so that this section has no effect"


def test_a_recipe_of_a_trial_keeps_the_time_limit_of_an_epoch_alone_of_the_search() -> None:
    space = read_space(
        "study: x\nsearch: {trials: 4, epoch_timeout: 2h}\nmodel: {name: mlp, depth: {int: [1, 3]}}", "f.yaml"
    )
    recipe = read_space(dump_yaml(space.recipe({"model.depth": 2})), "recipe")
    assert (recipe.settings.search.epoch_timeout, recipe.tree["search"]) == (7200, {"epoch_timeout": "2h"})
    assert recipe.warnings == ()
    text = "study: x\nsearch: {trials: 4, epoch_timeout: 2h}\nmodel: {name: mlp}"
    (warning,) = read_space(text, "f.yaml").warnings
    assert warning.endswith("this section has no effect, but for epoch_timeout")


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
@settings(max_examples=300)
def test_any_tree_is_accepted_or_refused_with_a_message(tree: Any) -> None:
    text = yaml.safe_dump(tree, allow_unicode=True)
    try:
        read_space(text, "f.yaml")
    except UserError as error:
        assert str(error).startswith("f.yaml: ")


@given(st.text(max_size=200))
@settings(max_examples=300)
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
@settings(max_examples=100)
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


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("task: zzzz\nmodel: {name: {choice: [mlp, cnn]}}", "task: 'zzzz' is not one of"),
        ("task: [x]\nmodel: {name: mlp}", "task: ['x'] is not one of"),
        ("task: zzzz\nmodel: {name: [mlp]}", "task: 'zzzz' is not one of"),
        ("model: {name: mlp, hidden: {choice: [[!!binary aGk=], [1]]}}", "'aGk=' is a bytes; allowed are text"),
        ("model: {name: mlp, dropout: {float: [0, 0.5], when: {model.name: !!timestamp 2001-12-14}}}", "is a date;"),
    ],
)
def test_what_no_option_can_be_is_a_message(text: str, message: str) -> None:
    assert any(message in line for line in problems(f"study: s\n{text}")), problems(f"study: s\n{text}")
