"""The model folder: weights and recipe, what is exported from them, images from outside, predictions, the card."""

from __future__ import annotations

import io
import json
import pickle
import re
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from PIL import Image, ImageOps
from torch import nn

from fmnist_tune import cli
from fmnist_tune.config.space import read_space
from fmnist_tune.data.fashion_mnist import CLASSES
from fmnist_tune.errors import UserError
from fmnist_tune.retrain.card import model_card
from fmnist_tune.retrain.export import export_model
from fmnist_tune.retrain.images import load_image
from fmnist_tune.retrain.robustness import audit
from fmnist_tune.retrain.saved import SavedModel
from fmnist_tune.training.tensors import TrainingData
from tests.conftest import make_pictures, save_model

MLP = """\
study: tiny
model: {name: mlp, hidden: [8]}
data: {val_size: 100}
"""
CNN = """\
study: tiny
model: {name: cnn, channels: [4, 8], head: [16], dropout: 0.3, dropout2d: 0.1}
data: {val_size: 100, mean: 0.3, std: 0.4, pad: 2}
"""


def untrained(recipe: str, seed: int = 0) -> nn.Module:
    """Return a model with batch statistics that are not the initial ones."""
    config = read_space(recipe, "recipe").config({})
    torch.manual_seed(seed)
    module = config.build()
    with torch.no_grad():
        module.train()(torch.randn(64, 1, 28 + 2 * config.data.pad, 28 + 2 * config.data.pad))
    return module.eval()


def saved_in(folder: Path, recipe: str = MLP) -> SavedModel:
    save_model(folder, recipe, untrained(recipe))
    return SavedModel.load(folder)


def pictures(n: int) -> np.ndarray:
    return make_pictures(n, 3)[0].astype(np.uint8)


@pytest.mark.parametrize("recipe", [MLP, CNN])
def test_a_saved_model_scores_pictures_as_training_prepared_them(tmp_path: Path, recipe: str) -> None:
    images, labels = make_pictures(600, 0)
    images, labels = images.astype(np.uint8), labels.astype(np.int64)
    saved = saved_in(tmp_path, recipe)
    data = TrainingData.from_images(images, labels, saved.config.data, "cpu")
    with torch.no_grad():
        expected = untrained(recipe)(data.x_val).numpy()
    scores = saved.scores(images)
    assert scores.dtype == np.float32
    assert scores.shape == (600, 10)
    nearest = np.abs(scores[None] - expected[:, None]).max(axis=2).min(axis=1)  # training's split is shuffled
    assert nearest.max() < 1e-5


def test_a_model_is_loaded_in_float32_to_be_evaluated_whatever_its_weights_are_saved_in(tmp_path: Path) -> None:
    module = untrained(CNN).to(torch.bfloat16).to(memory_format=torch.channels_last)
    save_model(tmp_path, CNN, module)
    saved = SavedModel.load(tmp_path)
    assert {p.dtype for p in saved.module.parameters()} == {torch.float32}
    assert not saved.module.training
    state = module.state_dict()
    for name, tensor in saved.module.state_dict().items():
        assert torch.equal(tensor, state[name].to(tensor.dtype))


def test_scores_do_not_depend_on_the_batch(tmp_path: Path) -> None:
    saved = saved_in(tmp_path, CNN)
    images = pictures(501)
    one_by_one = np.concatenate([saved.scores(images[i : i + 1]) for i in (0, 499, 500)])
    assert saved.scores(images)[[0, 499, 500]] == pytest.approx(one_by_one, abs=1e-6)


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("config.yaml", None, "config.yaml: no such file"),
        ("config.yaml", b"study: tiny\nmodel: {name: mpl}\n", "did you mean 'mlp'?"),
        ("config.yaml", b"study: x\nmodel: {name: mlp, width: {int: [8, 9]}}\n", "a search space, not a recipe"),
        (
            "config.yaml",
            b"study: tiny\nmodel: {name: mlp, hidden: [9]}\n",
            "not the weights of the model in config.yaml",
        ),
        ("weights.safetensors", None, "weights.safetensors: no such file"),
        ("weights.safetensors", b"", "weights.safetensors: damaged"),
        ("weights.safetensors", struct.pack("<Q", 10**9) + b"{}", "weights.safetensors: damaged"),
    ],
)
def test_a_missing_or_damaged_file_is_named_with_the_cure(
    tmp_path: Path, file: str, content: bytes | None, message: str
) -> None:
    saved_in(tmp_path)
    if content is None:
        (tmp_path / file).unlink()
    else:
        (tmp_path / file).write_bytes(content)
    with pytest.raises(UserError) as caught:
        SavedModel.load(tmp_path, "fmnist-tune retrain tiny")
    assert message in str(caught.value)
    assert "`fmnist-tune retrain tiny` makes it" in str(caught.value)


