"""Tasks and data sets that are not ours: found by name, searched, resumed, retrained, reported, exported, predicted."""

from __future__ import annotations

import io
import itertools
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from fmnist_tune.cli.check import space_view
from fmnist_tune.config import SearchSpace, read_space
from fmnist_tune.config.defaults import default_values
from fmnist_tune.errors import UserError
from fmnist_tune.retrain.images import load_image
from fmnist_tune.tasks.images import Images
from fmnist_tune.tasks.images.config import Augment
from fmnist_tune.tasks.images.data_set import described
from tests.conftest import CommandLine, Result
from tests.plugins.my_shapes import Shapes

PLUGINS = Path(__file__).parent / "plugins"
WAVES = """\
study: waves
task: my_waves:Waves
search:
  trials: 3
  sampler: {name: random, seed: 0}
  pruner: {name: asha, min_epochs: 1, reduction_factor: 2}
model: {name: net, width: {int: [2, 16]}}
training:
  epochs: 4
  optimizer: {name: adam, lr: {float: [1e-2, 1e-1], log: true}}
data: {n: 32}
"""
SHAPES = """\
study: shapes
search:
  trials: 3
  sampler: {name: random, seed: 0}
  pruner: {name: none}
model: {name: my_models:Wide, width: {int: [8, 24]}}
training:
  epochs: 6
  batch_size: 16
  optimizer: {name: adam, lr: 1e-2}
  augment: {shift: 1}
data: {name: my_shapes:Shapes, keep: {1: 0.9}, mean: [0.3, 0.25, 0.2], std: 0.3}
"""


@pytest.fixture
def here(command: CommandLine) -> CommandLine:
    """The command line in a folder with the files of a task, a data set and a model."""
    for file in PLUGINS.glob("*.py"):
        shutil.copy(file, command.folder)
    return command


def install(here: CommandLine, entry_points: str) -> None:
    """Install a package with entry points into the folder, where its modules are and Ray's workers look."""
    info = here.folder / "mine-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: mine\nVersion: 1\n")
    (info / "entry_points.txt").write_text(entry_points)


NUMBERS = itertools.count()


def run(here: CommandLine, command: str, text: str, code: str | None = None) -> Result:
    """Run a command on a space; `code` is that of a module `broken`, called otherwise: Python imports a module once."""
    name = f"broken_{next(NUMBERS)}"
    if code is not None:
        (here.folder / f"{name}.py").write_text(code)
    (here.folder / "s.yaml").write_text(text.replace("broken", name))
    found = here.here(command, "s.yaml")
    assert "Traceback" not in found.err
    return Result(found.code, *(" ".join(out.split()).replace(name, "broken") for out in (found.out, found.err)))


def check(here: CommandLine, text: str, code: str | None = None) -> str:
    """Return what `check` says of a space, on one line."""
    found = run(here, "check", text, code)
    assert found.code == (2 if found.err else 0), found.err
    return found.err or found.out


def test_keys_of_an_own_task_are_checked_and_shown_as_ours_are(here: CommandLine) -> None:
    shown = check(here, WAVES)
    assert "model.width int 2 .. 16" in shown
    assert "training.steps 20" in shown
    assert "data.frequency 3" in shown
    text = WAVES.replace("width: {int", "widht: {int").replace("n: 32", "n: 2").replace("epochs: 4", "batch_size: 4")
    found = check(here, text)
    assert "model.widht: unknown key; allowed are name, width; did you mean 'width'? (line 7)" in found
    assert "data.n: 2: should be greater than or equal to 4 (line 11)" in found
    assert "training.batch_size: unknown key; allowed are epochs, steps, optimizer" in found


