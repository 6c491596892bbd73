"""Models that are not ours: found by name, checked as ours are, searched, retrained and described."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image

from fmnist_tune.models import ImageSpec
from fmnist_tune.models.cnn import Cnn
from fmnist_tune.models.mlp import Mlp
from fmnist_tune.models.torchvision import Torchvision
from fmnist_tune.tasks.images.fashion_mnist import FASHION_MNIST
from tests.conftest import TINY_SPACE, CommandLine

PLUGINS = Path(__file__).parent / "plugins"
OWN_SPACE = TINY_SPACE.replace(
    "name: mlp\n  hidden: [8]\n  dropout: {float: [0.0, 0.5]}",
    "name: my_models:Wide\n  width: {int: [4, 24]}\n  gate: {choice: [relu, tanh]}",
)


@pytest.fixture
def here(command: CommandLine) -> CommandLine:
    """The command line in a folder with a file of models."""
    shutil.copy(PLUGINS / "my_models.py", command.folder)
    return command


def check(command: CommandLine, model: str) -> str:
    """Return what `check` says of a model: its table, or why there is none."""
    (command.folder / "s.yaml").write_text(f"study: s\nmodel: {model}\n")
    result = command("check", "s.yaml")
    assert result.code == (2 if result.err else 0)
    return result.err or "\n".join(" ".join(line.split()) for line in result.out.splitlines())


def test_a_model_in_the_current_folder_is_checked_and_shown_as_ours_are(here: CommandLine) -> None:
    shown = check(here, "{name: my_models:Wide, width: {int: [700, 900]}}")
    assert "\nmodel.width int 700 .. 900" in shown
    assert "\nmodel.gate relu\nmodel.rank full\n" in shown
    assert "1 of the 2 corners of the space cannot be built" in shown
    assert "width 900 is more than the 784 values of an image" in shown


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("{name: my_models:Wide, widht: 3}", "model.widht: unknown key; allowed are name, width, gate, rank; did you mean 'width'?"),
        ("{name: my_models:Wide, width: 0}", "model.width: 0: should be greater than or equal to 1"),
        ("{name: my_models:Wide, gate: rellu}", "'rellu' is not one of relu, tanh; did you mean 'relu'?"),
        ("{name: my_models:Wide, blocks: 3}", "model.blocks: a key of cnn, not of my_models:Wide; allowed are name, width"),
        ("{name: {choice: [mlp, 'my_models:Wide']}, gate: {choice: [relu, tanh]}}", "model.gate: a key of my_models:Wide, but model.name can be mlp too; add when: {model.name: my_models:Wide} to it"),
        ("{name: my_models:Wide, width: 800}", "model: width 800 is more than the 784 values of an image"),
    ],
)  # fmt: skip
def test_a_mistake_in_the_keys_of_such_a_model_is_named(here: CommandLine, model: str, message: str) -> None:
    assert message in check(here, model)


@pytest.mark.parametrize(
    ("code", "name", "message"),
    [
        (None, "absent_models:Wide", "absent_models:Wide: no module absent_models among the installed packages or in the current folder"),
        (None, "Deep", "'Deep' is not a model; allowed are mlp, cnn, torchvision; a model of your own is named package.module:Class"),
        (None, "a:b:c", "'a:b:c' must be package.module:Class"),
        (None, "torch.nn:Linear", "torch.nn:Linear is the class Linear; it must be a class derived from fmnist_tune.models.ModelSection"),
        ("import nowhere", "broken_import:X", "broken_import cannot be imported: ModuleNotFoundError: No module named 'nowhere' (broken_import.py, line 1)"),
        ("x = (", "broken_syntax:X", "broken_syntax cannot be imported: SyntaxError: '(' was never closed (broken_syntax.py, line 1)"),
        ("raise SystemExit(3)", "broken_exit:X", "broken_exit cannot be imported: SystemExit: 3 (broken_exit.py, line 1)"),
        ("class Wide: pass", "broken_name:Wode", "broken_name.py has no Wode; did you mean 'Wide'?"),
        ("def f(): pass", "broken_kind:f", "broken_kind:f is a function; it must be a class derived from"),
        ("class X(ModelSection): pass", "broken_empty:X", "broken_empty:X has no method build"),
        ("class X(ModelSection):\n    def check(self, spec, batch_size): return self.y\n    def build(self, spec): pass", "broken_check:X", "broken_check:X raised AttributeError: 'X' object has no attribute 'y' (broken_check.py, line 3)"),
        ("class X(ModelSection):\n    def build(self, spec): return 1 / 0", "broken_build:X", "broken_build:X: it raised ZeroDivisionError: division by zero (broken_build.py, line 3)"),
        ("class X(ModelSection):\n    def build(self, spec): return 1", "broken_value:X", "broken_value:X: build returned 1, not a torch.nn.Module"),
        ("class X(ModelSection):\n    def build(self, spec):\n        from torch import nn\n        return nn.Sequential(nn.Flatten(), nn.Linear(784, 5))", "broken_shape:X", "broken_shape:X: of (2, 1, 28, 28) inputs it made (2, 5); scores must be (2, 10)"),
        ("class X(ModelSection):\n    def build(self, spec):\n        from torch import nn\n        return nn.Sequential(nn.Flatten(), nn.AvgPool1d(78))", "broken_frozen:X", "broken_frozen:X: it has no parameter to train"),
        ("class X(ModelSection):\n    def build(self, spec):\n        from torch import nn\n        return nn.Sequential(nn.Flatten(), nn.LazyLinear(10))", "broken_lazy:X", "broken_lazy:X: it raised ValueError: Attempted to use an uninitialized parameter"),
        ("class X(ModelSection):\n    def describe(self): return None\n    def build(self, spec):\n        from torch import nn\n        return nn.Sequential(nn.Flatten(), nn.Linear(784, 10))", "broken_text:X", "broken_text:X: describe returned None, not a text"),
    ],
)  # fmt: skip
def test_what_is_no_model_is_named_and_refused_before_anything_starts(
    command: CommandLine, code: str | None, name: str, message: str
) -> None:
    if code is not None:
        module = command.folder / f"{name.partition(':')[0]}.py"
        module.write_text(
            f"{'from fmnist_tune.models import ModelSection; ' if 'Section' in code else ''}\n{code}".lstrip("\n")
        )
    assert message in check(command, f"{{name: {name}}}")


def test_an_entry_point_gives_a_model_a_name(here: CommandLine) -> None:
    info = here.folder / "installed" / "wide_models-1.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: wide-models\nVersion: 1\n")
    (info / "entry_points.txt").write_text("[fmnist_tune.models]\nwide = my_models:Wide\n")
    here.environment["PYTHONPATH"] = f"{here.environment.get('PYTHONPATH', '')}:{info.parent}"
    for name, wanted in (
        ("wide", "rank full"),
        ("wied", "allowed are mlp, cnn, torchvision, wide; did you mean 'wide'?"),
    ):
        (here.folder / "s.yaml").write_text(f"study: s\nmodel: {{name: {name}}}\n")
        process = here.start("check", "s.yaml")
        assert wanted in " ".join(" ".join(process.communicate(timeout=60)).split())


def test_the_schema_of_every_model_imports_nothing_heavy() -> None:
    code = "import sys, fmnist_tune.models, fmnist_tune.config; print([m for m in ('torch', 'numpy', 'ray') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


@pytest.mark.parametrize("channels", [1, 3])
def test_our_models_are_built_for_any_channels_sides_and_classes(channels: int) -> None:
    spec = ImageSpec(channels, 24, 32, ("a", "b", "c"))
    for section in (Mlp(name="mlp"), Cnn(name="cnn"), Torchvision(name="torchvision", architecture="squeezenet1_1")):
        assert section.build(spec).eval()(torch.rand(2, channels, 24, 32)).shape == (2, 3), section.name


def test_our_models_say_what_they_are() -> None:
    sections = (
        Mlp(name="mlp", depth=0),
        Cnn(name="cnn", blocks=2, base_channels=8, head=[64, 32]),
        Torchvision(name="torchvision", weights="a.pth", frozen=True),
    )
    assert [section.describe() for section in sections] == [
        "a multilayer perceptron with no hidden layer",
        "a convolutional network with 2 blocks of 8, 16 channels and dense layers of 64, 32 units",
        "torchvision's resnet18 from the weights a.pth, frozen but for its classifier",
    ]
    assert FASHION_MNIST.padded(2).shape == (1, 32, 32)


@pytest.mark.ray
def test_a_model_of_ones_own_goes_from_the_search_to_a_prediction(here: CommandLine, joined: CommandLine) -> None:
    data = ("--data-dir", here.data_dir)
    result = joined.search(OWN_SPACE, "--json")
    assert result.code == 0, result.err
    assert result.json["trials"]["failed"] == 0
    assert result.json["best"]["config"]["model"]["name"] == "my_models:Wide"
    result = joined("resume", "tiny", "--trials", "5", *data, "--json")
    assert result.json["trials"]["total"] == 5
    assert "  one hidden layer of " in here("show", "tiny").out
    result = joined("retrain", "tiny", "--seeds", "1", *data, "--json")
    assert result.code == 0, result.err
    assert result.json["test_accuracy"]["mean"] > 0.8
    assert result.json["export"] == {"onnx_agreement": 1.0, "torch_export_agreement": 1.0}
    card = (here.folder / "studies" / "tiny" / "model" / "model_card.md").read_text()
    assert card.splitlines()[2].startswith("One hidden layer of ")
    assert "The code of the model my_models:Wide must be installed, or in the current folder." in card
    assert here.here("report", "tiny", *data).code == 0
    assert "One hidden layer of " in (here.folder / "studies" / "tiny" / "report" / "report.md").read_text()
    assert "name: 'my_models:Wide'" in here("export", "tiny").out
    Image.new("L", (28, 28)).save(here.folder / "a.png")
    assert len(here.here("predict", "tiny", "a.png", "--json").json["predictions"][0]["probabilities"]) == 10
    elsewhere = here.folder / "elsewhere"
    elsewhere.mkdir()
    (here.folder / "my_models.py").rename(elsewhere / "my_models.py")
    result = here("predict", "tiny", "a.png")
    assert result.code == 2
    assert "no module my_models among the installed packages or in the current folder" in result.err
