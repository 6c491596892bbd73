"""What helps when two classes are rare: `python -m benchmarks.imbalance`.

Trains search_spaces/recipes/imbalance-*.yaml with `fmnist-tune train`, makes C's mistake again, and writes
docs/case-studies/imbalance.md.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from numpy.typing import NDArray

from benchmarks.recipes import Recipes, add_options, machine, measured_when, percent, table
from fmnist_tune.data.fashion_mnist import CLASSES, load_part
from fmnist_tune.data.fetch import locate_data
from fmnist_tune.evaluation import (
    Paired,
    SeedStats,
    accuracy,
    confusion_matrix,
    paired,
    per_class,
    share_spread,
)
from fmnist_tune.report.drawing import BLUE, INK, ORANGE, new_figure, png, styled
from fmnist_tune.seeds import derive_seed
from fmnist_tune.study.layout import write_atomically
from fmnist_tune.tasks.images import ImageConfig, Images
from fmnist_tune.tasks.images.fashion_mnist import FashionMnist
from fmnist_tune.training.run import TrainingRun
from fmnist_tune.training.tensors import TrainingData, pixels

NAMES = ["none", "class-weights", "weighted-sampler", "oversample"]
MISTAKEN = "c-random-oversampling"
LOSSES = ("cross_entropy", "mse")

SAME = "\nEvery class has the same number of test images, so the two are the same figure here."
TEXT = """\
# Imbalance

Written by `python -m benchmarks.imbalance`.
Measured {where}.

Report A made an imbalanced training set: a tenth of two classes ({names}: {n_kept} images stay).
It trained its deeper net on it.
`search_spaces/recipes/imbalance-*.yaml` do that with each of the four values of `data.mitigation`.
`fmnist-tune train` trained them over the same seeds.
The test set is whole, and each seed's model is scored on it once.