def test_truncated_weights_are_damaged_ones(tmp_path: Path) -> None:
    saved_in(tmp_path)
    path = tmp_path / "weights.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(UserError, match=r"weights.safetensors: damaged"):
        SavedModel.load(tmp_path)


class _Touch:
    """Its pickle creates a file when it is read."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.path,))


def test_loading_runs_no_code(tmp_path: Path) -> None:
    saved_in(tmp_path)
    (tmp_path / "weights.safetensors").write_bytes(pickle.dumps(_Touch(tmp_path / "touched")))
    with pytest.raises(UserError, match="damaged"):
        SavedModel.load(tmp_path)
    (tmp_path / "config.yaml").write_text(f"!!python/object/apply:os.mkdir ['{tmp_path / 'touched'}']")
    with pytest.raises(UserError, match=r"config.yaml"):
        SavedModel.load(tmp_path)
    assert not (tmp_path / "touched").exists()


@pytest.mark.parametrize(
    "model",
    [
        "{name: mlp, hidden: [16, 8], norm: batch, dropout: 0.2, activation: silu}",
        "{name: mlp, depth: 0}",
        "{name: cnn, channels: [4, 8], residual: true, pool: avg, activation: gelu, dropout: 0.2, dropout2d: 0.1, head: [8]}",
        "{name: cnn, channels: [4], convs_per_block: 2, padding: valid, norm: none, activation: tanh}",
        "{name: cnn, channels: [4, 4], activation: leaky_relu, tta: flip}",
    ],
)
def test_exported_models_agree_for_any_number_of_pictures(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], model: str
) -> None:
    saved = saved_in(tmp_path, f"study: tiny\nmodel: {model}\ndata: {{pad: 1}}\n")
    images = pictures(30)
    check = export_model(saved, tmp_path, images)
    assert (check.onnx_agreement, check.torch_export_agreement) == (1.0, 1.0)
    assert capfd.readouterr() == ("", "")
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "config.yaml",
        "model.onnx",
        "model.pt2",
        "weights.safetensors",
    ]
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx")
    program = torch.export.load(tmp_path / "model.pt2").module()
    for n in (1, 7):
        pixels = images[:n, None].astype(np.float32) / 255
        assert session.run(["scores"], {"pixels": pixels})[0] == pytest.approx(saved.scores(images[:n]), abs=1e-4)
        with torch.no_grad():
            assert program(torch.from_numpy(pixels)).numpy() == pytest.approx(saved.scores(images[:n]), abs=1e-5)


def test_agreement_counts_pictures_that_are_classified_otherwise(tmp_path: Path) -> None:
    saved = saved_in(tmp_path)
    other = SavedModel(saved.config, untrained(MLP, seed=1))
    images = pictures(50)

    class Pretender(SavedModel):
        """Exports one model and predicts with another."""

        def scores(self, images_NHW: np.ndarray) -> np.ndarray:
            return other.scores(images_NHW)

    check = export_model(Pretender(saved.config, saved.module), tmp_path, images)
    share = float((saved.scores(images).argmax(1) == other.scores(images).argmax(1)).mean())
    assert share < 0.9
    assert (check.onnx_agreement, check.torch_export_agreement) == (share, share)


def garment(size: int = 28) -> Image.Image:
    """Return a bright shape on black, 20 x 28 of 28 pixels, scaled."""
    pixels = np.zeros((28, 28), dtype=np.uint8)
    pixels[:, 4:24] = 120
    pixels[6:12, 8:20] = 255
    return Image.fromarray(pixels).resize((size, size), Image.Resampling.NEAREST)


def pixels_of(image: Image.Image, path: Path, *, invert: bool = False, **options: Any) -> np.ndarray:
    image.save(path, **options)
    picture = load_image(path, invert)
    assert picture.warnings == ()
    assert picture.pixels_HW.shape == (28, 28)
    assert picture.pixels_HW.dtype == np.uint8
    return picture.pixels_HW.astype(int)


GARMENT = np.asarray(garment()).astype(int)


def test_a_picture_of_the_training_datas_size_is_taken_as_it_is(tmp_path: Path) -> None:
    for image in pictures(10):
        path = tmp_path / "picture.png"
        Image.fromarray(image).save(path)
        assert np.array_equal(load_image(path, False).pixels_HW, image)


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "LA", "P", "I;16"])
def test_a_large_picture_of_any_mode_is_scaled_down(tmp_path: Path, mode: str) -> None:
    image = garment(560)
    image = Image.fromarray(np.asarray(image).astype(np.uint16) * 257) if mode == "I;16" else image.convert(mode)
    assert np.abs(pixels_of(image, tmp_path / "picture.png") - GARMENT).mean() < 3


@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
def test_a_jpeg_is_read_whatever_it_is_called(tmp_path: Path, mode: str) -> None:
    found = pixels_of(garment(280).convert(mode), tmp_path / "picture.dat", format="JPEG", quality=95)
    assert np.abs(found - GARMENT).mean() < 5


def test_margins_are_trimmed_and_the_aspect_is_kept(tmp_path: Path) -> None:
    canvas = Image.new("L", (900, 400), 0)
    canvas.paste(garment(280).crop((40, 0, 240, 280)), (600, 30))
    assert np.abs(pixels_of(canvas, tmp_path / "picture.png") - GARMENT).mean() < 3


def test_dark_on_light_is_turned_round_by_invert(tmp_path: Path) -> None:
    found = pixels_of(ImageOps.invert(garment(280)), tmp_path / "picture.png", invert=True)
    assert np.abs(found - GARMENT).mean() < 3


@pytest.mark.parametrize("invert", [False, True])
def test_what_is_transparent_becomes_black(tmp_path: Path, invert: bool) -> None:
    image = garment(280)
    alpha = image.point([0] + [255] * 255)
    picture = (ImageOps.invert(image) if invert else image).convert("RGB")
    picture.putalpha(alpha)
    assert np.abs(pixels_of(picture, tmp_path / "picture.png", invert=invert) - GARMENT).mean() < 3


def test_a_camera_held_sideways_is_put_upright(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees clockwise
    sideways = garment(280).rotate(90)
    assert np.abs(pixels_of(sideways, tmp_path / "picture.jpg", exif=exif) - GARMENT).mean() < 5


def test_greys_are_stretched_to_the_training_datas_range(tmp_path: Path) -> None:
    dull = garment(280).point([40 + level // 2 for level in range(256)])
    found = pixels_of(dull, tmp_path / "picture.png")
    assert (found.min(), found.max()) == (0, 255)
    assert np.abs(found - GARMENT).mean() < 3


@pytest.mark.parametrize("size", [(1, 1), (3, 2000), (2000, 1), (27, 29)])
def test_no_size_is_too_odd(tmp_path: Path, size: tuple[int, int]) -> None:
    path = tmp_path / "picture.png"
    Image.effect_noise(size, 80).save(path)
    assert load_image(path, False).pixels_HW.shape == (28, 28)


@pytest.mark.parametrize(
    ("image", "invert", "message"),
    [
        (ImageOps.invert(garment(280)), False, "its border is light (brightness 1.00 of 1)"),
        (ImageOps.invert(garment(280)), False, "--invert turns it round"),
        (garment(280), True, "leave out --invert"),
        (Image.new("L", (200, 100), 7), False, "there is nearly nothing in it: 0.0% of it is not background"),
        (Image.new("L", (28, 28), 0), False, "there is nearly nothing in it"),
        (
            garment(280).point([20 + level // 8 for level in range(256)]),
            False,
            "very little contrast: its greys go from 0.08 to 0.20",
        ),
    ],
)
def test_a_picture_unlike_the_training_data_gets_a_warning(
    tmp_path: Path, image: Image.Image, invert: bool, message: str
) -> None:
    image.save(tmp_path / "picture.png")
    assert message in " | ".join(load_image(tmp_path / "picture.png", invert).warnings)


def small_png() -> bytes:
    file = io.BytesIO()
    Image.effect_noise((100, 100), 50).save(file, "PNG")
    return file.getvalue()


def bomb() -> bytes:
    """Return a PNG file that says it is 100,000 pixels wide and high."""
    content = bytearray(small_png())
    content[16:24] = struct.pack(">II", 100_000, 100_000)
    content[29:33] = struct.pack(">I", zlib.crc32(content[12:29]))
    return bytes(content)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"this is no image", "picture.png: not a PNG or JPEG image"),
        (b"", "picture.png: not a PNG or JPEG image"),
        (b"GIF89a" + bytes(100), "picture.png: not a PNG or JPEG image"),
        (small_png()[:200], "picture.png: a damaged image"),
        (small_png()[:3000], "picture.png: a damaged image"),
        (bomb(), "picture.png: more than 89,478,485 pixels"),
    ],
    ids=["text", "empty", "another kind", "cut in its head", "cut in its pixels", "huge"],
)
def test_a_file_that_is_no_picture_is_named(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "picture.png").write_bytes(content)
    with pytest.raises(UserError) as caught:
        load_image(tmp_path / "picture.png", False)
    assert message in str(caught.value)


def test_a_truncated_jpeg_is_damaged(tmp_path: Path) -> None:
    path = tmp_path / "picture.jpg"
    Image.effect_noise((300, 300), 50).save(path)
    path.write_bytes(path.read_bytes()[:-2000])
    with pytest.raises(UserError, match="a damaged image: image file is truncated"):
        load_image(path, False)


def test_what_is_no_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="a directory, not an image"):
        load_image(tmp_path, False)
    with pytest.raises(UserError, match=r"absent.png: no such file"):
        load_image(tmp_path / "absent.png", False)
    with pytest.raises(UserError, match="cannot be read: File name too long"):
        load_image(tmp_path / ("x" * 300), False)
    with pytest.raises(UserError, match="/dev/null: a device or pipe, not an image"):
        load_image("/dev/null", False)


@pytest.fixture
def studies(tmp_path: Path) -> Path:
    saved_in(tmp_path / "studies" / "tiny" / "model")
    (tmp_path / "studies" / "fresh").mkdir()
    garment(56).save(tmp_path / "light.png")
    ImageOps.invert(garment(56)).save(tmp_path / "dark.jpg")
    (tmp_path / "text.png").write_text("not an image")
    return tmp_path


def predict(folder: Path, *words: str) -> int:
    return cli.main(["predict", *words, "--studies-dir", str(folder / "studies")])


def test_predict_prints_the_likeliest_classes(studies: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert predict(studies, "tiny", f"{studies}/light.png", "--top", "2") == 0
    out, err = capsys.readouterr()
    lines = out.splitlines()
    scores = SavedModel.load(studies / "studies/tiny/model").scores(
        load_image(studies / "light.png", False).pixels_HW[None]
    )[0]
    best = np.argsort(-scores)
    assert lines[0] == f"{studies}/light.png"
    assert [line.split("  ")[1].strip() for line in lines[1:]] == [CLASSES[k] for k in best[:2]]
    probability = np.exp(scores[best[0]]) / np.exp(scores).sum()
    assert float(lines[1].split()[-2]) == pytest.approx(100 * probability, abs=0.01)
    assert err == ""


def test_predict_as_json_has_every_probability_and_warning(studies: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert predict(studies, "tiny", f"{studies}/light.png", f"{studies}/dark.jpg", "--json") == 0
    out, err = capsys.readouterr()
    result = json.loads(out)
    assert (result["study"], result["model"]) == ("tiny", f"{studies}/studies/tiny/model")
    light, dark = result["predictions"]
    assert list(light["probabilities"]) == list(CLASSES)
    assert sum(light["probabilities"].values()) == pytest.approx(1)
    assert light["class"] == max(light["probabilities"], key=light["probabilities"].get) == CLASSES[light["label"]]
    assert (light["image"], light["warnings"]) == (f"{studies}/light.png", [])
    assert "its border is light" in dark["warnings"][0]
    assert err == f"fmnist-tune: warning: {studies}/dark.jpg: {dark['warnings'][0]}\n"


def test_predict_warns_of_a_class_that_the_model_was_never_tested_on(
    studies: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    per_class = {name: {"recall": None, "support": 0} for name in CLASSES}
    (studies / "studies" / "tiny" / "model" / "metrics.json").write_text(json.dumps({"per_class": per_class}))
    assert predict(studies, "tiny", f"{studies}/light.png", "--json") == 0
    (light,) = json.loads(capsys.readouterr().out)["predictions"]
    assert light["warnings"] == [
        f"The test set has no images of {light['class']}: how well it is recognised is not known"
    ]


def test_predict_inverts_on_request(studies: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ImageOps.invert(garment(56)).save(studies / "dark.png")
    assert predict(studies, "tiny", f"{studies}/light.png", "--json") == 0
    light = json.loads(capsys.readouterr().out)["predictions"][0]
    assert predict(studies, "tiny", f"{studies}/dark.png", "--invert", "--json") == 0
    dark = json.loads(capsys.readouterr().out)["predictions"][0]
    assert dark["probabilities"] == pytest.approx(light["probabilities"], abs=1e-3)


@pytest.mark.parametrize(
    ("study", "images", "messages"),
    [
        ("fresh", ["light.png"], ["study 'fresh' has no retrained model; `fmnist-tune retrain fresh --studies-dir "]),
        ("tinny", ["light.png"], ["no studies yet; start one with "]),
        ("tiny", ["text.png"], ["text.png: not a PNG or JPEG image"]),
        ("tiny", ["absent.png", "text.png"], ["absent.png: no such file", "text.png: not a PNG or JPEG image"]),
        ("tiny", ["ligth.png"], ["light.png'?"]),
    ],
)
def test_predict_refuses_what_it_cannot_do(
    studies: Path, capsys: pytest.CaptureFixture[str], study: str, images: list[str], messages: list[str]
) -> None:
    assert predict(studies, study, *(f"{studies}/{name}" for name in images)) == 2
    out, err = capsys.readouterr()
    assert out == ""
    for message in messages:
        assert message in err


def test_a_bad_image_costs_the_others_nothing(studies: Path, capsys: pytest.CaptureFixture[str]) -> None:
    images = [f"{studies}/{name}" for name in ("text.png", "light.png", "absent.png")]
    assert predict(studies, "tiny", *images, "--json") == 2
    out, err = capsys.readouterr()
    text, light, absent = json.loads(out)["predictions"]
    assert text == {"image": images[0], "error": f"{images[0]}: not a PNG or JPEG image"}
    assert absent["error"].startswith(f"{images[2]}: no such file")
    assert light["class"] in CLASSES
    assert err.splitlines() == [f"fmnist-tune: {text['error']}", f"fmnist-tune: {absent['error']}"]
    assert predict(studies, "tiny", *images) == 2
    assert capsys.readouterr().out.startswith(f"{images[1]}\n")


def metrics(folder: Path, **changes: Any) -> dict[str, Any]:
    recall = dict(zip(CLASSES, [0.87, 0.99, 0.88, 0.94, 0.9, 0.98, 0.79, 0.97, 0.99, 0.96], strict=True))
    return {
        "study": "tiny",
        "trial": 7,
        "config": read_space(MLP, "recipe").config({}).model_dump(),
        "seeds": [0, 1, 2],
        "epochs": 10,
        "params": 6370,
        "train_s": 123.4,
        "val_accuracy": 0.9335,
        "test_accuracy": {"values": [0.92, 0.93, 0.925], "mean": 0.925, "std": 0.005, "ci95": [0.9126, 0.9374]},
        "per_class": {
            name: {"precision": 0.9, "recall": r, "f1": 0.91, "support": 1000, "recall_ci95": [r - 0.01, r + 0.01]}
            for name, r in recall.items()
        },
        "calibration": {"ece": {"values": [0.02, 0.03, 0.025], "mean": 0.025, "std": 0.005, "ci95": [0.0126, 0.0374]}},
        "test_uses": 2,
        "scores": [],
        "export": {"onnx_agreement": 1.0, "torch_export_agreement": 0.9999},
        "finished_at": "2026-11-22 15:00:00",
        "model": str(folder),
        **changes,
    }


def test_the_card_has_figures_with_intervals_and_names_what_is_weak(tmp_path: Path) -> None:
    saved = saved_in(tmp_path)
    images, labels = make_pictures(30, 0)
    rows = audit(saved, images.astype(np.uint8), labels)
    card = model_card(metrics(tmp_path), rows)
    for text in (
        "A multilayer perceptron with 1 hidden layer of 8 units: 6,370 parameters that tell the ten classes",
        "On the 10,000 test images, over 3 trainings from different seeds",
        "| test accuracy | 92.50 % ± 0.50 % (95 % interval of the mean 91.26 % to 93.74 %, 3 seeds) |",
        "| validation accuracy in the search, which chose by it | 93.35 % |",
        "those of seed 0, whatever its figures: test accuracy 92.00 %, calibration error 2.00 %",
        "When this card was written, the test set had been opened 2 times for this study; whatever was chosen",
        "Weakest classes by recall: Shirt 79.0 %, T-shirt/top 87.0 %, Pullover 88.0 %.",
        "| Shirt | 90.0 | 79.0 ± 1.0 | 91.0 | 1,000 |",
        "- Rotation: 5, 10, 20, 30, 45 (degrees, to the left or to the right)",
        "From trial 7 of study tiny: 10 epochs on the training and the validation images together",
        "in 100.00 % and 99.99 % of cases",
    ):
        assert text in card, text
    means = [float(m) for m in re.findall(r"^\| \w+ (?:\| [\d.]+ % ){5}\| ([\d.]+) % \|$", card, re.MULTILINE)]
    assert len(means) == 9
    assert means == sorted(means)


def test_the_card_names_a_torchvision_model_its_weights_and_what_was_trained(tmp_path: Path) -> None:
    def begins(keys: str) -> str:
        text = f"study: x\nmodel: {{name: torchvision{keys}}}\n"
        config = read_space(text, "recipe").config({}).model_dump()
        return model_card(metrics(tmp_path, config=config), []).splitlines()[2]

    assert begins("").startswith("Torchvision's resnet18: 6,370 parameters that tell")
    assert begins(", weights: a.pth, frozen: true").startswith(
        "Torchvision's resnet18 from the weights a.pth, frozen but for its classifier: 6,370 parameters"
    )


def test_the_card_says_what_a_single_seed_without_exports_and_audit_leaves_open(tmp_path: Path) -> None:
    one = {"values": [0.92], "mean": 0.92, "std": None, "ci95": None}
    changes = {"seeds": [0], "trial": None, "val_accuracy": None, "test_accuracy": one, "test_uses": 1, "export": None}
    card = model_card(metrics(tmp_path, **changes), [])
    for text in (
        "from a single training: how far another seed would differ is not known.",
        "| test accuracy | 92.00 % (one seed, no interval) |",
        "had been opened once for this study.",
        "From a recipe:",
        "## Robustness\n\nNot measured.",
    ):
        assert text in card, text
    assert "onnx" not in card
    assert "in the search" not in card


def test_the_cards_snippets_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    saved = saved_in(tmp_path)
    export_model(saved, tmp_path, pictures(2))
    garment(100).save(tmp_path / "garment.png")
    monkeypatch.chdir(tmp_path)
    snippets = re.findall(r"```python\n(.*?)```", model_card(metrics(tmp_path), []), re.DOTALL)
    assert len(snippets) == 2
    for snippet in snippets:
        names: dict[str, Any] = {}
        exec(snippet, names)
        assert names["scores"].shape == (1, 10)