@pytest.mark.parametrize(
    ("task", "code", "message"),
    [
        ("fashion_mnist", None, "'fashion_mnist' is not one of fashion-mnist, modular-addition; did you mean 'fashion-mnist'? (line 2)"),
        ("regression", None, "s.yaml: task: 'regression' is not one of fashion-mnist, modular-addition; a task of your own is named package.module:Class (line 2)"),
        ("my_waves:Wave", None, "my_waves.py has no Wave; did you mean 'Waves'? (line 2)"),
        ("my_wave:Waves", None, "no module my_wave among the installed packages or in the current folder"),
        ("my_waves:Net", None, "my_waves:Net is the class Net; it must be a class derived from fmnist_tune.tasks.Task"),
        ("broken:X", "import nothing_of_that_name", "broken:X: broken cannot be imported: ModuleNotFoundError: No module named 'nothing_of_that_name' (broken.py, line 1)"),
        ("broken:X", "from fmnist_tune.tasks import Task\nclass X(Task): pass", "broken:X has no method new_run"),
        ("broken:X", "from fmnist_tune.tasks import Task\nclass X(Task):\n    def new_run(self, *a, **k): pass", "broken:X has no config, which must be a class derived from fmnist_tune.tasks.TaskConfig"),
        ("broken:X", "from my_waves import *\nclass C(TaskConfig):\n    training: Training = Training()\nclass X(Waves):\n    config = C", "broken:X: broken:C has no models, which must be a fmnist_tune.tasks.SectionRegistry"),
        ("broken:X", "from my_waves import *\nclass X(Waves):\n    def __init__(self): 1 / 0", "broken:X raised ZeroDivisionError: division by zero (broken.py, line 3)"),
        ("broken:X", "X = 3", "broken:X is a int; it must be a class derived from fmnist_tune.tasks.Task"),
    ],
)  # fmt: skip
def test_what_is_no_task_is_named_and_refused(here: CommandLine, task: str, code: str | None, message: str) -> None:
    assert message in check(here, f"study: s\ntask: {task}\nmodel: {{name: mlp}}\n", code)


DATA = "from fmnist_tune.tasks.images import *\nimport numpy as np\nclass X(DataSet):\n    val_size: int = 10\n"
SPEC = "    @property\n    def spec(self): return ImageSpec(1, 5, 5, ('a', 'b'))\n"
LOADS = "    def load_test(self, *a): raise AssertionError('sealed')\n    def load_train(self, *a): return "


@pytest.mark.parametrize(
    ("data", "code", "message"),
    [
        ("fashion-mnits", None, "data.name: 'fashion-mnits' is not a data set; allowed are fashion-mnist; did you mean 'fashion-mnist'? (line 3)"),
        ("my_shapes:Wide", None, "my_shapes.py has no Wide"),
        ("my_models:Wide", None, "my_models:Wide is the class Wide; it must be a class derived from fmnist_tune.tasks.images.DataSet"),
        ("broken:X", DATA, "broken:X has no property spec"),
        ("broken:X", DATA + SPEC, "broken:X has no method load_train"),
        ("broken:X", DATA + SPEC.replace("ImageSpec(", "1 / 0, ImageSpec(") + LOADS + "1", "broken:X raised ZeroDivisionError: division by zero (broken.py, line 6)"),
        ("broken:X", DATA + SPEC.replace("ImageSpec(", "exit(3), ImageSpec(") + LOADS + "1", "broken:X raised SystemExit: 3 (broken.py, line 6)"),
        ("broken:X", DATA + SPEC.replace("ImageSpec(1, 5, 5, ('a', 'b'))", "3") + LOADS + "1", "data: broken:X: spec is a int; it must be an ImageSpec"),
        ("broken:X", DATA + SPEC.replace("('a', 'b')", "'ab'") + LOADS + "1", "broken:X: spec is class_names 'ab'; they must be a tuple of texts that are not empty"),
        ("broken:X", DATA + SPEC.replace("'b'", "'a'") + LOADS + "1", "class_names ('a', 'a'); they must be two or more, and each another"),
        ("broken:X", DATA + SPEC.replace("'b'", "'all'") + LOADS + "1", "a class 'all', which stands for all classes in tables"),
        ("broken:X", DATA + SPEC.replace("(1, 5", "(2, 5") + LOADS + "1", "2 channels; allowed are 1 (grey) and 3 (colour)"),
        ("broken:X", DATA + "    use_notes = None\n" + SPEC + LOADS + "1", "data: broken:X: use_notes is None; it must be a text"),
        ("broken:X", DATA + "    title = 3\n" + SPEC + LOADS + "1", "data: broken:X: title is 3; it must be a text"),
        ("broken:X", DATA + SPEC.replace("(1, 5", "(1, 0") + LOADS + "1", "height 0 and width 5; they must be 1 or more"),
        ("my_shapes:Shapes, nois: 3", None, "data.nois: unknown key; allowed are name, val_size, mean, std, pad, keep, mitigation, noise; did you mean 'noise'?"),
        ("my_shapes:Shapes, keep: {4: 0.5}", None, "data: keep: label 4; labels are 0 to 3 (line 3)"),
        ("my_shapes:Shapes, noise: {int: [3, 9]}", None, "data.noise: cannot be searched: all trials of a study are trained on the same images"),
        ("{choice: [fashion-mnist, 'my_shapes:Shapes']}", None, "data.name: cannot be searched"),
    ],
)  # fmt: skip
def test_what_is_no_data_set_is_named_and_refused(here: CommandLine, data: str, code: str | None, message: str) -> None:
    assert message in check(here, f"study: s\nmodel: {{name: mlp, dropout: 0.1}}\ndata: {{name: {data}}}\n", code)


