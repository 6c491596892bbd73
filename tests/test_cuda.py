"""Training on a GPU; skipped where there is none, as in CI."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from fmnist_tune.tasks.images import ImageConfig
from fmnist_tune.training.checkpoint import load_checkpoint, save_checkpoint
from fmnist_tune.training.results import EpochResult
from fmnist_tune.training.run import TrainingRun
from fmnist_tune.training.step import WARM_UP_STEPS
from fmnist_tune.training.tensors import TrainingData
from tests.conftest import TINY_SPACE, CommandLine, make_pictures

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")

CNN = {"name": "cnn", "channels": [8, 16], "dropout": 0.3}


def make_run(device: str = "cuda", *, graphed: bool = True, **training: Any) -> TrainingRun:
    trial = ImageConfig.model_validate(
        {
            "model": CNN,
            "training": {"epochs": 3, "batch_size": 32, "average_weights": True, **training},
            "data": {"val_size": 100},
        }
    )
    images, labels = make_pictures(600, 0)
    data = TrainingData.from_images(images.astype("uint8"), labels.astype("int64"), trial.data, device)
    return TrainingRun(trial, data, seed=0, device=device, graphed=graphed)


def numbers(results: list[EpochResult]) -> list[tuple[float, ...]]:
    return [(r.train_loss, r.train_accuracy, r.val_loss, r.val_accuracy, r.lr) for r in results]


def weights(run: TrainingRun) -> list[torch.Tensor]:
    return [*run.model.state_dict().values(), *run.scored_model.state_dict().values()]


@pytest.mark.parametrize(
    "training",
    [
        {"optimizer": {"name": "adamw"}, "augment": {"flip": True, "shift": 2}, "schedule": "one_cycle"},
        {"optimizer": {"name": "adam", "weight_decay": 1e-4}, "augment": {"rotate": 10, "erase": 0.5}},
        {"optimizer": {"name": "sgd", "lr": 0.05, "momentum": 0.9, "nesterov": True}, "schedule": "cosine"},
        {"optimizer": {"name": "rmsprop"}, "label_smoothing": 0.1},
        {"optimizer": {"name": "adam"}, "loss": "mse"},
    ],
    ids=lambda training: "-".join([training["optimizer"]["name"], *sorted(training)]),
)
def test_a_graph_of_a_step_gives_what_its_kernels_give_one_by_one(training: dict[str, Any]) -> None:
    graphed, plain = make_run(**training), make_run(**training, graphed=False)
    assert numbers(list(graphed.epochs())) == numbers(list(plain.epochs()))
    for one, other in zip(weights(graphed), weights(plain), strict=True):
        assert torch.equal(one, other)


def test_most_steps_are_taken_as_a_graph() -> None:
    run = make_run()
    n_launched = 0

    def count(module: torch.nn.Module, arguments: object) -> None:  # not called when a graph is replayed
        nonlocal n_launched
        n_launched += module.training

    run.model.register_forward_pre_hook(count)
    list(run.epochs())
    assert n_launched == WARM_UP_STEPS + 1 + 3  # the recorded one, and each epoch's last, smaller batch


@pytest.mark.parametrize("then", ["cuda", "cpu"])
@pytest.mark.parametrize("first", ["cuda", "cpu"])
def test_a_training_goes_on_from_a_checkpoint_on_either_device(first: str, then: str, tmp_path: Path) -> None:
    training = {"optimizer": {"name": "adamw"}, "schedule": "one_cycle"}
    begun, path = make_run(first, **training), tmp_path / "checkpoint.pt"
    next(begun.epochs())
    save_checkpoint(begun, path)
    continued = make_run(then, **training)
    assert load_checkpoint(continued, path) is None
    results = list(continued.epochs())
    assert [result.epoch for result in results] == [2, 3]
    if first == then:
        assert numbers(results) == numbers(list(begun.epochs()))


def test_a_training_goes_on_within_an_epoch_as_if_it_had_not_stopped(tmp_path: Path) -> None:
    training = {"optimizer": {"name": "adam"}, "augment": {"flip": True, "shift": 1}}
    undisturbed, begun, path = make_run(**training), make_run(**training), tmp_path / "checkpoint.pt"
    expected = numbers(list(undisturbed.epochs()))
    assert next(begun.progress([0.6])).epoch == 0.6
    save_checkpoint(begun, path)
    continued = make_run(**training)
    assert load_checkpoint(continued, path) is None
    assert numbers(list(continued.epochs())) == expected
    for one, other in zip(weights(continued), weights(undisturbed), strict=True):
        assert torch.equal(one, other)


def test_trials_share_a_gpu_and_what_is_retrained_there_predicts_the_test_pictures(command: CommandLine) -> None:
    run = command.search(TINY_SPACE, "--workers", "2", "--json")
    assert run.code == 0, run.err
    assert "2 workers, each with 1 CPU and 0.5 GPU" in run.err
    trials = command("show", "tiny", "--json").json["all"]
    assert {trial["state"] for trial in trials} <= {"complete", "pruned"}
    assert all(torch.cuda.get_device_name() in trial["attributes"]["ran_on"] for trial in trials)
    retrained = command("retrain", "tiny", "--seeds", "2", "--data-dir", command.data_dir)
    assert retrained.code == 0, retrained.err
