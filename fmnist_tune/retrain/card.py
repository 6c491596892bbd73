"""The model card: the model, its intended use, and its limits."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fmnist_tune.config import dump_yaml
from fmnist_tune.document.blocks import Block, Code, Finding, Section, Table, capital
from fmnist_tune.document.page import to_markdown
from fmnist_tune.evaluation import MIN_FOR_INTERVAL, ClassSpread
from fmnist_tune.models import MODELS, ImageSpec
from fmnist_tune.retrain.robustness import CLEAN, CORRUPTIONS, SIDE, RobustnessRow
from fmnist_tune.study.layout import CARD, write_atomically
from fmnist_tune.study.results import class_table, classes_text, opened_text, over_seeds, recalls_of, spread_text
from fmnist_tune.tasks.images.config import DATA_SETS, ImageConfig
from fmnist_tune.tasks.images.data_set import ALL_CLASSES, DataSet
from fmnist_tune.units import in_words, percent


def write_card(folder: Path, metrics: Mapping[str, Any], rows: Sequence[RobustnessRow]) -> None:
    """Write the card into a model's folder; arguments as for `model_card`."""
    write_atomically(folder / CARD, model_card(metrics, rows))


def model_card(metrics: Mapping[str, Any], rows: Sequence[RobustnessRow]) -> str:
    """Return the card in Markdown.

    Args:
        metrics: the content of metrics.json.
        rows: the robustness audit; may be empty.
    """
    config = ImageConfig.from_json(metrics["config"])
    data = config.data
    head = (
        f"{capital(config.model.describe())}: {metrics['params']:,} parameters that tell the "
        f"{in_words(data.spec.n_classes)} classes of {data.display_name} apart. Made by fmnist-tune, "
        f"{metrics['finished_at']}."
    )
    sections = (
        Section("Figures", tuple(_figures(metrics))),
        Section("Classes", _classes(metrics)),
        Section("Robustness", tuple(_robustness(rows, data.spec))),
        Section("Data and its biases", _prose(data.data_notes)),
        Section("Use", _prose(data.use_notes)),
        Section("Training", _training(metrics)),
        Section("Loading", tuple(_loading(metrics, data))),
    )
    return to_markdown(Section(f"Model card: {metrics['study']}", (head, *sections)))


def _prose(text: str) -> list[Block]:
    """Return a paragraph and the list items below it."""
    paragraph, *points = (" ".join(part.split()) for part in f"\n{text}".split("\n- "))
    return [*([paragraph] if paragraph else []), *map(Finding, points)]


def _figures(metrics: Mapping[str, Any]) -> Iterator[Block]:
    accuracy, ece = metrics["test_accuracy"], metrics["calibration"]["ece"]
    n_seeds, n_uses = len(metrics["seeds"]), metrics["test_uses"]
    n_images = sum(c["support"] for c in metrics["per_class"].values())
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
    yield f"On the {n_images:,} test images, {basis}"
    rows = [("test accuracy", spread_text(accuracy)), ("expected calibration error (15 bins)", spread_text(ece))]
    if metrics["val_accuracy"] is not None:
        rows.append(("validation accuracy in the search, which chose by it", percent(metrics["val_accuracy"])))
    yield Table(("figure", "value"), rows, left=("value",))
    again = "." if n_uses == 1 else "; whatever was chosen after an earlier use makes these figures a little too good."
    yield (
        f"The weights in this folder are those of seed {metrics['seeds'][0]}, whatever its figures: test accuracy "
        f"{percent(accuracy['values'][0])}, calibration error {percent(ece['values'][0])}. "
        f"When this card was written, {opened_text(n_uses).replace('has been', 'had been')}{again}"
    )


def _classes(metrics: Mapping[str, Any]) -> tuple[Block, ...]:
    n_seeds = len(metrics["seeds"])
    classes = {name: ClassSpread.from_json(c, n_seeds) for name, c in metrics["per_class"].items()}
    weakest = classes_text(recalls_of(metrics["per_class"]))
    return (weakest, f"By class, {over_seeds(n_seeds)}:", class_table(classes))