@pytest.mark.parametrize(
    ("returned", "message"),
    [
        ("3", "data set broken:X: load_train returned a int; it must be an Images(images_NHW, labels_N)"),
        ("Images([1], [2])", "images_NHW of type list; it must be a numpy array"),
        ("Images(np.zeros((9, 5, 5)), np.zeros(9, dtype=int))", "images_NHW of float64 (9, 5, 5); its spec says uint8 (N, 5, 5)"),
        ("Images(np.zeros((9, 5, 5, 3), dtype=np.uint8), np.zeros(9, dtype=int))", "images_NHW of uint8 (9, 5, 5, 3); its spec says uint8 (N, 5, 5)"),
        ("Images(np.zeros((9, 5, 5), dtype=np.uint8), np.zeros(8, dtype=int))", "labels_N of int64 (8,); they must be int64 (9,), one for each image"),
        ("Images(np.zeros((9, 5, 5), dtype=np.uint8), np.zeros(9))", "labels_N of float64 (9,); they must be int64 (9,), one for each image"),
        ("Images(np.zeros((9, 5, 5), dtype=np.uint8), np.arange(9))", "labels from 0 to 8; its spec has 2 classes, 0 to 1"),
        ("Images(np.zeros((0, 5, 5), dtype=np.uint8), np.zeros(0, dtype=int))", "no images"),
        ("Images(np.zeros((9, 5, 5), dtype=np.uint8), np.zeros(9, dtype=int))", "data.val_size: 10 leaves nothing to train on; there are 9 training images"),
        ("Images(np.zeros((9, 5, 5), dtype=np.uint8), np.zeros(9, dtype=int), md5=('abc',))", "md5 ('abc',); it must be two texts, of the images and of the labels"),
        ("exit(3)", "data set broken:X: load_train raised SystemExit: 3 (broken.py, line 8)"),
        ("Images(np.zeros((90, 5, 5), dtype=np.uint8), np.arange(90) % 2)\n    def describe(self, train): return {'n': np.int64(3)}", "data set broken:X: describe returned what a study cannot record as JSON: Object of type int64 is not JSON serializable"),
        ("Images(np.zeros((90, 5, 5), dtype=np.uint8), np.arange(90) % 2)\n    def describe(self, train): return None", "data set broken:X: describe returned a NoneType; it must be of type dict"),
        ("Images(np.zeros((90, 5, 5), dtype=np.uint8), np.arange(90) % 2)\n    def describe(self, train): return train.x", "data set broken:X: describe raised AttributeError: 'Images' object has no attribute 'x' (broken.py, line 9)"),
        ("{}['x']", "data set broken:X: load_train raised KeyError: 'x' (broken.py, line 8)"),
    ],
)  # fmt: skip
def test_images_that_are_not_what_the_data_set_says_end_a_search_before_ray_starts(
    here: CommandLine, returned: str, message: str
) -> None:
    text = "study: s\nsearch: {trials: 1}\nmodel: {name: mlp, dropout: {float: [0, 0.5]}}\ndata: {name: broken:X}\n"
    found = run(here, "search", text, DATA + SPEC + LOADS + returned)
    assert (found.code, message in found.err) == (2, True), found.err
    assert not (here.folder / "studies").exists()


@pytest.mark.parametrize(
    ("method", "message"),
    [
        ("problems(self, configs): return 1 / 0", "broken:X: problems raised ZeroDivisionError: division by zero (broken.py, line 3)"),
        ("warnings(self, *a): return 1 / 0", "broken:X: warnings raised ZeroDivisionError: division by zero (broken.py, line 3)"),
        ("warnings(self, *a): return None", "broken:X: warnings raised TypeError: 'NoneType' object is not iterable"),
        ("open_data(self, *a): return 1 / 0", "broken:X: open_data raised ZeroDivisionError: division by zero (broken.py, line 3)"),
        ("open_data(self, *a): return None", "broken:X: open_data returned a NoneType; it must be of type Source"),
        ("open_data(self, *a): return Source(None, {'at': Path()})", "broken:X: open_data returned what a study cannot record as JSON: Object of type PosixPath is not JSON serializable"),
        ("open_data(self, *a): raise UserError('their own')", "fmnist-tune: their own"),
    ],
)  # fmt: skip
def test_what_a_method_of_an_own_task_raises_is_told_before_ray_starts(
    here: CommandLine, method: str, message: str
) -> None:
    imports = "from my_waves import *; from pathlib import Path; from fmnist_tune.tasks.task import Source, UserError"
    code = f"{imports}\nclass X(Waves):\n    def {method}\n"
    found = run(here, "search", WAVES.replace("my_waves:Waves", "broken:X"), code)
    assert (found.code, message in found.err) == (2, True), found.err
    assert not (here.folder / "studies").exists()


