"""Every system of the five reports beside its reported figure: `python -m benchmarks.systems`.

Trains each recipe with `fmnist-tune train`, which scores each seed's model on the test set once, after the last
epoch, and writes docs/case-studies/systems.md. What is trained already is not trained again; what is not yet is a row
that says so.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from benchmarks.recipes import Recipes, add_options, machine, measured_when, percent, table
from fmnist_tune.data.fashion_mnist import load_part
from fmnist_tune.data.fetch import locate_data
from fmnist_tune.evaluation import accuracy, next_value_ci95, share_spread
from fmnist_tune.study.database import database_url, open_database
from fmnist_tune.study.layout import read_json, write_atomically
from fmnist_tune.study.record import StudyRecord
from fmnist_tune.training.run import TrainingRun
from fmnist_tune.training.tensors import TrainingData, pixels

BEST_EPOCH = "best_epoch.json"
BEST_EPOCH_SEED = 0  # of the recipe's own seeds: its last epoch must be that seed's figure again


@dataclass(frozen=True)
class System:
    """A system as its report describes it; the figures are those of the project's list of systems.

    Attributes:
        recipe: its file's name.
        what: it is.
        reported: test accuracies in per cent, of one run each; none if the report gives none.
        best_epoch: the epoch that was counted because it was the best on the test set; None for the last one.
        curve: test accuracies in per cent of the first epochs, where the report has them.
        remark: what else the report says.
    """

    recipe: str
    what: str
    reported: tuple[float, ...]
    best_epoch: int | None = None
    curve: tuple[float, ...] = ()
    remark: str = ""


SYSTEMS = (
    System("a-baseline", "A: MLP 784-128-64-10, Adam 0.001, batch 64", (86.58, 88.33), remark="two runs"),
    System("a-deeper", "A: MLP 784-256-128-64-10, Adam 0.0005, batch 64", (88.54,)),
    System("a-wider", "A: MLP 784-512-256-10, Adam 0.001, batch 128", (88.62,)),
    System(
        "b-regularised-cnn",
        "B: CNN 32-64-128 with batch norm and dropout, 512, SGD 0.155, batch 32",
        (92.54,),
        best_epoch=23,
        curve=(87.36, 88.62, 89.59, 90.71, 90.66),
        remark="best of 23 epochs",
    ),
    System("c-mse-sgd", "C: MLP 784-128-64-10, MSE, SGD 0.01 with momentum 0.9", (84.05,)),
    System("c-leaky-adam", "C: MLP 784-128-64-32-10, LeakyReLU, MSE, Adam 0.001", (88.10,)),
    System("c-before-mitigation", "C: MLP 784-128-64-10, MSE, Adam 0.001", (87.36,)),
    System(
        "c-random-oversampling",
        "C: the same net, oversampled, cross-entropy, Adam 0.0005",
        (22.25,),
        remark="a mistake: imbalance.md",
    ),
    System("c-class-weighted", "C: the same net, weighted cross-entropy, Adam 0.0005", (88.15,)),
    System("d-lenet-32", "D: LeNet, Adam 0.001, batch 32", (88.72,)),
    System("d-lenet-64", "D: LeNet, batch 64", (88.94,)),
    System("d-lenet-100", "D: LeNet, batch 100", (89.76,)),
    System("d-lenet-256", "D: LeNet, batch 256", (87.76,)),
    System("e-keras-cnn", "E: CNN 32-64-64 without padding, 64-64, Adam 0.001, batch 64", ()),
)

TEXT = """\
# The systems of the five reports

Written by `python -m benchmarks.systems --best-epoch {looked_at}`.
`--only NAME ...` trains some of them and keeps the other rows.
Measured {measured}, the page written on {where}.

Five student and practitioner reports on Fashion-MNIST were published (A to E below).
They train on the 60,000 training images (E on 48,000 of them) and choose by the 10,000 test images.
Their figures are of one run each.

