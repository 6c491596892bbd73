"""The reports' systems: their recipes, the spaces that continue them, and the pages that are written from results."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from benchmarks import imbalance, systems, winners
from benchmarks.recipes import Recipes
from fmnist_tune.config import load_space
from fmnist_tune.evaluation import share_spread
from fmnist_tune.models.cnn import Cnn
from fmnist_tune.models.layers import n_params
from fmnist_tune.study.database import database_url, open_database
from fmnist_tune.study.layout import StudyPaths
from fmnist_tune.study.record import StudyRecord
from fmnist_tune.study.sampling import values_of
from fmnist_tune.study.trial_writer import TrialWriter
from fmnist_tune.tasks.images import ImageConfig, Images
from fmnist_tune.tasks.images.fashion_mnist import FASHION_MNIST
from tests.conftest import CommandLine, make_pictures
from tests.studies import result

FILES = sorted(Path("search_spaces").rglob("*.yaml"))
FOLDER = Path("search_spaces/recipes")
A_DEEPER = 784 * 256 + 256 + 256 * 128 + 128 + 128 * 64 + 64 + 64 * 10 + 10
C_MLP = 784 * 128 + 128 + 128 * 64 + 64 + 64 * 10 + 10
LENET = (25 * 6 + 6) + (6 * 25 * 16 + 16) + (400 * 120 + 120) + (120 * 84 + 84) + (84 * 10 + 10)
BY_HAND = {
    "a-baseline": C_MLP,
    "a-deeper": A_DEEPER,
    "a-wider": 784 * 512 + 512 + 512 * 256 + 256 + 256 * 10 + 10,
    # Convolutions without bias, batch norm with scale and shift.
    "b-regularised-cnn": (9 * 32 + 64) + (9 * 32 * 64 + 128) + (9 * 64 * 128 + 256) + (1152 * 512 + 512) + 5130,
    "c-mse-sgd": C_MLP,
    "c-leaky-adam": 784 * 128 + 128 + 128 * 64 + 64 + 64 * 32 + 32 + 32 * 10 + 10,
    "c-before-mitigation": C_MLP,
    "c-random-oversampling": C_MLP,
    "c-class-weighted": C_MLP,
    "d-lenet-32": LENET,
    "d-lenet-64": LENET,
    "d-lenet-100": LENET,
    "d-lenet-256": LENET,
    # 28 -> 26, pooled 13 -> 11, pooled 5 -> 3: 576 features.
    "e-keras-cnn": (9 * 32 + 32) + (9 * 32 * 64 + 64) + (9 * 64 * 64 + 64) + (576 * 64 + 64) + (64 * 64 + 64) + 650,
    "imbalance-none": A_DEEPER,
    "imbalance-class-weights": A_DEEPER,
    "imbalance-weighted-sampler": A_DEEPER,
    "imbalance-oversample": A_DEEPER,
}


def config_of(name: str) -> ImageConfig:
    return Recipes(FOLDER, Path("studies"), None).config(name)


def scores_for(predicted: np.ndarray) -> np.ndarray:
    """Return scores whose highest is the predicted class's."""
    return np.eye(10, dtype=np.float32)[predicted]


@pytest.fixture
def tiny_recipes(command: CommandLine) -> Path:
    """The recipes, two epochs each, with a validation split that the tiny data set can spare."""
    folder = command.folder / "recipes"
    folder.mkdir()
    for name in BY_HAND:
        space = load_space(FOLDER / f"{name}.yaml", {"training.epochs": 2, "data.val_size": 100})
        (folder / f"{name}.yaml").write_text(space.to_yaml())
    return folder


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_file_is_valid_and_warns_of_nothing(path: Path) -> None:
    space = load_space(path)
    assert space.warnings == ()
    assert bool(space.parameters) != (path.parent.name == "recipes")


def test_no_two_files_have_one_study() -> None:
    names = [load_space(path).settings.study for path in FILES]
    assert len(names) == len(set(names))


