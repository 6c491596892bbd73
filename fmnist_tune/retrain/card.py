"""The model card: what the model is, what it is for, and how far it can be trusted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fmnist_tune.config import dump_yaml
from fmnist_tune.escaping import as_code_block, as_markdown, in_table
from fmnist_tune.evaluation import MIN_FOR_INTERVAL, SeedStats, classes_text, recall_extent, recalls_of, share_text
from fmnist_tune.models import MODELS, ImageSpec
from fmnist_tune.retrain.robustness import ALL_CLASSES, CLEAN, CORRUPTIONS, SIDE, RobustnessRow
from fmnist_tune.study.layout import CARD, write_atomically
from fmnist_tune.study.summary import opened_text
from fmnist_tune.tasks.images.config import DATA_SETS, ImageConfig
from fmnist_tune.tasks.images.data_set import DataSet
from fmnist_tune.units import in_words, percent


def write_card(folder: Path, metrics: Mapping[str, Any], rows: Sequence[RobustnessRow]) -> None:
    """Write the card into a model's folder; arguments as of `model_card`."""
    write_atomically(folder / CARD, model_card(metrics, rows))


def model_card(metrics: Mapping[str, Any], rows: Sequence[RobustnessRow]) -> str:
    """Return the card in Markdown.

    Args:
        metrics: the content of metrics.json.
        rows: the robustness audit; may be empty.
    """
    config = ImageConfig.from_json(metrics["config"])
    data = config.data
    sections = [
        ("Figures", _figures(metrics)),
        ("Classes", _classes(metrics)),
        ("Robustness", _robustness(rows, data.spec)),
        ("Data and its biases", data.data_notes),
        ("Use", data.use_notes),
        ("Training", _training(metrics)),
        ("Loading", _loading(metrics, data)),
    ]
    kind, title = config.model.describe(), as_markdown(data.title or data.name)
    body = "\n\n".join(f"## {title}\n\n{text}" for title, text in sections)
    return (
        f"# Model card: {metrics['study']}\n\n"
        f"{kind[0].upper()}{as_markdown(kind[1:])}: {metrics['params']:,} parameters that tell the "
        f"{in_words(data.spec.n_classes)} classes of {title} apart. "
        f"Made by fmnist-tune, {metrics['finished_at']}.\n\n{body}\n"
    )


def _figures(metrics: Mapping[str, Any]) -> str:
    accuracy, ece = metrics["test_accuracy"], metrics["calibration"]["ece"]
    n_seeds, n_uses = len(metrics["seeds"]), metrics["test_uses"]
    n_pictures = sum(c["support"] for c in metrics["per_class"].values())
    lines = [f"| test accuracy | {_spread(accuracy)} |", f"| expected calibration error (15 bins) | {_spread(ece)} |"]
    if metrics["val_accuracy"] is not None:
        lines.append(f"| validation accuracy that the search had promised | {percent(metrics['val_accuracy'])} |")
    interval = (
        "the interval is that of the mean (Student's t, 95 %) and leaves out the chance in the choice of the test "
        "images."
        if n_seeds >= MIN_FOR_INTERVAL
        else "they are too few for an interval, so both values are given."
    )
    basis = (
        "from a single training: how far another seed would differ is not known."
        if n_seeds == 1
        else f"over {n_seeds} trainings from different seeds; {interval}"
    )
    again = "." if n_uses == 1 else "; whatever was chosen after an earlier use makes these figures a little too good."
    return (
        f"On the {n_pictures:,} test images, {basis}\n\n"
        "| figure | value |\n| --- | --- |\n" + "\n".join(lines) + "\n\n"
        f"The weights in this folder are those of seed {metrics['seeds'][0]}, whatever its figures: test accuracy "
        f"{percent(accuracy['values'][0])}, calibration error {percent(ece['values'][0])}. "
        f"When this card was written, {opened_text(n_uses).replace('has been', 'had been')}{again}"
    )


def _classes(metrics: Mapping[str, Any]) -> str:
    per_class: Mapping[str, Mapping[str, Any]] = metrics["per_class"]
    rows = [
        f"| {in_table(as_markdown(name))} | {share_text(c['precision'], 1)} "
        f"| {share_text(c['recall'], 1)}{_extent(c, len(metrics['seeds']))} "
        f"| {share_text(c['f1'], 1)} | {c['support']:,} |"
        for name, c in per_class.items()
    ]
    head = "| class | precision | recall | F1 | test images |\n| --- | --- | --- | --- | --- |"
    return f"{as_markdown(classes_text(recalls_of(per_class)))} Means over the seeds:\n\n{head}\n" + "\n".join(rows)


