"""Modular addition: pairs, models, memorised first and understood later; and the whole machinery on it."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from fmnist_tune.config import load_space, read_space
from fmnist_tune.errors import FileError, UserError
from fmnist_tune.retrain.prediction import image_config
from fmnist_tune.study.database import database_url, open_database
from fmnist_tune.study.layout import StudyPaths
from fmnist_tune.study.metrics_file import stored_problem
from fmnist_tune.study.recipes import recipe_of
from fmnist_tune.study.record import StudyRecord
from fmnist_tune.study.trial_writer import TrialWriter
from fmnist_tune.tasks.modular_addition.config import ModularConfig, ModularData
from fmnist_tune.tasks.modular_addition.data import leak, split_pairs
from fmnist_tune.tasks.modular_addition.metrics import pair_metrics
from fmnist_tune.tasks.modular_addition.outcome import milestones, value
from fmnist_tune.tasks.modular_addition.report import grokking_figure, step_curve
from fmnist_tune.tasks.modular_addition.run import ModularRun
from fmnist_tune.tasks.registry import find_task
from fmnist_tune.training.checkpoint import load_checkpoint, save_checkpoint
from fmnist_tune.training.results import EpochResult
from fmnist_tune.training.run import NonFiniteLossError
from tests.conftest import CommandLine

# Solved in some 500 steps, two seconds of one core.
RECIPE = """\
study: tiny-grokking
task: modular-addition
model: {name: embedding_mlp, embedding: 64, hidden: [128]}
training:
  steps: 2000
  eval_every: 20
  optimizer: {name: adamw, lr: 1e-2, weight_decay: 1.0, betas: [0.9, 0.98]}