@pytest.mark.parametrize("name", BY_HAND)
def test_a_recipe_has_the_parameters_counted_by_hand(name: str) -> None:
    config = config_of(name)
    model = config.build()
    assert n_params(model) == BY_HAND[name]
    assert model(torch.zeros(2, *config.images.shape)).shape == (2, 10)


def test_every_recipe_of_the_five_reports_is_counted_and_has_a_row() -> None:
    assert {s.recipe for s in systems.SYSTEMS} == {name for name in BY_HAND if not name.startswith("imbalance-")}


def test_the_regularised_cnn_drops_channels_after_each_block_and_units_before_the_classifier_only() -> None:
    model = config_of("b-regularised-cnn").build()
    assert [m.p for m in model.modules() if isinstance(m, nn.Dropout2d)] == [0.25] * 3
    dense = [type(m).__name__ for m in list(model)[-5:]]
    assert dense == ["Flatten", "Linear", "LeakyReLU", "Dropout", "Linear"]
    assert model[-2].p == 0.5


def test_lenets_recipes_differ_in_the_batch_alone_and_the_grid_has_them_all() -> None:
    grid = load_space("search_spaces/d-batch-size.yaml")
    assert [grid.config(values) for values in grid.grid()] == [config_of(f"d-lenet-{n}") for n in (32, 64, 100, 256)]


def test_imbalance_recipes_differ_in_the_mitigation_alone() -> None:
    trees = [config_of(f"imbalance-{name}").model_dump() for name in imbalance.NAMES]
    assert [tree["data"].pop("mitigation") for tree in trees] == [
        "none",
        "class_weights",
        "weighted_sampler",
        "oversample",
    ]
    assert all(tree == trees[0] for tree in trees)
    assert trees[0]["data"]["keep"] == {5: 0.1, 9: 0.1}


def test_pools_leaves_later_blocks_unpooled() -> None:
    cnn = Cnn.model_validate({"name": "cnn", "channels": [4, 8, 8], "pools": 2, "padding": "valid", "norm": "none"})
    assert cnn.feature_sizes(28) == [28, 13, 5, 3]
    model = cnn.build(FASHION_MNIST)
    assert sum(isinstance(m, nn.MaxPool2d) for m in model.modules()) == 2
    assert model[-1].in_features == 8 * 3 * 3


def test_an_unpooled_block_needs_a_pixel() -> None:
    cnn = Cnn.model_validate({"name": "cnn", "channels": [4, 4], "pools": 0, "padding": "valid", "kernel_size": 15})
    assert cnn.feature_sizes(29) == [29, 15, 1]
    with pytest.raises(ValueError, match="28 -> 14 pixels, and block 2 needs at least 1 but has 0"):
        cnn.feature_sizes(28)


def test_residual_blocks_can_go_unpooled() -> None:
    cnn = Cnn.model_validate({"name": "cnn", "channels": [4, 4], "pools": 1, "residual": True})
    assert cnn.build(FASHION_MNIST)(torch.zeros(2, 1, 28, 28)).shape == (2, 10)
    assert cnn.feature_sizes(28) == [28, 14, 14]


@pytest.mark.parametrize(
    ("section", "expected"),
    [
        ({"head": [8, 8], "dropout": 0.5}, [0.5, 0.5, 0.5]),
        ({"head": [8, 8], "dropout": 0.5, "feature_dropout": 0.0}, [0.5, 0.5]),
        ({"head": [8, 8], "dropout": 0.5, "feature_dropout": 0.2}, [0.2, 0.5, 0.5]),
        ({"head": [], "dropout": 0.5, "feature_dropout": 0.2}, [0.2]),
    ],
)
def test_feature_dropout_replaces_dropout_before_the_first_dense_layer(
    section: dict[str, Any], expected: list[float]
) -> None:
    model = Cnn.model_validate({"name": "cnn", "channels": [4], **section}).build(FASHION_MNIST)
    assert [m.p for m in model.modules() if isinstance(m, nn.Dropout)] == expected


