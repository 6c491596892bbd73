"""The model card: what the model is, what it is for, and how far it can be trusted."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from fmnist_tune.config import dump_yaml
from fmnist_tune.document.blocks import Block, Code, Finding, Section, Table, capital
from fmnist_tune.document.markdown import to_markdown
from fmnist_tune.evaluation import MIN_FOR_INTERVAL, ClassSpread
from fmnist_tune.models import MODELS, ModelSection
from fmnist_tune.retrain.robustness import ALL_CLASSES, CLEAN, CORRUPTIONS, RobustnessRow
from fmnist_tune.study.results import class_table, classes_text, opened_text, over_seeds, recalls_of, spread_text
from fmnist_tune.units import percent

_DATA = """\
Fashion-MNIST (Xiao et al. 2017, arXiv 1708.07747; MIT licence): 60,000 training and 10,000 test images of 28 x 28
greys in ten classes of equal size, made from the product photos of one European online shop.

- The photos are professional: one article, upright, filling the frame, on a plain ground. Images of people, of
  several articles, or from a phone look different.
- It is one shop's range of its time, western clothes; those of other cultures are absent. White articles were left out.
- It mixes the shop's women's, men's, children's and neutral ranges in unknown shares, in the shop's own categories:
  there are dresses, but no skirts and no suits.
- Colour is gone, and with 28 x 28 pixels most of texture and cut: shirt, T-shirt, pullover and coat overlap, and some
  labels are disputable.
- Every image is light on black; anything else must be turned into that first (`fmnist-tune predict` does)."""

_USE = """
- Intended: teaching, comparing methods, trying out a pipeline from data to deployment; sorting images that look like
  the data set's.
- Not intended: anything about people (gender, age, wealth, religion); decisions with consequences for anyone; real
  product catalogues without an evaluation on their own images; rejecting what is none of the ten classes: whatever it
  is shown, it names one of them, often confidently."""


def model_card(metrics: Mapping[str, Any], rows: Sequence[RobustnessRow]) -> str:
    """Return the card in Markdown.

    Args:
        metrics: the content of metrics.json.
        rows: the robustness audit; may be empty.
    """
    model = MODELS.read(metrics["config"]["model"])
    assert isinstance(model, ModelSection)
    head = (
        f"{capital(model.describe())}: {metrics['params']:,} parameters that tell the ten classes of Fashion-MNIST "
        f"apart. Made by fmnist-tune, {metrics['finished_at']}."
    )
    sections = (
        Section("Figures", tuple(_figures(metrics))),
        Section("Classes", _classes(metrics)),
        Section("Robustness", tuple(_robustness(rows))),
        Section("Data and its biases", _prose(_DATA)),
        Section("Use", _prose(_USE)),
        Section("Training", _training(metrics)),
        Section("Loading", tuple(_loading(metrics))),
    )
    return to_markdown(Section(f"Model card: {metrics['study']}", (head, *sections)))


def _prose(text: str) -> list[Block]:
    """Return a paragraph and the points of a list below it."""
    paragraph, *points = text.split("\n- ")
    return [*([paragraph.strip()] if paragraph else []), *map(Finding, points)]


def _figures(metrics: Mapping[str, Any]) -> Iterator[Block]:
    accuracy, ece = metrics["test_accuracy"], metrics["calibration"]["ece"]
    n_seeds, n_uses = len(metrics["seeds"]), metrics["test_uses"]
    n_pictures = sum(c["support"] for c in metrics["per_class"].values())
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
    yield f"On the {n_pictures:,} test images, {basis}"
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


def _robustness(rows: Sequence[RobustnessRow]) -> Iterator[Block]:
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
    yield "`robustness.csv` has every class."


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


def _loading(metrics: Mapping[str, Any]) -> Iterator[Block]:
    name, folder = metrics["config"]["model"]["name"], metrics["model"]
    needed = f" The code of the model {name} must be installed, or in the current folder."
    own = "" if name in MODELS.built_in else needed
    yield f"Reading `config.yaml` and `weights.safetensors` runs no code from them.{own}"
    yield Code(
        f"""\
from fmnist_tune.retrain.pictures import read_picture
from fmnist_tune.retrain.saved import SavedModel

model = SavedModel.load({folder!r})  # config.yaml and weights.safetensors
image = read_picture("garment.png", invert=False)
scores = model.scores(image.pixels_HW[None])  # float32 (1, 10), unnormalised""",
        "python",
    )
    export = metrics.get("export")
    if export is None:
        return
    yield (
        "Without fmnist-tune: `model.onnx` and `model.pt2` (torch.export) take float32 pixels (N, 1, 28, 28) from 0 "
        "(black) to 1 and normalise them themselves. On the test images they choose the same class as the model in "
        f"{percent(export['onnx_agreement'])} and {percent(export['torch_export_agreement'])} of cases."
    )
    yield Code(
        f"""\
import numpy as np
import onnxruntime

session = onnxruntime.InferenceSession({folder + "/model.onnx"!r})
pixels = np.zeros((1, 1, 28, 28), dtype=np.float32)
(scores,) = session.run(["scores"], {{"pixels": pixels}})""",
        "python",
    )