def test_an_own_data_set_says_how_many_images_it_has_and_so_when_trials_are_first_evaluated(here: CommandLine) -> None:
    text = SHAPES.replace("my_shapes:Shapes", "broken:X").replace("pruner: {name: none}", "timeout: 20s")
    code = "from my_shapes import *\nclass X(Shapes):\n    n_train = property(lambda self: "
    assert "search.pruner.min_epochs 0.05, so that " in check(here, text, f"{code}10**9)\n")
    assert "search.pruner.min_epochs 1, as the seconds of an epoch are not known" in check(here, text, f"{code}None)\n")
    found = run(here, "check", text, f"{code}1 / 0)\n")
    assert (found.code, "raised ZeroDivisionError: division by zero (broken.py, line 3)" in found.err) == (2, True)


def test_a_key_of_an_own_class_that_is_none_by_default_is_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "keys_of_none.py").write_text(
        "from fmnist_tune.search.scheduler import Scheduler, SchedulerSection\n"
        "from tests.plugins.my_waves import *\n"
        "from tests.plugins.my_shapes import Shapes\n"
        "class Inner(Section):\n    rank: int | None = None\n"
        "class NoneNet(Net):\n    name: str\n    depth: int | None = None\n    inner: Inner = Inner()\n"
        "class NoneTraining(Training):\n    clip: float | None = None\n"
        "class Config(WaveConfig):\n    training: NoneTraining = NoneTraining()\n"
        "class NoneWaves(Waves):\n    config = Config\n"
        "class NoneShapes(Shapes):\n    limit: int | None = None\n"
        "class Never(SchedulerSection):\n    patience: int | None = None\n"
        "    def build(self): return Scheduler(self)\n"
    )
    monkeypatch.chdir(tmp_path)

    def nones(text: str) -> list[str]:
        space = read_space(f"study: s\nsearch: {{pruner: {{name: 'keys_of_none:Never'}}}}\n{text}", "s.yaml")
        shown = shown_text(space)
        found = [default.path for default in default_values(space) if default.value is None]
        assert all(f"{path} none" in shown for path in found if path.split(".")[-1] not in ("gpus", "betas"))
        return [path for path in found if path not in ("search.timeout", "resources.gpus")]

    own = nones("task: keys_of_none:NoneWaves\nmodel: {name: 'keys_of_none:NoneNet', width: {int: [2, 4]}}")
    always = ["search.pruner.patience"]
    assert own == [*always, "model.inner.rank", "training.optimizer.betas", "training.clip"]
    of_data = nones(
        "model: {name: mlp, hidden: [8], dropout: {float: [0, 0.5]}}\ndata: {name: 'keys_of_none:NoneShapes'}"
    )
    assert of_data == [*always, "training.optimizer.betas", "training.early_stopping", "data.limit"]


def shown_text(space: SearchSpace) -> str:
    """Return what `check` prints, on one line."""
    console = Console(width=200, file=io.StringIO())
    with console.capture() as captured:
        console.print(space_view(space))
    return " ".join(captured.get().split())


def test_a_key_of_an_own_class_may_be_of_any_type_that_json_can_say(here: CommandLine) -> None:
    code = "from my_shapes import *\nclass X(Shapes):\n    path: Path = Path('x')\n"
    assert "data.path x" in check(here, SHAPES.replace("my_shapes:Shapes", "broken:X"), code)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("mean", [0.5, 0.5], "data: mean: 2 numbers, for images of 3 channels"),
        ("std", [0.5, 0.5, 0.0], "data: std: [0.5, 0.5, 0.0]; it must be above 0"),
        ("std", 0, "data: std: 0.0; it must be above 0"),
        ("mean", [], "data.mean: []: should be a number, or a list of one for each channel"),
        ("mean", ["a"], "data.mean: ['a']: should be a number, or a list of one for each channel"),
        ("mean", True, "data.mean: True: should be a number, or a list of one for each channel"),
    ],
)
def test_a_mean_of_each_channel_is_checked(key: str, value: Any, message: str) -> None:
    text = f"study: s\nmodel: {{name: mlp}}\ndata: {{name: 'tests.plugins.my_shapes:Shapes', {key}: {json.dumps(value)}}}\n"
    with pytest.raises(UserError) as caught:
        read_space(text, "s.yaml")
    assert message in str(caught.value)