def _robustness(rows: Sequence[RobustnessRow], spec: ImageSpec) -> str:
    overall = {(r.corruption, r.strength): r.accuracy for r in rows if r.class_name == ALL_CLASSES}
    names = [name for name in CORRUPTIONS if all((name, strength) in overall for strength in range(1, 6))]
    if not names:
        return "Not measured."
    means = {name: float(np.mean([overall[name, strength] for strength in range(1, 6)])) for name in names}
    worst = sorted(names, key=means.__getitem__)
    table = [
        f"| {name} | "
        + " | ".join(f"{percent(overall[name, s], 1)}" for s in range(1, 6))
        + f" | {percent(means[name], 1)} |"
        for name in worst
    ]
    named = ", ".join(f"{name} ({percent(means[name], 1)})" for name in worst[:3])
    weakest = min(
        (r for r in rows if r.corruption == worst[0] and r.strength == 5 and r.class_name != ALL_CLASSES),
        key=lambda r: r.accuracy,
        default=None,
    )
    clean = f" Unchanged, it is {percent(overall[CLEAN, 0], 1)}." if (CLEAN, 0) in overall else ""
    after = (
        ""
        if weakest is None
        else f" Hardest hit by {worst[0]} at strength 5: {weakest.class_name} ({percent(weakest.accuracy, 1)})."
    )
    meanings = "\n".join(
        f"- {name}: {', '.join(f'{p:g}' for p in CORRUPTIONS[name].parameters)} ({CORRUPTIONS[name].meaning})"
        for name in CORRUPTIONS
        if name in names
    )
    factor = min(spec.height, spec.width) / SIDE
    scaled = "" if factor == 1 else f"Pixels are {factor:.2g} times as many, by the images' shorter side.\n\n"
    return (
        f"Accuracy of the weights in this folder on test images that were changed in one way.{clean} The worst "
        f"changes, by the mean over their strengths, are {named}.{after}\n\n"
        "| change | 1 | 2 | 3 | 4 | 5 | mean |\n| --- | --- | --- | --- | --- | --- | --- |\n"
        + "\n".join(table)
        + f"\n\nWhat the strengths are:\n\n{meanings}\n\n{scaled}`robustness.csv` has every class."
    )


def _training(metrics: Mapping[str, Any]) -> str:
    source = "a recipe" if metrics["trial"] is None else f"trial {metrics['trial']} of study {metrics['study']}"
    recipe = dump_yaml(metrics["config"])
    n_configured = metrics["config"]["training"]["epochs"]
    again = "`config.yaml` trains it again: `fmnist-tune train config.yaml`."
    if metrics["epochs"] < n_configured:
        again = (
            f"Early stopping had found it best then: `config.yaml` alone would train for all {n_configured} epochs, "
            f"`fmnist-tune retrain {metrics['study']} --trial {metrics['trial']}` trains it again."
        )
    return (
        f"From {source}: {metrics['epochs']} {_plural(metrics['epochs'], 'epoch')} on the training and the validation "
        f"images together, once for each of the seeds {', '.join(map(str, metrics['seeds']))} "
        f"({metrics['train_s']:.0f} s of training in all). {again} In full:\n\n{as_code_block(recipe, 'yaml')}"
    )


def _loading(metrics: Mapping[str, Any], data: DataSet) -> str:
    spec, arguments = data.spec, '"garment.png", invert=False'
    if data.name != DATA_SETS.default:
        arguments = '"image.png", invert=False, data=model.config.data'
    name = metrics["config"]["model"]["name"]
    own = [] if name in MODELS.built_in else [f"model {as_markdown(name)}"]
    own += [] if data.name in DATA_SETS.built_in else [f"data set {as_markdown(data.name)}"]
    needed = f"\nThe code of the {' and the '.join(own)} must be installed, or in the current folder." if own else ""
    text = f"""\
Reading `config.yaml` and `weights.safetensors` runs no code from them.{needed}

```python
from fmnist_tune.retrain.pictures import read_picture
from fmnist_tune.retrain.saved import SavedModel

model = SavedModel.load({metrics["model"]!r})  # config.yaml and weights.safetensors
image = read_picture({arguments})
scores = model.scores(image.pixels_HW[None])  # float32 (1, {spec.n_classes}), unnormalised
```"""
    if metrics.get("export") is None:
        return text
    export, shape = metrics["export"], f"N, {', '.join(map(str, spec.shape))}"
    return f"""\
{text}

Without fmnist-tune: `model.onnx` and `model.pt2` (torch.export) take float32 pixels ({shape}) from 0 (black) to 1
and normalise them themselves. On the test images they choose the same class as the model in
{percent(export["onnx_agreement"])} and {percent(export["torch_export_agreement"])} of cases.

```python
import numpy as np
import onnxruntime

session = onnxruntime.InferenceSession({metrics["model"] + "/model.onnx"!r})
pixels = np.zeros((1, {shape[3:]}), dtype=np.float32)
(scores,) = session.run(["scores"], {{"pixels": pixels}})
```"""


def _spread(figure: Mapping[str, Any]) -> str:
    """Return a figure over seeds in words."""
    known = SeedStats.from_json(figure)
    std = "" if known.std is None else f"; standard deviation {percent(known.std)}"
    return f"{percent(known.mean)} ({known.certainty()}{std})"


def _extent(figures: Mapping[str, Any], n_seeds: int) -> str:
    """Return a class's interval of recall over seeds, or both values of two; empty where there is neither."""
    ends = recall_extent(figures, n_seeds)
    return "" if ends is None else f" [{percent(ends[0], 1)}, {percent(ends[1], 1)}]"


def _plural(n: int, noun: str) -> str:
    return noun if n == 1 else f"{noun}s"