Here `fmnist-tune train RECIPE --seeds n` trains every recipe on all 60,000 images for the report's number of epochs.
Nothing is left to choose, and each model is scored on the test set once, after the last epoch.
The head of each recipe says what was added to the report's description.

- *Ours* is the mean over the n seeds with the 95 % interval of that mean (Student's t, which is wide for three).
- *Ours - report* is in points, against the report's best run.
- *Inside* says that the report's run lies in the 95 % prediction interval of one more run of ours: it may be a run
  like ours. For three seeds it is twice as wide as that of the mean.
- *s/epoch* is training time on one CPU core (or the GPU). Other cores did other work meanwhile, so it is an upper
  bound.

{systems}

The reports' own training times are not known.
[RESULTS.md](../../benchmarks/RESULTS.md#training-throughput) compares our loop with the usual one (a DataLoader,
float32) on one machine.
The four d-lenet rows are D's table over the batch size.
C's 22.25 % is a mistake that [imbalance.md](imbalance.md#what-went-wrong-in-the-reports) reproduces.

## The best epoch, as the report counted it

A report that evaluates the test set after every epoch and keeps the maximum selects on the test set, and its figure
is too high.
B says that it did; of the others it is not known.

To compare like with like, `--best-epoch NAME ...` (B alone without a name) does the same **for this table only**,
with seed {seed}.
fmnist-tune itself never does.
The study records this use of its test set.

{counted}
"""

Results = dict[str, dict[str, Any]]
Curves = dict[str, list[float]]


def system_row(system: System, metrics: dict[str, Any] | None) -> list[str]:
    """Return a system's cells of the table; `metrics` is its metrics.json, None if it is yet to be trained."""
    reported = ", ".join(f"{value:.2f}" for value in system.reported) or "none"
    remark = f" ({system.remark})" if system.remark else ""
    head = [f"[{system.recipe}](../../search_spaces/recipes/{system.recipe}.yaml)", system.what, reported + remark]
    if metrics is None:
        return [*head, "not run yet", "", "", "", ""]
    figure = share_spread(metrics["test_accuracy"]["values"])
    lead = f"{100 * figure.mean - max(system.reported):+.2f}" if system.reported else ""
    one_more = next_value_ci95(figure)
    if system.reported and one_more is not None and one_more[0] <= max(system.reported) / 100 <= one_more[1]:
        lead += " (inside)"
    n = len(figure.values)
    epoch_s = metrics["train_s"] / (n * metrics["epochs"])
    return [*head, percent(figure), str(n), lead, str(metrics["epochs"]), f"{epoch_s:.1f}"]


def best_epoch_row(system: System, curve: list[float] | None) -> list[str]:
    """Return a system's cells of the second table; `curve` has the test accuracy after every epoch."""
    first = ", ".join(f"{value:.2f}" for value in system.curve)
    reported = f"{max(system.reported):.2f}" if system.reported else "none"
    at = "" if system.best_epoch is None else f" (epoch {system.best_epoch})"
    head = [system.recipe, reported + at, first]
    if curve is None:
        return [*head, "not run yet", "", ""]
    best = max(range(len(curve)), key=lambda i: curve[i])
    ours = ", ".join(f"{100 * value:.2f}" for value in curve[: len(system.curve)])
    return [*head, f"{100 * curve[best]:.2f} (epoch {best + 1})", f"{100 * curve[-1]:.2f} (epoch {len(curve)})", ours]


def page(results: Results, curves: Curves, where: str) -> str:
    """Return docs/case-studies/systems.md.

    Args:
        results: metrics.json of each recipe that is trained.
        curves: test accuracy after every epoch, of each recipe that was trained for that.
        where: the machine.
    """
    columns = [
        "recipe",
        "what it is",
        "report, %",
        "ours, % [95 % interval]",
        "n",
        "ours - report",
        "epochs",
        "s/epoch",
    ]
    rows = [system_row(system, results.get(system.recipe)) for system in SYSTEMS]
    counted = ["recipe", "report", "its first epochs", "ours, best epoch", "ours, last epoch", "our first epochs"]
    counted_systems = [s for s in SYSTEMS if s.best_epoch is not None or s.recipe in curves]
    counted_rows = [best_epoch_row(system, curves.get(system.recipe)) for system in counted_systems]
    return TEXT.format(
        looked_at=" ".join(sorted(curves)),
        measured=measured_when(list(results.values())),
        where=where,
        seed=BEST_EPOCH_SEED,
        systems=table(columns, rows),
        counted=table(counted, counted_rows),
    )


def curve_on_test_set(recipes: Recipes, name: str) -> list[float]:
    """Train a recipe with one of its seeds, and look at the test set after every epoch, as fmnist-tune never does."""
    paths = recipes.paths(name)
    record = StudyRecord.load(open_database(database_url(paths.studies_dir), create=False), paths)
    record.retraining.add_test_use("benchmarks.systems --best-epoch", None, [BEST_EPOCH_SEED])
    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.set_num_threads(record.space.settings.resources.cpus)
    config = recipes.config(name)
    folder = locate_data(recipes.data_dir, print)
    train, test = load_part(folder, "train"), load_part(folder, "test")
    data = TrainingData.from_images(train.images_NHW, train.labels_N, config.data, device, with_val=False)
    x_N1HW = pixels(test.images_NHW.copy(), config.data, device)  # torch wants it writable
    run = TrainingRun(config, data, seed=BEST_EPOCH_SEED, device=device)
    return [accuracy(run.predict(x_N1HW, bf16=False).cpu().numpy(), test.labels_N) for _ in run.epochs()]


def _best_epochs(recipes: Recipes, name: str, *, train: bool) -> list[float] | None:
    """Return a recipe's kept test curve, trained first if that is asked for and there is none."""
    config = json.loads(json.dumps(recipes.config(name).model_dump()))
    path = recipes.paths(name).folder / BEST_EPOCH
    kept = read_json(path)
    if isinstance(kept, dict) and kept["config"] == config:
        return [float(value) for value in kept["test_accuracy"]]
    if not train:
        return None
    curve = curve_on_test_set(recipes, name)
    write_atomically(path, json.dumps({"config": config, "seed": BEST_EPOCH_SEED, "test_accuracy": curve}))
    return curve


def _write(recipes: Recipes, path: Path) -> None:
    results: Results = {}
    curves: Curves = {}
    for system in SYSTEMS:
        metrics = recipes.metrics(system.recipe)
        if metrics is not None:
            results[system.recipe] = metrics
        curve = _best_epochs(recipes, system.recipe, train=False)
        if curve is not None:
            curves[system.recipe] = curve
    write_atomically(path, page(results, curves, machine()))


def main(argv: list[str] | None = None) -> None:
    """Train, and write the page after every system."""
    parser = argparse.ArgumentParser(description=__doc__)
    names = [system.recipe for system in SYSTEMS]
    add_options(parser, names, "systems.md")
    parser.add_argument(
        "--best-epoch",
        nargs="*",
        choices=names,
        metavar="NAME",
        help="train these once more and look at the test set after every epoch; none: those whose report did",
    )
    arguments = parser.parse_args(argv)
    looked_at = arguments.best_epoch
    if looked_at == []:
        looked_at = [system.recipe for system in SYSTEMS if system.best_epoch is not None]
    recipes = Recipes.from_arguments(arguments)
    for system in SYSTEMS:
        if system.recipe in arguments.only:
            recipes.train(system.recipe, arguments.seeds)
            _write(recipes, arguments.page)
        if system.recipe in (looked_at or []):
            _best_epochs(recipes, system.recipe, train=True)
    _write(recipes, arguments.page)


if __name__ == "__main__":
    main()