def test_a_trained_system_is_a_row_of_mean_interval_and_time() -> None:
    metrics = {"test_accuracy": {"values": [0.88, 0.89, 0.90]}, "train_s": 60.0, "epochs": 10}
    assert systems.system_row(systems.SYSTEMS[0], metrics) == [
        "[a-baseline](../../search_spaces/recipes/a-baseline.yaml)",
        "A: MLP 784-128-64-10, Adam 0.001, batch 64",
        "86.58, 88.33 (two runs)",
        "89.00 [86.52, 91.48]",  # t(0.975, 2) = 4.303 times 1 / sqrt(3)
        "3",
        "+0.67 (inside)",
        "10",
        "2.0",
    ]


def test_a_reports_run_is_inside_where_one_more_of_ours_could_be() -> None:
    for value, expected in ((0.92, "+3.67 (inside)"), (0.94, "+5.67")):  # +- 4.303 * sqrt(1 + 1 / 3) = 4.97
        metrics = {"test_accuracy": {"values": [value - 0.01, value, value + 0.01]}, "train_s": 60.0, "epochs": 10}
        assert systems.system_row(systems.SYSTEMS[0], metrics)[5] == expected


def test_a_system_without_results_or_without_a_figure_says_so() -> None:
    keras = systems.SYSTEMS[-1]
    assert systems.system_row(keras, None)[2:] == ["none", "not run yet", "", "", "", ""]
    one_seed = {"test_accuracy": {"values": [0.9]}, "train_s": 5.0, "epochs": 10}
    assert systems.system_row(keras, one_seed)[2:] == ["none", "90.00", "1", "", "10", "0.5"]


def test_the_best_epoch_stands_beside_the_last() -> None:
    system = next(s for s in systems.SYSTEMS if s.best_epoch is not None)
    curve = [0.87, 0.88, 0.931, 0.90, 0.931, 0.93]
    assert systems.best_epoch_row(system, curve)[3:] == [
        "93.10 (epoch 3)",
        "93.00 (epoch 6)",
        "87.00, 88.00, 93.10, 90.00, 93.10",
    ]


def test_the_page_has_every_row_once() -> None:
    text = systems.page({}, {}, "2 cores")
    assert text.count("not run yet") == len(systems.SYSTEMS) + 1
    assert "| d-lenet-64 | 88.94 |  | 89.00 (epoch 2) |" in systems.page({}, {"d-lenet-64": [0.88, 0.89]}, "2 cores")
    assert all(text.count(f"| [{s.recipe}](") == 1 for s in systems.SYSTEMS)
    assert "Measured not yet, the page written on 2 cores." in text


def test_a_space_without_a_study_is_a_row_that_says_so_beside_its_reports_best() -> None:
    assert winners.winner_row("d-batch-size", None)[1:3] == ["89.76", "not run yet"]
    assert winners.winner_row("e-cnn", None)[1:3] == ["none", "not run yet"]
    assert winners.page({}, "2 cores").count("not run yet") == len(winners.SPACES)


