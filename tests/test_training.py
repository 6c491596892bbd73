"""Models and training: shapes, numbers that are known, and runs that repeat to the bit."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from fmnist_tune.config.schema import Optimizer
from fmnist_tune.models.cnn import Cnn
from fmnist_tune.models.layers import n_params
from fmnist_tune.models.mlp import Mlp
from fmnist_tune.tasks.images import ImageConfig
from fmnist_tune.tasks.images.config import Augment
from fmnist_tune.tasks.images.fashion_mnist import FASHION_MNIST, FashionMnist
from fmnist_tune.training import averaging
from fmnist_tune.training.augment import augment_batch
from fmnist_tune.training.checkpoint import CheckpointError, load_checkpoint, save_checkpoint
from fmnist_tune.training.loss import criterion
from fmnist_tune.training.optimizers import build_optimizer, lr_factor
from fmnist_tune.training.partial_epoch import PartialEpoch
from fmnist_tune.training.precision import Precision, choose_precision
from fmnist_tune.training.results import EpochResult, best_epoch
from fmnist_tune.training.run import NonFiniteLossError, TrainingRun
from fmnist_tune.training.tensors import TrainingData
from tests.conftest import make_pictures

FLOAT32 = Precision(bf16=False, channels_last=False)


def config(**sections: Any) -> ImageConfig:
    sections.setdefault("model", {"name": "mlp", "hidden": [16]})
    sections.setdefault("data", {"val_size": 100})
    return ImageConfig.model_validate(sections)


def data_for(trial: ImageConfig) -> TrainingData:
    images, labels = make_pictures(600, 0)
    return TrainingData.from_images(images.astype("uint8"), labels.astype("int64"), trial.data, "cpu")


def make_run(trial: ImageConfig, seed: int = 0, **kwargs: Any) -> TrainingRun:
    torch.set_num_threads(1)
    return TrainingRun(trial, data_for(trial), seed=seed, **kwargs)


def numbers(results: list[EpochResult]) -> list[tuple[float, ...]]:
    return [(r.train_loss, r.train_accuracy, r.val_loss, r.val_accuracy, r.lr) for r in results]


@pytest.mark.parametrize(
    ("section", "expected"),
    [
        ({"name": "mlp", "hidden": [128, 64]}, 784 * 128 + 128 + 128 * 64 + 64 + 64 * 10 + 10),
        ({"name": "mlp", "depth": 0}, 784 * 10 + 10),
        (
            {"name": "mlp", "depth": 2, "width": 32, "norm": "batch"},
            784 * 32 + 32 + 64 + 32 * 32 + 32 + 64 + 330,
        ),
    ],
)
def test_an_mlp_has_the_layers_its_section_says(section: dict[str, Any], expected: int) -> None:
    model = Mlp.model_validate(section).build(FASHION_MNIST)
    assert n_params(model) == expected
    assert model(torch.zeros(3, 1, 28, 28)).shape == (3, 10)


def test_lenet_can_be_written_down() -> None:
    section = {
        "name": "cnn",
        "channels": [6, 16],
        "kernel_size": 5,
        "padding": "valid",
        "norm": "none",
        "pool": "avg",
        "head": [120, 84],
    }
    cnn = Cnn.model_validate(section)
    assert cnn.feature_sizes(32) == [32, 14, 5]
    assert (
        n_params(cnn.build(FASHION_MNIST.padded(2))) == 61_706
    )  # the original's, without its sparse connections, at one channel


@pytest.mark.parametrize("activation", ["relu", "leaky_relu", "gelu", "silu", "tanh"])
@pytest.mark.parametrize("pool", ["max", "avg"])
def test_pooling_before_the_activation_changes_no_output(activation: str, pool: str) -> None:
    section = {"name": "cnn", "channels": [4], "activation": activation, "pool": pool, "norm": "none"}
    model = Cnn.model_validate(section).build(FASHION_MNIST)
    conv = next(m for m in model.modules() if isinstance(m, nn.Conv2d))
    acts = {
        "relu": nn.ReLU(),
        "leaky_relu": nn.LeakyReLU(0.01),
        "gelu": nn.GELU(),
        "silu": nn.SiLU(),
        "tanh": nn.Tanh(),
    }
    textbook = nn.Sequential(
        conv, acts[activation], nn.MaxPool2d(2) if pool == "max" else nn.AvgPool2d(2), nn.Flatten(), model[-1]
    )
    x = torch.randn(5, 1, 28, 28)
    torch.testing.assert_close(model(x), textbook(x))


def test_a_residual_block_adds_its_input() -> None:
    cnn = Cnn.model_validate({"name": "cnn", "channels": [4], "residual": True, "convs_per_block": 2, "norm": "none"})
    model = cnn.build(FASHION_MNIST)
    body, shortcut = model[0][0].body, model[0][0].shortcut
    with torch.no_grad():
        body[-2].weight.zero_()
        body[-2].bias.zero_()
        x = torch.randn(2, 1, 28, 28)
        torch.testing.assert_close(model[0][0](x), shortcut(x))


@pytest.mark.parametrize(
    "section",
    [{"name": "cnn", "channels": [4], "dropout": 0.5}, {"name": "torchvision", "architecture": "squeezenet1_1"}],
)
def test_a_picture_and_its_mirror_image_score_the_same_where_both_are_asked_for(section: dict[str, Any]) -> None:
    config = ImageConfig.model_validate({"model": {**section, "tta": "flip"}})
    torch.manual_seed(0)
    model = config.build().eval()
    torch.manual_seed(0)
    plain = ImageConfig.model_validate({"model": section}).build().eval()
    x = torch.randn(3, 1, 28, 28)
    with torch.no_grad():
        torch.testing.assert_close(model(x), model(x.flip(3)))
        torch.testing.assert_close(model(x), (plain(x) + plain(x.flip(3))) / 2)
        model.train(), plain.train()
        torch.manual_seed(1)
        scores = model(x)
        torch.manual_seed(1)
        torch.testing.assert_close(scores, plain(x))


def test_lr_schedules_are_torchs_own() -> None:
    steps = 100
    for name, make in {
        "cosine": lambda o: torch.optim.lr_scheduler.CosineAnnealingLR(o, steps),
        "constant": lambda o: torch.optim.lr_scheduler.ConstantLR(o, 1.0),
        "step": lambda o: torch.optim.lr_scheduler.MultiStepLR(o, [steps // 2, steps * 3 // 4]),
    }.items():
        optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
        scheduler = make(optimizer)
        for step in range(steps):
            assert lr_factor(name, step / steps) == pytest.approx(optimizer.param_groups[0]["lr"]), (
                name,
                step,
            )
            optimizer.step()
            scheduler.step()


def test_one_cycle_starts_peaks_and_ends_where_torchs_does() -> None:
    assert lr_factor("one_cycle", 0.0) == pytest.approx(1 / 25)
    assert lr_factor("one_cycle", 0.3) == pytest.approx(1.0)
    assert lr_factor("one_cycle", 0.999999) == pytest.approx(1 / 25e4, abs=1e-6)


def test_a_run_follows_its_schedule_also_when_it_stops_early() -> None:
    training = {"epochs": 4, "batch_size": 50, "schedule": "one_cycle", "optimizer": {"name": "sgd", "lr": 0.1}}
    run = make_run(config(training=training), n_epochs=2)
    rates: list[float] = []
    run.optimizer.register_step_post_hook(lambda optimizer, *_: rates.append(optimizer.param_groups[0]["lr"]))
    results = list(run.epochs())
    assert rates == pytest.approx([0.1 * lr_factor("one_cycle", step / 40) for step in range(20)])
    assert [r.lr for r in results] == [rates[9], rates[19]]


@pytest.mark.parametrize("loss", ["cross_entropy", "mse"])
def test_label_smoothing_spreads_a_share_over_all_classes(loss: str) -> None:
    scores_NK, y_N = torch.randn(7, 10), torch.arange(7)
    target_NK = nn.functional.one_hot(y_N, 10) * 0.8 + 0.2 / 10
    expected = {
        "cross_entropy": -(target_NK * scores_NK.log_softmax(1)).sum(1).mean(),
        "mse": (scores_NK.softmax(1) - target_NK).square().mean(),
    }
    trial = config(training={"loss": loss, "label_smoothing": 0.2})
    torch.testing.assert_close(criterion(trial, y_N)(scores_NK, y_N), expected[loss])


@pytest.mark.parametrize(
    ("model", "batch_size", "fast_bf16", "expected"),
    [
        ({"name": "cnn"}, 64, True, "bf16 channels_last"),
        ({"name": "cnn"}, 64, False, "float32 channels_last"),
        ({"name": "mlp", "hidden": [512, 256]}, 64, True, "bf16"),
        ({"name": "mlp", "hidden": [512, 256]}, 64, False, "float32"),
        ({"name": "mlp", "hidden": [128, 64]}, 64, True, "float32"),
    ],
)
def test_the_number_format_follows_from_the_model_and_the_processor(
    model: dict[str, Any], batch_size: int, fast_bf16: bool, expected: str
) -> None:
    trial = config(model=model, training={"batch_size": batch_size})
    assert str(choose_precision(trial, fast_bf16=fast_bf16)) == expected


@pytest.mark.parametrize("name", ["sgd", "nesterov", "adam", "adamw", "rmsprop"])
def test_optimizers_update_as_torchs_plain_ones_do(name: str) -> None:
    momentum: dict[str, Any] = {"momentum": 0.9} if name in ("sgd", "nesterov", "rmsprop") else {}
    if name == "nesterov":
        name, momentum = "sgd", {**momentum, "nesterov": True}
    section = Optimizer.model_validate({"name": name, "lr": 0.05, "weight_decay": 0.01, **momentum})
    plain = {
        "sgd": torch.optim.SGD,
        "adam": torch.optim.Adam,
        "adamw": torch.optim.AdamW,
        "rmsprop": torch.optim.RMSprop,
    }[name]
    start = torch.randn(5)
    ours, theirs = nn.Parameter(start.clone()), nn.Parameter(start.clone())
    optimizers = build_optimizer([ours], section), plain([theirs], lr=0.05, weight_decay=0.01, **momentum)
    for _ in range(5):
        for parameter, optimizer in zip((ours, theirs), optimizers, strict=True):
            optimizer.zero_grad()
            (parameter**3).sum().backward()
            optimizer.step()
    torch.testing.assert_close(ours, theirs)


def test_training_learns_the_bars() -> None:
    trial = config(training={"epochs": 5, "batch_size": 32, "optimizer": {"name": "adam", "lr": 0.01}})
    results = list(make_run(trial).epochs())
    assert [r.epoch for r in results] == [1, 2, 3, 4, 5]
    assert results[-1].val_accuracy > 0.95
    assert results[-1].n_images == 500
    assert results[-1].lr == 0.01


@pytest.mark.parametrize(
    "sections",
    [
        {"model": {"name": "mlp", "hidden": [16], "dropout": 0.3, "norm": "batch"}},
        {"model": {"name": "cnn", "channels": [4, 8], "dropout": 0.2, "dropout2d": 0.1, "head": [8]}},
        {"training": {"augment": {"flip": True, "shift": 2, "rotate": 10, "scale": 0.1, "erase": 0.5}}},
        {
            "training": {
                "optimizer": {"name": "sgd", "lr": 0.1, "momentum": 0.9, "nesterov": True},
                "schedule": "one_cycle",
            }
        },
        {
            "training": {"optimizer": {"name": "rmsprop"}, "loss": "mse"},
            "data": {"val_size": 100, "mitigation": "weighted_sampler"},
        },
        {"data": {"val_size": 100, "keep": {3: 0.2}, "mitigation": "oversample"}},
        {"training": {"average_weights": True}, "model": {"name": "mlp", "hidden": [16], "norm": "batch"}},
    ],
)
def test_a_run_that_goes_on_from_a_checkpoint_ends_with_the_same_bits(sections: dict[str, Any], tmp_path: Path) -> None:
    sections = {**sections, "training": {"epochs": 4, "batch_size": 64, **sections.get("training", {})}}
    undisturbed = make_run(config(**sections))
    expected = numbers(list(undisturbed.epochs()))

    first = make_run(config(**sections))
    list(itertools.islice(first.epochs(), 2))
    save_checkpoint(first, tmp_path / "checkpoint.pt")
    torch.manual_seed(12345)  # whatever ran in between
    second = make_run(config(**sections))
    assert load_checkpoint(second, tmp_path / "checkpoint.pt") is None
    assert numbers(list(second.epochs())) == expected[2:]
    assert numbers(second.history) == expected
    for ours, theirs in zip(undisturbed.scored_model.parameters(), second.scored_model.parameters(), strict=True):
        assert torch.equal(ours, theirs)


def test_what_counts_is_the_average_of_the_weights_where_that_is_asked_for() -> None:
    """Polynomial-decay averaging, by its definition: of n states the k-th weighs as much as the updates leave of it."""
    sections = {"model": {"name": "mlp", "hidden": [8], "norm": "batch"}}
    training = {"epochs": 2, "batch_size": 25, "optimizer": {"name": "sgd", "lr": 0.05}}
    plain = make_run(config(**sections, training=training))
    run = make_run(config(**sections, training={**training, "average_weights": True}))
    states = []
    train_batch = run.train_batch

    def noted(*args: Any) -> Any:
        trained = train_batch(*args)
        states.append({key: value.clone() for key, value in run.model.state_dict().items()})
        return trained

    run.train_batch = noted  # type: ignore[assignment]
    results = list(run.epochs())
    seen = [states[i] for i in (7, 15, 19, 27, 35, 39)]  # every eighth step of an epoch, and its last
    expected = {key: value.double() for key, value in seen[0].items()}
    for n, state in enumerate(seen[1:], start=2):
        weight = (averaging.ETA + 1) / (n + averaging.ETA)
        expected = {key: (1 - weight) * expected[key] + weight * state[key] for key in expected}
    kept = run.scored_model.state_dict()
    for key in expected:
        if key.endswith("num_batches_tracked"):
            assert kept[key] == 40
        else:
            torch.testing.assert_close(kept[key].double(), expected[key], rtol=1e-5, atol=1e-6)

    plainly = list(plain.epochs())
    assert [r.train_loss for r in results] == [r.train_loss for r in plainly], "the training itself is the same"
    assert [r.val_loss for r in results] != [r.val_loss for r in plainly]
    assert run.evaluate(run.data.x_val, run.data.y_val)[1] == results[-1].val_accuracy


def test_an_average_of_nothing_is_not_scored() -> None:
    run = make_run(config(training={"average_weights": True}))
    assert run.scored_model is run.model


def test_evaluations_within_an_epoch_change_nothing_of_what_is_trained() -> None:
    sections = {"training": {"epochs": 2, "batch_size": 64}, "model": {"name": "mlp", "hidden": [8], "dropout": 0.5}}
    expected = numbers(list(make_run(config(**sections)).epochs()))
    run = make_run(config(**sections))
    results = list(run.progress((0.25, 0.5)))
    assert [r.epoch for r in results] == [0.25, 0.5, 1, 2]
    assert all(0 < r.val_accuracy < 1 and r.train_s > 0 and r.val_s > 0 for r in results)
    assert numbers([r for r in results if isinstance(r, EpochResult)]) == expected


def test_accuracies_are_exact_shares_of_the_images() -> None:
    run = make_run(config(training={"epochs": 1, "batch_size": 50}))
    partial, result = run.progress((0.5,))
    assert isinstance(result, EpochResult)
    for accuracy, n in ((partial.val_accuracy, 20), (result.val_accuracy, 100), (result.train_accuracy, 500)):
        assert accuracy == round(accuracy * n) / n


@pytest.mark.parametrize("heard", [True, False])
def test_a_trial_goes_on_within_an_epoch_as_if_it_had_never_paused(heard: bool, tmp_path: Path) -> None:
    training = {"epochs": 2, "batch_size": 16, "augment": {"flip": True}, "average_weights": True}
    trial = config(training=training, model={"name": "cnn", "blocks": 1, "base_channels": 8, "dropout": 0.5})
    expected = list(make_run(trial).progress((0.5,)))
    run = make_run(trial)
    partial = next(run.progress((0.5,)))
    run.partial.train_s = 1000.0
    save_checkpoint(run, tmp_path / "checkpoint.pt")
    again = make_run(trial)
    assert load_checkpoint(again, tmp_path / "checkpoint.pt") is None
    steps: list[None] = []
    again.optimizer.register_step_post_hook(lambda *_: steps.append(None))
    results = list(again.progress(() if heard else (0.5,)))
    assert len(steps) == 16 + 32, "no step is taken twice"
    if not heard:
        repeated = results.pop(0)
        assert (repeated.epoch, repeated.val_accuracy) == (0.5, partial.val_accuracy)
    assert numbers([r for r in results if isinstance(r, EpochResult)]) == numbers(
        [r for r in expected if isinstance(r, EpochResult)]
    )
    assert isinstance(results[0], EpochResult)
    assert results[0].train_s > 1000, "the time before counts"


def test_a_part_of_an_epoch_goes_on_on_the_same_kind_of_device_alone(tmp_path: Path) -> None:
    run = make_run(config())
    next(run.progress((0.5,)))
    state = run.partial.state_dict()
    with pytest.raises(ValueError, match="saved within an epoch on another kind of device than cuda"):
        PartialEpoch("cuda").load_state_dict(state)
    path = tmp_path / "checkpoint.pt"
    run.partial.state_dict = lambda: state | {"random": state["random"] * 2}  # type: ignore[assignment]
    save_checkpoint(run, path)
    with pytest.raises(
        CheckpointError, match=r"checkpoint\.pt: saved within an epoch on another kind of device than cpu"
    ):
        load_checkpoint(make_run(config()), path)


def test_a_checkpoint_of_a_version_that_began_epochs_anew_is_taken_over(tmp_path: Path) -> None:
    run = make_run(config(training={"epochs": 2}))
    next(run.epochs())
    path = tmp_path / "checkpoint.pt"
    save_checkpoint(run, path)
    state = torch.load(path)
    del state["partial"]
    torch.save(state, path)
    again = make_run(config(training={"epochs": 2}))
    assert load_checkpoint(again, path) is None
    assert again.history == run.history
    del state["model"]
    torch.save(state, path)
    with pytest.raises(CheckpointError, match=r"checkpoint\.pt: Error.* in loading state_dict"):
        load_checkpoint(again, path)


def test_a_batch_may_be_a_single_picture_where_the_file_says_so() -> None:
    run = make_run(config(training={"batch_size": 1, "epochs": 1}))
    assert next(run.epochs()).n_images == 500
    assert {len(batch) for batch in make_run(config(training={"batch_size": 499})).draw_batches()} == {499}


def test_the_seed_decides() -> None:
    trial = config(training={"epochs": 1})
    assert numbers(list(make_run(trial, 1).epochs())) == numbers(list(make_run(trial, 1).epochs()))
    assert numbers(list(make_run(trial, 1).epochs())) != numbers(list(make_run(trial, 2).epochs()))


@pytest.mark.parametrize("content", [b"", b"garbage", b"PK\x03\x04 truncated"])
def test_a_damaged_checkpoint_is_refused(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pt"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"checkpoint\.pt"):
        load_checkpoint(make_run(config()), path)


def test_a_checkpoint_executes_no_code(tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple[Any, ...]:
            return (Path.touch, (tmp_path / "executed",))

    torch.save({"seed": Trap()}, tmp_path / "checkpoint.pt")
    with pytest.raises(CheckpointError):
        load_checkpoint(make_run(config()), tmp_path / "checkpoint.pt")
    assert not (tmp_path / "executed").exists()


def test_a_checkpoint_of_another_model_is_refused(tmp_path: Path) -> None:
    save_checkpoint(make_run(config()), tmp_path / "checkpoint.pt")
    with pytest.raises(CheckpointError):
        load_checkpoint(make_run(config(model={"name": "mlp", "hidden": [3]})), tmp_path / "checkpoint.pt")


def test_a_loss_that_explodes_is_named() -> None:
    trial = config(training={"epochs": 3, "loss": "cross_entropy", "optimizer": {"name": "sgd", "lr": 1e30}})
    with pytest.raises(NonFiniteLossError, match=r"loss is (nan|inf) in epoch 1, step \d+ \(lr 1e\+30\)"):
        list(make_run(trial).epochs())


def test_early_stopping_ends_after_so_many_epochs_without_improvement() -> None:
    trial = config(training={"epochs": 50, "early_stopping": 2, "optimizer": {"name": "sgd", "lr": 1e-12}})
    run = make_run(trial)
    results = list(run.epochs())
    assert len(results) == 3
    assert run.stop_reason == "early_stopping"
    assert best_epoch(results) == 1


def test_oversampling_and_weights_balance_the_classes() -> None:
    rare = {"val_size": 100, "keep": {5: 0.1}}
    run = make_run(config(data={**rare, "mitigation": "oversample"}))
    order = run.draw_order()
    assert torch.bincount(run.data.y_train[order]).tolist() == [50] * 10
    run = make_run(config(data={**rare, "mitigation": "weighted_sampler"}))
    torch.manual_seed(0)
    drawn = torch.bincount(torch.cat([run.data.y_train[run.draw_order()] for _ in range(40)]))
    assert (drawn / drawn.sum()).tolist() == pytest.approx([0.1] * 10, abs=0.01)
    run = make_run(config(data={**rare, "mitigation": "class_weights"}))
    x = torch.zeros(2, 10)
    common, few = run.criterion(x, torch.tensor([0, 0])), run.criterion(x, torch.tensor([5, 5]))
    assert common == pytest.approx(few)  # a weighted mean: weights matter within a batch alone
    mixed = torch.zeros(2, 10)
    mixed[1, 5] = 10.0
    assert run.criterion(mixed, torch.tensor([0, 5])) == pytest.approx((2.3026 * 1 + 0.00041 * 10) / 11, abs=1e-3)


def test_mse_is_taken_between_softmax_and_one_hot() -> None:
    run = make_run(config(training={"loss": "mse"}))
    loss = run.criterion(torch.zeros(4, 10), torch.tensor([0, 1, 2, 3]))
    assert loss.item() == pytest.approx((0.9**2 + 9 * 0.1**2) / 10)


def test_pictures_are_normalised_and_padded() -> None:
    images, labels = make_pictures(600, 0)
    section = FashionMnist.model_validate({"val_size": 100, "mean": 0.5, "std": 0.5, "pad": 2})
    data = TrainingData.from_images(images.astype("uint8"), labels.astype("int64"), section, "cpu")
    assert data.x_train.shape == (500, 1, 32, 32)
    assert data.x_val.shape == (100, 1, 32, 32)
    assert data.x_train[:, :, 0].unique().tolist() == [-1.0]
    assert data.blank == -1.0


def test_flip_mirrors_about_half_of_the_pictures() -> None:
    torch.manual_seed(0)
    x = torch.zeros(1000, 1, 4, 4)
    x[..., 0] = 1
    flipped = augment_batch(x, Augment(flip=True), 0.0)[:, 0, 0, 3].mean().item()
    assert flipped == pytest.approx(0.5, abs=0.06)


def test_shift_moves_by_at_most_the_limit_and_fills_with_blank() -> None:
    torch.manual_seed(0)
    x = torch.full((500, 1, 9, 9), -1.0)
    x[:, 0, 4, 4] = 1
    moved = augment_batch(x, Augment(shift=2), -1.0)
    assert set(moved.unique().tolist()) == {-1.0, 1.0}
    rows, columns = (moved[:, 0] == 1).nonzero()[:, 1:].unbind(1)
    assert len(rows) == 500
    assert sorted(rows.unique().tolist()) == sorted(columns.unique().tolist()) == [2, 3, 4, 5, 6]


def test_rotation_and_scaling_keep_the_middle_and_the_blank() -> None:
    torch.manual_seed(0)
    x = torch.full((50, 1, 29, 29), -1.0)
    x[:, 0, 10:19, 10:19] = 1
    changed = augment_batch(x, Augment(rotate=45, scale=0.3), -1.0)
    assert changed[:, 0, 14, 14].tolist() == pytest.approx([1.0] * 50, abs=1e-5)
    assert changed[:, 0, 0, 0].tolist() == pytest.approx([-1.0] * 50, abs=1e-5)
    assert changed.std(0).max() > 0.3


def test_erasing_blanks_rectangles_of_the_published_sizes() -> None:
    torch.manual_seed(0)
    x = torch.ones(400, 1, 28, 28)
    erased = (augment_batch(x, Augment(erase=1.0), 0.0) == 0).float().mean((1, 2, 3))
    assert erased.min() > 0.01
    assert erased.max() < 0.36
    untouched = augment_batch(x, Augment(erase=0.0), 0.0)
    assert untouched is x


def test_bf16_and_float32_agree_about_the_bars() -> None:
    trial = config(
        model={"name": "cnn", "channels": [4, 8]},
        training={"epochs": 6, "batch_size": 32, "optimizer": {"lr": 0.01}},
    )
    for precision in (FLOAT32, Precision(bf16=True, channels_last=True)):
        results = list(make_run(trial, precision=precision).epochs())
        assert results[-1].val_accuracy > 0.95, precision