def test_each_channel_is_normalised_by_its_own_numbers_in_training_and_in_the_saved_model() -> None:
    import torch

    from fmnist_tune.retrain.saved import PixelModel, to_pixels
    from fmnist_tune.training.augment import augment_batch
    from fmnist_tune.training.tensors import TrainingData

    mean, std = [0.1, 0.2, 0.4], [0.5, 0.25, 1.0]
    data, one = Shapes(name="x", mean=mean, std=std, pad=1), Shapes(name="x", mean=0.2, std=0.25, pad=1)
    images = data.load_train(None, print)
    found, of_one = (TrainingData.from_images(images.images_NHW, images.labels_N, d, "cpu") for d in (data, one))
    pixels = torch.nn.functional.pad(torch.tensor(images.images_NHW).movedim(3, 1) / 255, [1] * 4)
    for channel in range(3):
        wanted = (pixels[:, channel] - mean[channel]) / std[channel]
        assert torch.allclose(torch.cat([found.x_train, found.x_val])[:, channel].sum(), wanted.sum(), rtol=1e-4)
    assert torch.equal(found.x_train[:, 1], of_one.x_train[:, 1])
    assert isinstance(found.blank, torch.Tensor)
    assert found.blank.flatten().tolist() == pytest.approx([-0.2, -0.8, -0.4])
    assert of_one.blank == -0.2 / 0.25
    for augment in ({"shift": 2}, {"rotate": 10.0, "shift": 2}, {"erase": 1.0}):
        torch.manual_seed(0)
        changed = augment_batch(found.x_train, Augment(**augment), found.blank)
        torch.manual_seed(0)
        expected = augment_batch(of_one.x_train, Augment(**augment), of_one.blank)
        assert torch.allclose(changed[:, 1], expected[:, 1], atol=1e-5)
        black = (changed - found.blank).abs().amax(1) < 1e-6
        assert black.any(), "what comes from outside the image is black in all channels"
    model = PixelModel(torch.nn.Identity(), data)
    assert torch.allclose(
        model(to_pixels(images.images_NHW[:1]))[0, :, 3, 3],
        (pixels[0, :, 3, 3] - torch.tensor(mean)) / torch.tensor(std),
    )


def test_what_a_study_records_of_its_data_is_what_json_keeps_of_it() -> None:
    class Numbered(Shapes):
        def describe(self, train: Images) -> dict[str, object]:
            return {"counts": {0: (1, 2)}}

    data = Numbered(name="x")
    assert described(data, data.load_train(None, print)) == {"counts": {"0": [1, 2]}}


@pytest.mark.parametrize(
    ("returned", "message"),
    [
        ((np.zeros((3, 3, 3), dtype=np.uint8), ()), "prepare_image returned pixels of uint8 (3, 3, 3); its spec says uint8 (12, 12, 3)"),
        ((np.zeros((12, 12, 3)), ()), "pixels of float64 (12, 12, 3); its spec says uint8 (12, 12, 3)"),
        (([1], ()), "pixels of list; its spec says uint8 (12, 12, 3)"),
        ((np.zeros((12, 12, 3), dtype=np.uint8), "dark"), "warnings 'dark'; they must be a tuple of texts"),
        (None, "prepare_image raised TypeError: cannot unpack non-iterable NoneType object"),
    ],
)  # fmt: skip
def test_what_a_picture_is_prepared_as_is_checked(tmp_path: Path, returned: Any, message: str) -> None:
    class Odd(Shapes):
        def prepare_image(self, picture: Any, *, invert: bool) -> Any:
            return returned

    Image.new("RGB", (20, 20)).save(tmp_path / "a.png")
    with pytest.raises(UserError) as caught:
        load_image(tmp_path / "a.png", False, Odd(name="x"))
    assert message in str(caught.value)