def test_a_winner_is_a_row_once_it_is_searched_and_once_it_is_retrained(tmp_path: Path) -> None:
    space = load_space(Path("search_spaces/d-batch-size.yaml"))
    record = StudyRecord.open(open_database(database_url(tmp_path), create=True), space, StudyPaths(tmp_path, "d"))
    trials = TrialWriter(record)
    for value in (0.9, 0.91):
        spec = trials.begin()
        assert spec is not None
        trials.note_progress(spec.number, [replace(result(1, value), train_s=50.0, val_s=10.0)], {})
        trials.complete(spec.number, value)
    searched = winners.winner_row("d-batch-size", record)
    assert searched[1:] == ["89.76", "2 (2 complete)", "2", "91.00", "not retrained yet", "", "", ""]
    record.retraining.add_test_use("retrain", 1, [0, 1, 2])
    record.retraining.set_result(
        {
            "trial": 1,
            "seeds": [0, 1, 2],
            "test_accuracy": {"values": [0.88, 0.89, 0.90], "mean": 0.89, "std": 0.01, "ci95": [0.8652, 0.9148]},
            "per_class": {},
            "val_accuracy": 0.91,
            "finished_at": "2026-11-22 22:00:00",
        }
    )
    assert winners.winner_row("d-batch-size", record)[5:] == ["89.00 [86.52, 91.48]", "3", "1", "-0.76"]
    batch_size = values_of(record.trials[1].params, space)["training.batch_size"]
    text = winners.page({"d-batch-size": record}, "2 cores")
    assert "Measured 2026-11-22, the page written on 2 cores." in text
    assert f"- d-batch-size, trial 1: `training.batch_size` {batch_size}\n" in text


def test_balanced_accuracy_counts_every_class_alike() -> None:
    labels = np.array([0] * 8 + [5] * 2)
    found = imbalance.outcome([scores_for(np.array([0] * 8 + [5, 0])), scores_for(np.array([0] * 10))], labels, [5])
    assert found.overall.values == (0.9, 0.8)
    assert found.rare.values == (0.5, 0.0)
    assert found.others.values == (1.0, 1.0)  # of class 0 alone: the other eight have no test images
    assert found.balanced.values == (0.75, 0.5)
    assert found.recall[5].values == (0.5, 0.0)


def test_the_mitigations_draw_what_they_say() -> None:
    images, labels = make_pictures(600, 0)
    train = Images(images.astype("uint8"), labels.astype("int64"), ("", ""))
    configs = {name: config_of(f"imbalance-{name}") for name in ("weighted-sampler", "oversample")}
    counts = imbalance.distributions(configs, train)
    assert counts["training files"] == (60,) * 10
    assert counts["kept"] == (60, 60, 60, 60, 60, 6, 60, 60, 60, 6)
    assert counts["oversample"] == (60,) * 10
    assert sum(counts["weighted-sampler"]) == 492
    assert min(counts["weighted-sampler"]) > 25  # 49 expected of each
    figure = imbalance.distributions_figure(counts, [5, 9])
    assert [axes.get_title(loc="left") for axes in figure.axes] == [
        "training files: 600 images",
        "kept: 492 images",
        "weighted-sampler: 492 images",
        "oversample: 600 images",
    ]


def test_training_in_0_to_255_and_testing_in_0_to_1_is_what_went_wrong() -> None:
    pictures = [make_pictures(n, seed) for seed, n in enumerate((600, 100))]
    train, test = (Images(x.astype("uint8"), y.astype("int64"), ("", "")) for x, y in pictures)
    wrong, right = imbalance.mistaken_accuracy(config_of("c-random-oversampling"), "cross_entropy", train, test, 2)
    assert len(wrong.values) == 2
    assert wrong.mean < 0.5 < right.mean


def test_the_imbalance_page_compares_with_doing_nothing() -> None:
    labels = np.arange(100) % 10
    missed = np.where(labels == 5, 7, labels)
    none, sampler = [[scores_for(p), scores_for(q)] for p, q in ((missed, missed), (labels, missed))]
    outcomes = {
        "none": imbalance.outcome(none, labels, [5, 9]),
        "weighted-sampler": imbalance.outcome(sampler, labels, [5, 9]),
    }
    counts = {"training files": (60,) * 10, "kept": (60,) * 9 + (6,), "oversample": (60,) * 10}
    mistakes = {"cross_entropy": (share_spread([0.2]), share_spread([0.85]))}
    text = imbalance.page(outcomes, counts, mistakes, [10] * 10, [5, 9], "today")
    assert (
        "| none | 90.00 [90.00, 90.00] | 90.00 [90.00, 90.00] | 50.00 [50.00, 50.00] | 100.00 [100.00, 100.00] |  |"
        in text
    )
    assert "| weighted-sampler | 95.00 [31.47, 100.00] |" in text
    assert "| +5.00 [-58.53, +68.53] |" in text
    assert "| oversample | not run yet |  |  |  |  |" in text
    assert "| **Sandal** | 0.00 [0.00, 0.00] | not run yet | 50.00 [0.00, 100.00] | not run yet |" in text
    assert "| cross_entropy | 20.00 | 85.00 |" in text
    assert "the two are the same figure here" in text


