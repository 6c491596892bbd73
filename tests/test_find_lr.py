"""The learning-rate range test: what it suggests on curves that are known, and what it leaves as it was."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from fmnist_tune.tasks.images import ImageConfig
from fmnist_tune.training.lr_range import Sweep, read_lr_range, sweep_losses
from fmnist_tune.training.run import TrainingRun
from fmnist_tune.training.tensors import TrainingData
from tests.conftest import TINY_SPACE, CommandLine, make_pictures
from tests.studies import drive, open_study, report

RECIPE = """\
study: tiny-recipe
model: {name: mlp, hidden: [16]}
training: {epochs: 1, batch_size: 50, optimizer: {name: adam}}
data: {val_size: 100}
"""


def make_run(**sections: Any) -> TrainingRun:
    torch.set_num_threads(1)
    sections = {"model": {"name": "mlp", "hidden": [16]}, "data": {"val_size": 100}, **sections}
    config = ImageConfig.model_validate(sections)
    images, labels = make_pictures(600, 0)
    data = TrainingData.from_images(images.astype("uint8"), labels.astype("int64"), config.data, "cpu")
    return TrainingRun(config, data, seed=0)


def bowl(sweep: Sweep, middle: float, lowest: float) -> list[float]:
    """Return losses that fall from 2 to 1, most steeply at `middle`, and rise again from `lowest` on."""
    logs = np.log10(sweep.rates)
    falling = 2 - 1 / (1 + np.exp(-6 * (logs - math.log10(middle))))
    return [float(loss) for loss in falling + 10 * np.maximum(logs - math.log10(lowest), 0) ** 2]


def test_rates_rise_by_the_same_factor_or_by_the_same_difference() -> None:
    assert Sweep(1e-4, 1e-1, 10).rates == pytest.approx([10 ** (-4 + i / 3) for i in range(10)])
    linear = Sweep(1e-4, 1.0, 100, 30, "linear").rates
    assert (linear[0], linear[-1], len(linear)) == (1e-4, 1.0, 100)
    assert np.diff(linear) == pytest.approx(0.0101)


@pytest.mark.parametrize("mode", ["exponential", "linear"])
@pytest.mark.parametrize(("middle", "lowest"), [(1e-2, 5e-2), (3e-2, 2e-1)])
def test_the_steepest_descent_and_the_lowest_loss_are_found(mode: Any, middle: float, lowest: float) -> None:
    sweep = Sweep(1e-4, 1.0, 400, 1, mode)
    noise = np.random.default_rng(0).normal(0, 0.01, 400)
    found = read_lr_range(sweep, [a + b for a, b in zip(bowl(sweep, middle, lowest), noise, strict=True)])
    assert found.steepest is not None
    assert found.rates[found.steepest] == pytest.approx(middle, rel=0.3)
    assert found.rates[found.lowest] == pytest.approx(lowest, rel=0.4)
    assert not found.diverged


def test_noise_is_smoothed_and_a_constant_stays_what_it_is() -> None:
    sweep = Sweep(steps=100)
    noise = np.random.default_rng(0).normal(0, 1, 100)
    found = read_lr_range(sweep, [3.0 + x for x in noise])
    assert np.std(np.diff(found.smoothed)) < 0.2 * np.std(np.diff(found.losses))
    assert read_lr_range(sweep, [3.0] * 100).smoothed == pytest.approx([3.0] * 100)


def test_a_loss_that_never_falls_gives_no_suggestion() -> None:
    sweep = Sweep(steps=10)
    found = read_lr_range(sweep, [1.0 + i for i in range(10)])
    assert (found.steepest, found.lowest) == (None, 0)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ((1e-1, 1e-2), "0 < low < high must hold, but low is 0.1 and high is 0.01"),
        ((0.0, 1.0), "0 < low < high must hold, but low is 0 and high is 1"),
        ((1e-5, math.inf), "0 < low < high must hold, but low is 1e-05 and high is inf"),
        ((1e-5, 1.0, 9), "at least 10 steps of at least 1 batch are needed, but there are 9 of 1"),
        ((1e-5, 1.0, 10, 0), "at least 10 steps of at least 1 batch are needed, but there are 10 of 0"),
    ],
)
def test_a_sweep_that_makes_no_sense_is_refused(values: tuple[Any, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Sweep(*values)


@pytest.mark.parametrize("optimizer", [{"name": "adam"}, {"name": "sgd", "momentum": 0.9}])
@pytest.mark.parametrize("model", [{"name": "mlp", "hidden": [16], "norm": "batch"}, {"name": "cnn", "channels": [4]}])
def test_model_and_optimizer_are_as_they_were_and_train_as_if_nothing_had_been(
    model: dict[str, Any], optimizer: dict[str, Any]
) -> None:
    training = {"epochs": 1, "batch_size": 50, "optimizer": optimizer}
    run = make_run(model=model, training=training)
    before = {name: tensor.clone() for name, tensor in run.model.state_dict().items()}
    losses = list(sweep_losses(run, Sweep(1e-4, 1e-1, 20)))
    assert len(losses) == 20
    assert all(torch.equal(tensor, before[name]) for name, tensor in run.model.state_dict().items())
    assert run.optimizer.state_dict()["state"] == {}
    assert run.optimizer.param_groups[0]["lr"] == 1e-3
    undisturbed = make_run(model=model, training=training)
    assert [r.train_loss for r in run.epochs()] == [r.train_loss for r in undisturbed.epochs()]


def test_a_sweep_that_is_left_early_puts_everything_back_too() -> None:
    run = make_run()
    before = {name: tensor.clone() for name, tensor in run.model.state_dict().items()}
    losses = sweep_losses(run, Sweep())
    next(losses)
    assert not all(torch.equal(tensor, before[name]) for name, tensor in run.model.state_dict().items())
    losses.close()
    assert all(torch.equal(tensor, before[name]) for name, tensor in run.model.state_dict().items())


def test_a_step_is_the_mean_over_its_batches_across_epochs() -> None:
    sweep = Sweep(1e-3, 1.001e-3, 10, 4)  # 40 batches, where an epoch has 4
    losses = list(sweep_losses(make_run(), sweep))
    single = list(sweep_losses(make_run(), Sweep(1e-3, 1.001e-3, 40)))
    assert losses[0] == pytest.approx(np.mean(single[:4]), rel=1e-3)
    assert losses[-1] == pytest.approx(np.mean(single[36:]), rel=1e-2)
    assert losses[-1] < 0.8 * losses[0]


def test_the_same_seed_gives_the_same_losses() -> None:
    assert list(sweep_losses(make_run(), Sweep(steps=20))) == list(sweep_losses(make_run(), Sweep(steps=20)))


def test_a_sweep_ends_when_the_loss_diverges() -> None:
    sweep = Sweep(1e-3, 1e6, 60)
    losses = list(sweep_losses(make_run(training={"optimizer": {"name": "sgd"}}), sweep))
    assert 10 < len(losses) < 60
    assert all(math.isfinite(loss) for loss in losses)
    assert losses[-1] > 4 * min(losses)
    assert read_lr_range(sweep, losses).diverged


def test_find_lr_writes_the_plot_and_says_what_it_found(command: CommandLine) -> None:
    (command.folder / "recipe.yaml").write_text(RECIPE)
    words = ("find-lr", "recipe.yaml", "--data-dir", command.data_dir, "--to", "10", "--steps", "40")
    result = command.here(*words, "--json")
    assert result.code == 0, result.err
    out = result.json
    assert set(out) == {
        "study",
        "mode",
        "rates",
        "losses",
        "smoothed",
        "suggested",
        "lowest",
        "diverged",
        "notes",
        "plot",
        "numbers",
    }
    assert (out["study"], out["mode"], out["plot"]) == (
        "tiny-recipe",
        "exponential",
        "studies/tiny-recipe/lr_range.png",
    )
    assert len(out["rates"]) == len(out["losses"]) == len(out["smoothed"]) <= 40
    assert out["rates"][0] == pytest.approx(1e-5)
    assert 1e-4 < out["suggested"] < out["lowest"] < 1
    with Image.open(command.folder / out["plot"]) as picture:
        assert picture.size == (1350, 756)
    kept = json.loads((command.folder / out["numbers"]).read_text())
    assert kept == {key: out[key] for key in out if key not in ("plot", "numbers")}
    linear = ("--mode", "linear", "--from", "1e-4", "--to", "0.05", "--batches-per-step", "2")
    shown = command.here(*words, *linear, "--output", "elsewhere/plot.png")
    assert shown.code == 0, shown.err
    assert "suggested: training.optimizer.lr: " in shown.out
    assert "of 40 rates one in 2 is shown; --json has all" in shown.out
    assert "the smoothed loss is lowest at " in shown.out
    assert "plot: elsewhere/plot.png" in shown.out
    assert (command.folder / "elsewhere" / "plot.png").is_file()


def test_find_lr_takes_a_studys_best_trial_whatever_the_users_matplotlib_settings(command: CommandLine) -> None:
    space = "study: s\n" + RECIPE.partition("\n")[2].replace("hidden: [16]", "hidden: {choice: [[16], [8]]}")
    (command.folder / "studies").mkdir()
    driver = drive(open_study(command.folder / "studies", space))
    assignment = driver.next_assignment()
    assert assignment is not None
    driver.on_report(report(assignment.number, [0.9], stop="epochs"))
    (command.folder / "rc").write_text("text.usetex: True\nfont.family: No Such Font\nfigure.dpi: 10\n")
    command.environment["MPLBACKEND"] = "module://no_such_package.backend_inline"
    command.environment["MATPLOTLIBRC"] = str(command.folder / "rc")
    result = command("find-lr", "s", "--data-dir", command.data_dir, "--steps", "10", "--output", "p.png", "--json")
    assert result.code == 0, result.err
    assert (result.json["study"], result.json["plot"], result.json["numbers"]) == ("s", "p.png", "p.json")
    with Image.open(command.folder / "p.png") as picture:
        assert picture.size == (1350, 756)
    again = command.here("find-lr", "s", "--output", "p.png")
    assert (again.code, again.out) == (2, "")
    assert "--output p.png: p.png is there already; --force replaces it" in again.err
    absent = command.here("find-lr", "s", "--trial", "7")
    assert "--trial 7: study 's' has trials 0 to 0" in absent.err


def test_find_lr_refuses_what_it_cannot_sweep(command: CommandLine) -> None:
    (command.folder / "recipe.yaml").write_text(RECIPE)
    (command.folder / "space.yaml").write_text(TINY_SPACE)
    for words, message in (
        (
            ("space.yaml",),
            "space.yaml: not a recipe: it searches model.dropout, training.batch_size, training.optimizer.lr; `fmnist-tune search space.yaml` runs it",
        ),
        (
            ("recipe.yaml", "--from", "1", "--to", "0.1"),
            "--from 1 --to 0.1 --steps 100: 0 < low < high must hold, but low is 1 and high is 0.1",
        ),
        (("recipe.yaml", "--steps", "5"), "--steps 5: at least 10 steps of at least 1 batch are needed"),
        (
            ("recipe.yaml", "--from", "-1"),
            "argument --from: '-1' is not a learning rate; use a number above 0, such as 1e-4",
        ),
        (("recipe.yaml", "--to", "nan"), "argument --to: 'nan' is not a learning rate"),
        (("recipe.yaml", "--data-dir", "nowhere"), "--data-dir nowhere: no such directory"),
        (("recipe.yaml", "--output", "x.txt"), "--output x.txt: the plot is a PNG file; its name has to end in .png"),
        (("recipe.yaml", "--output", "."), "--output .: a directory; name a PNG file, such as lr_range.png"),
        (("recipe.yaml", "--output", "recipe.yaml/y.png"), "recipe.yaml: cannot be written to: "),
    ):
        result = command.here("find-lr", *words)
        assert result.code == 2, result.err
        assert message in result.err
    assert not (command.folder / "studies").exists()