Figures are means over seeds in per cent with 95 % intervals (Student's t).
*Against none* is the paired difference of balanced accuracy, seed by seed, in points.
Balanced accuracy is the mean of the classes' recalls.{same}

{overall}

## Per class

Recall of each class; the rare ones in bold.

{classes}

## What is trained on

![Class distributions before and after](imbalance.png)

The last two panels are the samples of one epoch ({drawn}).

- **Class weights** train on what *kept* shows, and weight each image's loss by the inverse frequency of its class.
- **The weighted sampler** samples as many images as were kept, with that weight as probability, with replacement
  (torch.multinomial).
- **Oversampling** takes every image, and samples again from each class until it is as frequent as the most frequent
  one.

Both samplers use the training split only, after the validation split was taken: no image is on both sides.

## What went wrong in the reports

**A sampler that was never used.**
A's report names a weighted random sampler as its mitigation, and never trains with it.
Its figure on the imbalanced set, 86.35 %, corresponds to the row *none*.
The row *weighted-sampler* shows what the sampler does.

**22.25 % after oversampling.**
C's report oversampled, left those images in 0..255, and tested on scaled ones.
Here the mistake is reproduced: the net of {mistaken}.yaml is trained on pixels in 0..255 (n = {n_seeds} seeds) and
tested on pixels in 0..1 and in 0..255.
The report's loss and the scale of its test images are not known; the table has both losses that it uses elsewhere.

{mistakes}

Trained with cross-entropy, the net knows its classes when the test pixels are scaled like the training pixels.
Oversampling was not to blame.
Where a figure is 10.00, the net predicts a single class: the squared error of a saturated softmax has no gradient to
learn from.
fmnist-tune scales all images alike, by `data.mean` and `data.std`; [systems.md](systems.md) has what the recipe gives
then.
"""

Scores = NDArray[np.float32]
Labels = NDArray[np.int64]
Counts = tuple[int, ...]


@dataclass(frozen=True)
class Outcome:
    """One mitigation over seeds, on the test set.

    Attributes:
        overall: accuracy.
        balanced: mean of the classes' recalls.
        rare, others: mean recall of the rare classes and of the others.
        recall: of each class.
    """

    overall: SeedStats
    balanced: SeedStats
    rare: SeedStats
    others: SeedStats
    recall: tuple[SeedStats, ...]


def outcome(scores: Sequence[Scores], labels_N: Labels, rare: Sequence[int]) -> Outcome:
    """Sum up every seed's scores (N, 10); `rare` are the labels of the rare classes."""
    recall_SK = np.array([[c.recall for c in per_class(confusion_matrix(s, labels_N))] for s in scores], np.float64)
    others = [k for k in range(recall_SK.shape[1]) if k not in rare]
    return Outcome(
        share_spread([accuracy(s, labels_N) for s in scores]),
        share_spread(np.nanmean(recall_SK, axis=1).tolist()),  # a class without images has no recall
        share_spread(np.nanmean(recall_SK[:, list(rare)], axis=1).tolist()),
        share_spread(np.nanmean(recall_SK[:, others], axis=1).tolist()),
        tuple(share_spread(recall_S.tolist()) for recall_S in recall_SK.T),
    )


def distributions(configs: dict[str, ImageConfig], train: Images) -> dict[str, Counts]:
    """Count classes in the training files, in what is kept of them, and in what each mitigation draws in an epoch.

    Args:
        configs: of the mitigations that draw.
        train: the training files.
    """
    counts = {"training files": np.bincount(train.labels_N, minlength=len(CLASSES))}
    for name, config in configs.items():
        data = TrainingData.from_images(train.images_NHW, train.labels_N, config.data, "cpu", with_val=False)
        counts.setdefault("kept", data.y_train.bincount(minlength=len(CLASSES)).numpy())
        run = TrainingRun(config, data, seed=0)
        torch.manual_seed(derive_seed(0, "epoch", 1))
        counts[name] = data.y_train[run.draw_order()].bincount(minlength=len(CLASSES)).numpy()
    return {name: tuple(map(int, of_classes)) for name, of_classes in counts.items()}


def distributions_figure(counts: dict[str, Counts], rare: Sequence[int]) -> Figure:
    """Draw class distributions, one below the other."""
    figure = new_figure(7.6, 1.6 * len(counts) + 0.9)
    panels = figure.subplots(len(counts), sharex=True, sharey=True)
    for axes, (title, of_classes) in zip(panels, counts.items(), strict=True):
        colours = [ORANGE if k in rare else BLUE for k in range(len(CLASSES))]
        bars = styled(axes).bar(CLASSES, of_classes, color=colours, width=0.7)
        axes.bar_label(bars, [f"{n:,}" for n in of_classes], padding=2, fontsize=8, color=INK)
        axes.set_title(f"{title}: {sum(of_classes):,} images", loc="left", fontsize=9.5, color=INK)
        axes.set_yticks([])
        axes.margins(y=0.2)
    panels[-1].tick_params(axis="x", labelrotation=40)
    return figure


def mistaken_accuracy(
    config: ImageConfig, loss: str, train: Images, test: Images, n_seeds: int
) -> tuple[SeedStats, SeedStats]:
    """Make C's mistake with a loss: train on pixels in 0..255, test on pixels in 0..1.

    Returns:
        Test accuracy of that, and of the same models on test pixels in 0..255.
    """
    config = config.model_copy(update={"training": config.training.model_copy(update={"loss": loss})})
    bytes_, unit = FashionMnist(mean=0.0, std=1 / 255), FashionMnist(mean=0.0, std=1.0)
    data = TrainingData.from_images(train.images_NHW, train.labels_N, bytes_, "cpu", with_val=False)
    wrong: list[float] = []
    right: list[float] = []
    for seed in range(n_seeds):
        run = TrainingRun(config, data, seed=seed)
        for _ in run.epochs():
            pass
        for scaled, values in ((unit, wrong), (bytes_, right)):
            scores = run.predict(pixels(test.images_NHW.copy(), scaled, "cpu"), bf16=False).numpy()
            values.append(accuracy(scores, test.labels_N))
    return share_spread(wrong), share_spread(right)


def page(
    outcomes: dict[str, Outcome],
    counts: dict[str, Counts],
    mistakes: dict[str, tuple[SeedStats, SeedStats]],
    support: Sequence[int],
    rare: Sequence[int],
    where: str,
) -> str:
    """Return docs/case-studies/imbalance.md.

    Args:
        outcomes: of the mitigations that are trained.
        counts: as `distributions` returns them.
        mistakes: as `mistaken_accuracy` returns them, by loss.
        support: test images of each class.
        rare: labels of the rare classes.
        where: when, and on which machine the page is written.
    """
    names = " and ".join(CLASSES[k] for k in rare)
    n_kept = " and ".join(f"{counts['kept'][k]:,} of {counts['training files'][k]:,}" for k in rare)
    columns = ["mitigation", "accuracy", "balanced accuracy", "recall, rare classes", "recall, others", "against none"]
    overall = [["none", *_cells(outcomes.get("none")), ""]]
    overall += [[name, *_cells(outcomes.get(name)), _lead(outcomes, name)] for name in NAMES[1:]]
    classes = [
        [f"**{name}**" if k in rare else name]
        + [percent(outcomes[m].recall[k]) if m in outcomes else "not run yet" for m in NAMES]
        for k, name in enumerate(CLASSES)
    ]
    drawn = ", ".join(f"{name} {sum(n):,}" for name, n in counts.items() if name not in ("training files", "kept"))
    return TEXT.format(
        where=where,
        names=names,
        n_kept=n_kept,
        same=SAME if len(set(support)) == 1 else "",
        overall=table(columns, overall),
        classes=table(["class", *NAMES], classes),
        drawn=drawn,
        mistaken=MISTAKEN,
        n_seeds=len(next(iter(mistakes.values()))[0].values),
        mistakes=table(
            ["loss", "tested on 0..1", "tested on 0..255"],
            [[loss, percent(wrong), percent(right)] for loss, (wrong, right) in mistakes.items()],
        ),
    )


def _cells(found: Outcome | None) -> list[str]:
    if found is None:
        return ["not run yet", "", "", ""]
    return [percent(figure) for figure in (found.overall, found.balanced, found.rare, found.others)]


def _lead(outcomes: dict[str, Outcome], name: str) -> str:
    """Return how much better a mitigation's balanced accuracy is than doing nothing."""
    if not {"none", name} <= outcomes.keys():
        return ""
    values = [outcomes[m].balanced.values for m in (name, "none")]
    if len(values[0]) != len(values[1]):
        return "other seeds"
    lead: Paired = paired(*values)
    interval = lead.difference.ci95
    text = f"{100 * lead.difference.mean:+.2f}"
    return text if interval is None else f"{text} [{100 * interval[0]:+.2f}, {100 * interval[1]:+.2f}]"


def main(argv: list[str] | None = None) -> None:
    """Train, make the mistake again, and write the page and its plot."""
    parser = argparse.ArgumentParser(description=__doc__)
    add_options(parser, NAMES, "imbalance.md")
    arguments = parser.parse_args(argv)
    recipes = Recipes.from_arguments(arguments)
    for name in arguments.only:
        recipes.train(f"imbalance-{name}", arguments.seeds)
    torch.set_num_threads(1)
    folder = locate_data(recipes.data_dir, print)
    train, test = load_part(folder, "train"), load_part(folder, "test")
    configs = {name: recipes.config(f"imbalance-{name}") for name in NAMES}
    rare = sorted(configs["none"].data.keep)
    finished: dict[str, dict[str, Any]] = {}
    for name in NAMES:
        metrics = recipes.metrics(f"imbalance-{name}")
        if metrics is not None:
            finished[name] = metrics
    outcomes = {
        name: outcome(recipes.test_scores(f"imbalance-{name}", metrics), test.labels_N, rare)
        for name, metrics in finished.items()
    }
    counts = distributions({name: configs[name] for name in ("weighted-sampler", "oversample")}, train)
    mistaken, kept = recipes.config(MISTAKEN), arguments.studies_dir / "imbalance-mistakes.json"
    if arguments.only or not kept.exists():
        figures = {loss: mistaken_accuracy(mistaken, loss, train, test, arguments.seeds) for loss in LOSSES}
        kept.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(kept, json.dumps({loss: [f.values for f in pair] for loss, pair in figures.items()}))
    known = json.loads(kept.read_text())
    mistakes = {loss: (share_spread(wrong), share_spread(right)) for loss, (wrong, right) in known.items()}
    support = np.bincount(test.labels_N, minlength=len(CLASSES)).tolist()
    where = f"{measured_when(list(finished.values()))}, the page written on {machine()}"
    write_atomically(arguments.page, page(outcomes, counts, mistakes, support, rare, where))
    arguments.page.with_suffix(".png").write_bytes(png(distributions_figure, counts, rare))


if __name__ == "__main__":
    main()