@pytest.mark.ray
def test_a_system_is_trained_once_by_the_command_line_and_becomes_a_row(
    joined: CommandLine, tiny_recipes: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    recipe = tiny_recipes / "b-regularised-cnn.yaml"
    trained = joined("train", recipe, "--seeds", 2, "--data-dir", joined.data_dir)
    assert trained.code == 0, trained.err
    monkeypatch.setenv("FMNIST_TUNE_MD5SUMS", joined.environment["FMNIST_TUNE_MD5SUMS"])
    monkeypatch.setenv("PYTHONPATH", os.getcwd())
    words = [
        "--only", "b-regularised-cnn", "--seeds", "2", "--best-epoch",
        "--recipes", str(tiny_recipes), "--studies-dir", str(joined.folder / "studies"),
        "--data-dir", str(joined.data_dir), "--page", str(joined.folder / "systems.md"),
    ]  # fmt: skip
    systems.main(words)
    assert "nothing was left to train" in capfd.readouterr().err  # it asks for the same training
    folder = joined.folder / "studies" / "b-regularised-cnn"
    metrics = json.loads((folder / "model" / "metrics.json").read_text())
    curve = json.loads((folder / "best_epoch.json").read_text())["test_accuracy"]
    assert len(curve) == 2
    assert curve[-1] == metrics["test_accuracy"]["values"][0]  # the same training as the recipe's seed 0
    page = (joined.folder / "systems.md").read_text()
    system = next(s for s in systems.SYSTEMS if s.best_epoch is not None)
    assert f"| {' | '.join(systems.system_row(system, metrics))} |" in page
    assert f"| {' | '.join(systems.best_epoch_row(system, curve))} |" in page
    assert page.count("not run yet") == len(systems.SYSTEMS) - 1

    systems.main(["--only", "--best-epoch", *words[words.index("--recipes") :]])
    assert (joined.folder / "systems.md").read_text() == page
    with_uses = joined("show", "b-regularised-cnn")
    assert "the test set has been opened 2 times for this study" in with_uses.out  # by train, and for the best epoch


@pytest.mark.ray
def test_a_recipe_that_keeps_a_share_of_a_class_is_trained_once_and_becomes_a_row(
    joined: CommandLine, tiny_recipes: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = (
        "train",
        tiny_recipes / "imbalance-oversample.yaml",
        "--seeds",
        1,
        "--data-dir",
        joined.data_dir,
        "--json",
    )
    first = joined(*words)
    assert first.code == 0, first.err
    again = joined.here(*words)
    assert "nothing was left to train" in again.err
    assert again.json == first.json

    monkeypatch.setenv("FMNIST_TUNE_MD5SUMS", joined.environment["FMNIST_TUNE_MD5SUMS"])
    page = joined.folder / "imbalance.md"
    places = {"--recipes": tiny_recipes, "--studies-dir": joined.folder / "studies", "--data-dir": joined.data_dir}
    imbalance.main(["--only", "--seeds", "1", "--page", str(page), *(str(w) for pair in places.items() for w in pair)])
    accuracy = 100 * first.json["test_accuracy"]["mean"]
    assert f"| oversample | {accuracy:.2f} | {accuracy:.2f} |" in page.read_text()
    assert page.read_text().count("| not run yet |  |") == 3
    assert page.with_suffix(".png").read_bytes().startswith(b"\x89PNG")