def _robustness(rows: Sequence[RobustnessRow], spec: ImageSpec) -> Iterator[Block]:
    overall = {(r.corruption, r.strength): r.accuracy for r in rows if r.class_name == ALL_CLASSES}
    names = [name for name in CORRUPTIONS if all((name, strength) in overall for strength in range(1, 6))]
    if not names:
        yield "Not measured."
        return
    means = {name: float(np.mean([overall[name, strength] for strength in range(1, 6)])) for name in names}
    worst = sorted(names, key=means.__getitem__)
    named = ", ".join(f"{name} ({percent(means[name], 1)})" for name in worst[:3])
    clean = f" Unchanged, it is {percent(overall[CLEAN, 0], 1)}." if (CLEAN, 0) in overall else ""
    hit = [r for r in rows if r.corruption == worst[0] and r.strength == 5 and r.class_name != ALL_CLASSES]
    weakest = min(hit, key=lambda r: r.accuracy, default=None)
    after = (
        ""
        if weakest is None
        else f" Hardest hit by {worst[0]} at strength 5: {weakest.class_name} ({percent(weakest.accuracy, 1)})."
    )
    yield (
        f"Accuracy of the weights in this folder on test images that were changed in one way.{clean} The worst "
        f"changes, by the mean over their strengths, are {named}.{after}"
    )
    yield Table(
        ("change", *"12345", "mean"),
        [(name, *(percent(overall[name, s], 1) for s in range(1, 6)), percent(means[name], 1)) for name in worst],
    )
    yield "What the strengths are:"
    for name in names:
        strengths = ", ".join(f"{p:g}" for p in CORRUPTIONS[name].parameters)
        yield Finding(f"{name}: {strengths} ({CORRUPTIONS[name].meaning})")
    factor = min(spec.height, spec.width) / SIDE
    scaled = (
        ""
        if factor == 1
        else f"Pixels are {factor:.2g} times as many, by the images' shorter side; shifts and occlusions are of whole "
        "pixels, at least one. "
    )
    yield f"{scaled}`robustness.csv` has every class."


def _training(metrics: Mapping[str, Any]) -> tuple[Block, ...]:
    source = "a recipe" if metrics["trial"] is None else f"trial {metrics['trial']} of study {metrics['study']}"
    n_epochs, n_configured = metrics["epochs"], metrics["config"]["training"]["epochs"]
    again = "`config.yaml` trains it again: `fmnist-tune train config.yaml`."
    if n_epochs < n_configured:
        again = (
            f"Early stopping had found it best then: `config.yaml` alone would train for all {n_configured} epochs, "
            f"`fmnist-tune retrain {metrics['study']} --trial {metrics['trial']}` trains it again."
        )
    text = (
        f"From {source}: {n_epochs} epoch{'' if n_epochs == 1 else 's'} on the training and the validation "
        f"images together, once for each of the seeds {', '.join(map(str, metrics['seeds']))} "
        f"({metrics['train_s']:.0f} s of training in all). {again} In full:"
    )
    return (text, Code(dump_yaml(metrics["config"]), "yaml"))


def _loading(metrics: Mapping[str, Any], data: DataSet) -> Iterator[Block]:
    spec, folder, name = data.spec, metrics["model"], metrics["config"]["model"]["name"]
    own = [] if name in MODELS.built_in else [f"model {name}"]
    own += [] if data.name in DATA_SETS.built_in else [f"data set {data.name}"]
    needed = f" The code of the {' and the '.join(own)} must be installed, or in the current folder." if own else ""
    arguments = '"garment.png", invert=False'
    if data.name != DATA_SETS.default:
        arguments = '"image.png", invert=False, data=model.config.data'
    yield f"Reading `config.yaml` and `weights.safetensors` runs no code from them.{needed}"
    yield Code(
        f"""\
from fmnist_tune.retrain.images import load_image
from fmnist_tune.retrain.saved import SavedModel

model = SavedModel.load({folder!r})  # config.yaml and weights.safetensors
image = load_image({arguments})
scores = model.scores(image.pixels_HW[None])  # float32 (1, {spec.n_classes}), unnormalised""",
        "python",
    )
    export = metrics.get("export")
    if export is None:
        return
    shape = ", ".join(map(str, spec.shape))
    yield (
        f"Without fmnist-tune: `model.onnx` and `model.pt2` (torch.export) take float32 pixels (N, {shape}) from 0 "
        "(black) to 1 and normalise them themselves. On the test images they choose the same class as the model in "
        f"{percent(export['onnx_agreement'])} and {percent(export['torch_export_agreement'])} of cases."
    )
    yield Code(
        f"""\
import numpy as np
import onnxruntime

session = onnxruntime.InferenceSession({folder + "/model.onnx"!r})
pixels = np.zeros((1, {shape}), dtype=np.float32)
(scores,) = session.run(["scores"], {{"pixels": pixels}})""",
        "python",
    )