data: {modulus: 23, fraction: 0.8}
"""
SPACE = RECIPE.replace("weight_decay: 1.0", "weight_decay: {float: [0.5, 2.0]}").replace(
    "model:", "search: {trials: 3, pruner: {name: none}}\nmodel:"
)


def config(text: str = RECIPE) -> ModularConfig:
    found = read_space(text, "recipe").config({})
    assert isinstance(found, ModularConfig)
    return found


def make_run(text: str = RECIPE, seed: int = 0) -> ModularRun:
    torch.set_num_threads(1)
    return ModularRun(config(text), seed=seed)


def problems(text: str) -> list[str]:
    with pytest.raises(FileError) as caught:
        read_space(text, "f.yaml")
    return [str(problem) for problem in caught.value.problems]


def results(val: list[float], train: float = 1.0) -> list[EpochResult]:
    return [
        EpochResult(
            epoch=i,
            train_loss=0.1,
            train_accuracy=train,
            val_loss=1.0,
            val_accuracy=accuracy,
            lr=1e-3,
            train_s=1.0,
            val_s=0.1,
            n_images=10,
        )
        for i, accuracy in enumerate(val, start=1)
    ]


def numbers(history: list[EpochResult]) -> list[tuple[float, ...]]:
    return [(r.train_loss, r.train_accuracy, r.val_loss, r.val_accuracy) for r in history]


def test_every_pair_is_on_one_side_of_the_split_and_has_its_sum() -> None:
    train, val = split_pairs(ModularData(modulus=7, fraction=0.4))
    assert len(train.y_N) == round(49 * 0.4)
    pairs = np.concatenate([train.x_N2, val.x_N2])
    assert sorted(map(tuple, pairs.tolist())) == list(itertools.product(range(7), range(7)))
    assert ((val.x_N2[:, 0] + val.x_N2[:, 1]) % 7).tolist() == val.y_N.tolist()
    assert leak(train, val) == 0.0


def test_a_larger_fraction_holds_the_pairs_of_a_smaller_one() -> None:
    small, large = (split_pairs(ModularData(fraction=f))[0].x_N2.tolist() for f in (0.3, 0.5))
    assert large[: len(small)] == small


def test_pairs_drawn_before_the_split_are_on_both_sides_of_it() -> None:
    train, val = split_pairs(ModularData(modulus=97, draw=20_000, fraction=0.8))
    assert (len(train.y_N), len(val.y_N)) == (16_000, 4_000)
    assert leak(train, val) == pytest.approx(1 - (1 - 1 / 97**2) ** 16_000, abs=0.02)  # four of five


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        ("{name: mlp, hidden: [128]}", 194 * 128 + 128 + 128 * 97 + 97),
        ("{name: embedding_mlp, hidden: [256]}", 2 * 97 * 128 + 256 * 256 + 256 + 256 * 97 + 97),
        (
            "{name: transformer}",
            98 * 128 + 3 * 128 + 4 * 128**2 + 128 * 512 + 512 + 512 * 128 + 128 + 128 * 97,
        ),
    ],
)
def test_models_have_the_layers_their_sections_say(model: str, expected: int) -> None:
    section = config(f"study: s\ntask: modular-addition\nmodel: {model}").model
    module = section.build(97)
    assert sum(p.numel() for p in module.parameters()) == expected
    assert module(torch.zeros(5, 2, dtype=torch.int64)).shape == (5, 97)


def test_the_transformer_computes_what_the_textbook_says() -> None:
    section = config("study: s\ntask: modular-addition\nmodel: {name: transformer, width: 16, heads: 2, ff: 8}").model
    module: Any = section.build(11)
    pairs = torch.tensor([[1, 2], [10, 0], [3, 3]])
    tokens = torch.cat([pairs, torch.full((3, 1), 11)], dim=1)
    x = module.token(tokens) + module.position
    key, value_ = module.key_value(x).chunk(2, dim=-1)
    query = module.query(x)
    heads = []
    for part in (slice(0, 8), slice(8, 16)):
        weights = (query[..., part] @ key[..., part].transpose(1, 2) / 8**0.5).softmax(-1)
        heads.append(weights @ value_[..., part])
    x = x + module.output(torch.cat(heads, dim=-1))
    x = x + module.dense(x)
    torch.testing.assert_close(module(pairs), module.scores(x)[:, -1])


@pytest.mark.parametrize(
    ("model", "fraction"),
    [("{name: embedding_mlp, embedding: 64, hidden: [128]}", 0.8), ("{name: transformer, width: 32, ff: 64}", 0.6)],
)
def test_the_training_pairs_are_memorised_first_and_the_others_understood_long_after(
    model: str, fraction: float
) -> None:
    text = RECIPE.replace("{name: embedding_mlp, embedding: 64, hidden: [128]}", model)
    run = make_run(text.replace("fraction: 0.8", f"fraction: {fraction}"))
    history = list(run.progress())
    steps = milestones(run.config, history)
    assert steps["steps_to_memorise"] <= 100
    assert 5 * steps["steps_to_memorise"] <= steps["steps_to_solve"] <= 1000
    memorised = history[steps["steps_to_memorise"] // 20 - 1]
    assert memorised.train_accuracy >= 0.99
    assert memorised.val_accuracy < 0.6
    assert run.stop_reason == "solved"
    assert steps["steps_to_solve"] == len(history) * 20


def test_without_weight_decay_it_stays_memorised() -> None:
    text = RECIPE.replace("weight_decay: 1.0", "weight_decay: 0.0").replace("fraction: 0.8", "fraction: 0.5")
    run = make_run(text.replace("steps: 2000", "steps: 1000"))
    last = list(run.progress())[-1]
    assert run.stop_reason == "epochs"
    assert last.train_accuracy == 1.0
    assert last.val_accuracy < 0.2


def test_where_validation_pairs_are_training_pairs_both_accuracies_rise_together() -> None:
    run = make_run(RECIPE.replace("fraction: 0.8", "fraction: 0.8, draw: 4000").replace("steps: 2000", "steps: 100"))
    last = list(run.progress())[-1]
    assert run.metadata["leak"] > 0.99
    assert last.train_accuracy == 1.0
    assert last.val_accuracy > 0.99


@pytest.mark.parametrize("batch_size", ["full", "64"])
def test_a_run_that_goes_on_from_a_checkpoint_ends_with_the_same_bits(batch_size: str, tmp_path: Path) -> None:
    text = RECIPE.replace("steps: 2000", f"steps: 80\n  batch_size: {batch_size}")
    expected = numbers(list(make_run(text).progress()))
    first = make_run(text)
    list(itertools.islice(first.progress(), 2))
    save_checkpoint(first, tmp_path / "checkpoint.pt")
    torch.manual_seed(12345)  # whatever ran in between
    second = make_run(text)
    assert load_checkpoint(second, tmp_path / "checkpoint.pt") is None
    assert numbers(list(second.progress())) == expected[2:]
    assert numbers(second.history) == expected


def test_the_optimizer_gets_its_betas() -> None:
    assert make_run().optimizer.param_groups[0]["betas"] == (0.9, 0.98)
    assert make_run(RECIPE.replace(", betas: [0.9, 0.98]", "")).optimizer.param_groups[0]["betas"] == (0.9, 0.999)


def test_batches_are_passes_over_the_pairs() -> None:
    run = make_run(RECIPE.replace("steps: 2000", "steps: 2000\n  batch_size: 100"))
    batches = list(run.draw_batches())
    n = run.metadata["pairs_train"]  # 423: four batches and a rest of 23
    assert [len(b) for b in batches] == [100, 100, 100, 100, 23] * 4
    assert sorted(torch.cat(batches[:5]).tolist()) == list(range(n))


def test_a_loss_that_explodes_is_named() -> None:
    with pytest.raises(NonFiniteLossError, match=r"loss is (nan|inf) before step 20"):
        list(
            make_run(
                RECIPE.replace("name: adamw, lr: 1e-2", "name: sgd, lr: 1e30").replace(", betas: [0.9, 0.98]", "")
            ).progress()
        )


def test_a_trials_value_is_the_share_of_steps_left_or_what_was_missing() -> None:
    solved = results([0.01, 0.3, 0.995])
    assert value(config(), solved) == 1 - 60 / 2000
    assert milestones(config(), solved) == {"steps_to_memorise": 20, "steps_to_solve": 60}
    late = results([0.01] * 50 + [0.99])
    assert value(config(), late) < value(config(), solved)
    assert value(config(), results([0.2, 0.6, 0.5])) == pytest.approx(0.6 - 0.99)
    assert value(config(), results([0.2])) < value(config(), results([0.6])) < value(config(), late)


def test_figures_over_seeds_are_those_of_the_seeds_that_got_there() -> None:
    metrics = pair_metrics(config(), [results([0.5, 0.99]), results([0.5, 0.5, 0.5, 1.0]), results([0.5])])
    assert metrics["steps_to_solve"]["values"] == [40, 80, None]
    assert metrics["steps_to_solve"]["mean"] == 60
    assert metrics["val_accuracy"]["values"] == [0.99, 1.0, 0.5]
    assert metrics["pairs"] == {"train": 423, "val": 106}


def test_curves_are_drawn_over_steps_on_a_logarithmic_axis() -> None:
    curve = step_curve("seed 0", config(), results([0.1, 0.99]))
    assert (curve.steps, curve.steps_to_memorise, curve.steps_to_solve) == ((20, 40), 20, 40)
    accuracy, loss = grokking_figure([curve]).axes
    assert accuracy.get_xscale() == loss.get_xscale() == "log"
    assert accuracy.lines[1].get_xydata().tolist() == [[20, 0.1], [40, 0.99]]


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("embedding_mlp", "cnn", "model.name: 'cnn' is not a model; allowed are embedding_mlp, transformer, mlp"),
        ("steps: 2000", "steps: 2010", "training: steps 2010 must be a multiple of eval_every 20"),
        ("eval_every: 20", "epochs: 20", "training.epochs: unknown key; allowed are steps, eval_every, batch_size"),
        (
            "modulus: 23",
            "modulos: 23",
            "data.modulos: unknown key; allowed are modulus, fraction, draw; did you mean 'modulus'?",
        ),
        (
            "eval_every: 20",
            "eval_every: 20\n  batch_size: all",
            "training.batch_size: 'all' is neither full nor a number of pairs",
        ),
        ("name: adamw", "name: rmsprop", "training.optimizer: betas have no effect on rmsprop; leave them out"),
        ("fraction: 0.8", "fraction: 0.0001", "data: fraction 0.0001 of 529 pairs leaves one part of the split empty"),
        (
            "modular-addition",
            "modular-adition",
            "task: 'modular-adition' is not one of fashion-mnist, modular-addition",
        ),
    ],
)
def test_mistakes_are_named(old: str, new: str, expected: str) -> None:
    assert any(problem.startswith(expected) for problem in problems(RECIPE.replace(old, new))), problems(
        RECIPE.replace(old, new)
    )


def test_heads_must_divide_the_width() -> None:
    text = "study: s\ntask: modular-addition\nmodel: {name: transformer, width: 10, heads: 4}"
    assert problems(text) == ["model: heads 4 do not divide width 10 (line 3)"]


def test_asha_before_the_plateau_is_warned_of() -> None:
    (warning,) = read_space(SPACE.replace("name: none", "name: asha"), "s").warnings
    assert "use {name: none}, or min_epochs of at least 50" in warning
    assert read_space(SPACE, "s").warnings == ()
    assert read_space(SPACE.replace("name: none", "name: asha, min_epochs: 50"), "s").warnings == ()
    assert read_space(RECIPE, "s").warnings == ()


def test_the_shipped_space_has_no_pruner_and_its_recipes_no_leak_but_cs() -> None:
    assert load_space("search_spaces/grokking.yaml").settings.search.pruner.name == "none"
    shares = {
        name: leak(
            *split_pairs(ModularData.model_validate(load_space(f"search_spaces/recipes/{name}.yaml").tree["data"]))
        )
        for name in ("grokking-mlp", "grokking-transformer", "c-modular-adam", "c-modular-rmsprop")
    }
    assert shares["grokking-mlp"] == shares["grokking-transformer"] == 0
    assert shares["c-modular-adam"] == shares["c-modular-rmsprop"] > 0.8


def test_a_task_without_pictures_says_so() -> None:
    with pytest.raises(UserError, match="task: modular-addition has no images"):
        image_config(read_space(RECIPE, "f.yaml"))


def test_a_value_is_printed_as_a_share_of_steps_and_not_as_an_accuracy(command: CommandLine) -> None:
    paths = StudyPaths(command.folder / "studies", "tiny-grokking")
    paths.studies_dir.mkdir()
    storage = open_database(database_url(paths.studies_dir), create=True)
    record = StudyRecord.open(storage, read_space(SPACE, "s"), paths)
    trials = TrialWriter(record)
    for share in (0.5, -0.25):
        spec = trials.begin()
        assert spec is not None
        trials.complete(spec.number, share)
    shown = command("show", "tiny-grokking", "--wide").out
    assert shown.count("50.00 % of the steps left") == 2  # in the table and below it
    assert "not solved, 25.00 points short of 99 %" in shown
    assert "50.00 % of the steps left" in command("studies").out


def test_a_pruned_trial_has_no_value_since_its_accuracy_is_none(tmp_path: Path) -> None:
    record = StudyRecord.open(
        open_database(database_url(tmp_path), create=True),
        read_space(SPACE, "s"),
        StudyPaths(tmp_path, "tiny-grokking"),
    )
    trials = TrialWriter(record)
    assert trials.begin() is not None
    trials.report(0, 1, 0.62)
    trials.prune(0, "asha")
    (trial,) = record.trials
    assert trial.value is None
    assert "steps_left" not in recipe_of(record, trial)


def test_a_damaged_record_of_a_result_is_named() -> None:
    task = find_task("modular-addition")
    metrics = {"trial": None, "seeds": [0], "config": {}, "curves": [], "steps_to_solve": {}}
    problem = stored_problem(metrics, task.stored, task.result_key)
    assert problem is not None
    assert problem.startswith("steps_to_solve.values: field required")


@pytest.mark.ray
def test_a_search_finds_the_fewest_steps_and_its_winner_is_retrained(joined: CommandLine) -> None:
    (joined.folder / "space.yaml").write_text(SPACE)
    run = joined("search", "space.yaml", "--json", "--data-dir", "nowhere")
    assert run.code == 0, run.err
    assert run.json["trials"]["complete"] == 3
    trials = joined("show", "tiny-grokking", "--json").json["all"]
    for trial in trials:
        attributes = trial["attributes"]
        assert trial["value"] == 1 - attributes["steps_to_solve"] / 2000
        assert attributes["stop_reason"] == "solved"
        assert trial["epochs"] == attributes["steps_to_solve"] / 20
        assert attributes["leak"] == 0
    assert run.json["best"]["value"] == max(trial["value"] for trial in trials)
    folder = joined.folder / "studies" / "tiny-grokking"
    assert ", steps_left 0." in (folder / "best.yaml").read_text()
    assert "of the steps left" in joined("show", "tiny-grokking").out
    assert list((folder / "tensorboard" / "trial-0").iterdir())

    report = joined.here("report", "tiny-grokking", "--json")
    assert report.code == 0, report.err
    assert (folder / "report" / "grokking.png").read_bytes().startswith(b"\x89PNG")

    retrained = joined("retrain", "tiny-grokking", "--seeds", 1)
    assert retrained.code == 0, retrained.err
    assert "99 % validation accuracy after" in retrained.out


@pytest.mark.ray
def test_a_recipe_is_trained_over_seeds_and_reported(joined: CommandLine) -> None:
    (joined.folder / "recipe.yaml").write_text(RECIPE)
    run = joined("train", "recipe.yaml", "--seeds", 2, "--json")
    assert run.code == 0, run.err
    metrics = run.json
    assert metrics["seeds"] == [0, 1]
    assert all(100 < steps < 1200 for steps in metrics["steps_to_solve"]["values"])
    assert metrics["steps_to_solve"]["ci95"] is not None
    assert metrics["leak"] == 0
    folder = joined.folder / "studies" / "tiny-grokking"
    assert {path.name for path in (folder / "model").iterdir()} == {
        "config.yaml",
        "metrics.json",
        "weights.safetensors",
    }
    again = joined.here("train", "recipe.yaml", "--seeds", 2, "--json")
    assert again.json == metrics
    assert "nothing was left to train" in again.err
    report = joined.here("report", "tiny-grokking")
    assert report.code == 0, report.err
    text = (folder / "report" / "report.md").read_text()
    assert "# tiny-grokking: recipe on modular addition" in text
    assert "(2 of 2 seeds)" in text
    assert "test set" not in text
    Image.new("L", (28, 28)).save(joined.folder / "picture.png")
    (folder / metrics["curves"][1]).unlink()
    gone = joined.here("report", "tiny-grokking")
    assert gone.code == 2
    assert "seed-1/result.json: missing or damaged; `fmnist-tune retrain tiny-grokking` makes it again" in gone.err
    predict = joined.here("predict", "tiny-grokking", "picture.png")
    assert predict.code == 2
    assert predict.err.strip().endswith("task: modular-addition has no images")
    shown = joined("show", "tiny-grokking")
    assert "the recipe retrained: 99 % validation accuracy after" in shown.out