@pytest.mark.ray
def test_an_own_task_goes_from_the_search_to_a_report(here: CommandLine, joined: CommandLine) -> None:
    path, name = here.folder / "space.yaml", "my_waves:Waves"
    path.write_text(WAVES)
    assert joined("check", path).err == ""
    result = joined("search", path, "--json")
    assert result.code == 0, result.err
    assert result.json["trials"]["failed"] == 0
    assert result.json["best"]["config"]["task"] == name
    result = joined("resume", "waves", "--trials", "5", "--json")
    assert result.json["trials"]["total"] == 5, result.err
    best = result.json["best"]["value"]
    result = joined("retrain", "waves", "--seeds", "2", "--json")
    assert result.code == 0, result.err
    assert len(result.json["val_r2"]["values"]) == 2
    assert "test_accuracy" not in result.json
    result = joined("retrain", "waves", "--seeds", "2")
    assert "nothing was left to train" in result.err
    assert "explained variance " in result.out
    assert joined.here("report", "waves").code == 0
    report = (here.folder / "studies" / "waves" / "report" / "report.md").read_text()
    assert "hyperparameter search on waves" in report
    assert f"| Best on validation | {best:.3f} " in report
    assert "retrained: explained variance " in report
    for command, wanted in (
        (("show", "waves"), "retrained: explained variance "),
        (("studies",), "explained variance"),
        (("export", "waves"), f"task: {name}"),
    ):
        assert wanted in " ".join(joined(*command).out.split())
    Image.new("L", (12, 12)).save(here.folder / "a.png")
    result = joined.here("predict", "waves", "a.png")
    assert (result.code, "has no images" in result.err) == (2, True)
    assert joined("export", "waves", "--output", "r.yaml").code == 0
    result = joined.here("find-lr", "r.yaml")
    assert (result.code, "has no learning-rate range test" in result.err) == (2, True)
    assert joined("train", "r.yaml", "--seeds", "1", "--json").json["study"] == "waves-recipe"


@pytest.mark.ray
def test_an_own_data_set_of_an_entry_point_goes_from_the_search_to_a_prediction(
    here: CommandLine, joined: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(here.folder)
    install(here, "[fmnist_tune.data_sets]\nshapes = my_shapes:Shapes\n")
    path, opened = here.folder / "space.yaml", here.folder / "test_is_open"
    path.write_text(SHAPES.replace("my_shapes:Shapes", "shapes"))
    assert joined("check", path).err == ""
    result = joined("search", path, "--json")
    assert result.code == 0, result.err
    assert result.json["trials"]["failed"] == 0
    assert joined("resume", "shapes", "--trials", "4", "--json").json["trials"]["total"] == 4
    assert not opened.exists()
    result = joined("retrain", "shapes", "--seeds", "1", "--json")
    assert result.code == 0, result.err
    assert opened.exists()
    assert list(result.json["per_class"]) == ["bar", "pole", "square", "nothing"]
    assert result.json["test_accuracy"]["mean"] > 0.6
    assert result.json["export"] == {"onnx_agreement": 1.0, "torch_export_agreement": 1.0}
    assert "nothing was left to train" in joined("retrain", "shapes", "--seeds", "1").err
    card = (here.folder / "studies" / "shapes" / "model" / "model_card.md").read_text()
    assert "tell the four classes of Shapes apart" in card
    assert "Computed; they have no biases" in card
    assert "garment" not in card
    assert "(N, 3, 12, 12)" in card
    opened.unlink()
    assert joined.here("report", "shapes").code == 0
    assert opened.exists()
    folder = here.folder / "studies" / "shapes" / "report"
    report = (folder / "report.md").read_text()
    assert "hyperparameter search on Shapes" in report
    assert "Training images of each class of Shapes." in report
    assert "Fashion-MNIST" not in report + card
    assert "could not be drawn" not in report
    assert (folder / "confusion_matrix.csv").read_text().splitlines()[0] == "true,bar,pole,square,nothing"
    pixels = np.full((40, 40, 3), 20, dtype=np.uint8)
    pixels[10:30, 12:18] = (250, 200, 150)
    Image.fromarray(pixels).save(here.folder / "a.png")
    prediction = joined.here("predict", "shapes", "a.png", "--json").json["predictions"][0]
    assert list(prediction["probabilities"]) == ["bar", "pole", "square", "nothing"]
    assert prediction["class"] == "pole"
    assert joined("export", "shapes", "--output", "r.yaml").code == 0
    assert joined.here("find-lr", "r.yaml", "--steps", "10", "--json").code == 0
