"""torchvision's models over one channel: their names, their weights, what is frozen, what is saved."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from torch import Tensor, nn
from torchvision import models

from fmnist_tune.config import load_space, read_space
from fmnist_tune.errors import FileError, UserError
from fmnist_tune.models.architectures import ARCHITECTURES, WEIGHT_NAMES, image_sizes
from fmnist_tune.models.backbone import Backbone
from fmnist_tune.models.check import check_models
from fmnist_tune.models.layers import n_params
from fmnist_tune.models.torchvision import Torchvision
from fmnist_tune.retrain.export import export_model
from fmnist_tune.retrain.prediction import image_config
from fmnist_tune.retrain.saved import SavedModel
from fmnist_tune.search.messages import Assignment
from fmnist_tune.search.worker import Worker
from fmnist_tune.tasks.images import ImageConfig, Images
from fmnist_tune.tasks.images.fashion_mnist import FASHION_MNIST
from fmnist_tune.training.checkpoint import load_checkpoint, save_checkpoint
from fmnist_tune.training.run import TrainingRun
from fmnist_tune.training.tensors import TrainingData
from tests.conftest import CommandLine, make_pictures, save_model

FC = 512 * 10 + 10  # resnet18's classifier over ten classes


@pytest.fixture(scope="module")
def original() -> nn.Module:
    """A resnet18 of 1000 classes whose batch statistics are not the initial ones, in place of a pretrained one."""
    torch.manual_seed(7)
    network: nn.Module = models.resnet18(weights=None)
    with torch.no_grad():
        network.train()(torch.randn(16, 3, 32, 32))
    return network.eval()


@pytest.fixture(scope="module")
def weights(original: nn.Module, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "resnet18.pth"
    torch.save(original.state_dict(), path)
    return path


def section(**keys: Any) -> Torchvision:
    return Torchvision.model_validate(
        {"name": "torchvision", **{k: str(v) if isinstance(v, Path) else v for k, v in keys.items()}}
    )


def recipe(model: str) -> str:
    return f"study: tiny\nmodel: {{name: torchvision, {model}}}\ndata: {{val_size: 100}}\n"


def make_run(model: Torchvision, **training: Any) -> TrainingRun:
    torch.set_num_threads(1)
    config = ImageConfig.model_validate(
        {"model": model.model_dump(), "training": {"epochs": 2, **training}, "data": {"val_size": 100}}
    )
    images, labels = make_pictures(200, 0)
    data = TrainingData.from_images(images.astype("uint8"), labels.astype("int64"), config.data, "cpu")
    return TrainingRun(config, data, seed=0)


def state(module: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in module.state_dict().items()}


def test_the_names_are_torchvisions_but_for_those_that_cannot_be_adapted() -> None:
    left_out = set(models.list_models(module=models)) ^ set(ARCHITECTURES)
    assert left_out == {"googlenet", "inception_v3", "mnasnet0_5", "mnasnet0_75", "mnasnet1_0", "mnasnet1_3"}
    known = {name for a in ARCHITECTURES for name in models.get_model_weights(a).__members__}
    assert known - set(WEIGHT_NAMES) == {"IMAGENET1K_FEATURES"}
    assert set(WEIGHT_NAMES) <= known


@pytest.mark.parametrize(
    ("architecture", "fails_at"),
    [
        ("alexnet", 62),
        ("vit_b_32", 192),
        ("maxvit_t", None),
        ("resnet18", None),
        ("mobilenet_v3_small", None),
        ("vgg11", None),
        ("shufflenet_v2_x0_5", None),
        ("squeezenet1_1", None),
        ("swin_t", None),
        ("efficientnet_b0", None),
    ],
)
def test_an_architecture_works_on_pictures_from_its_least_size_on(architecture: str, fails_at: int | None) -> None:
    least, _ = image_sizes(architecture)
    with torch.device("meta"):
        model = Backbone(section(architecture=architecture, image_size=least, dropout=0.1), FASHION_MNIST)
        assert model(torch.zeros(2, 1, 28, 28)).shape == (2, 10)
        if fails_at is not None:
            with pytest.raises((RuntimeError, AssertionError, ValueError)):
                model.network(torch.zeros(2, 1, fails_at, fails_at))


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (
            "architecture: resnet19",
            "model.architecture: 'resnet19' is not one of torchvision's classification models; near it are resnet18, resnet1",
        ),
        ("architecture: nothing_like_it", "classification models, such as resnet18 or mobilenet_v3_small"),
        (
            "weights: imagenet",
            "model.weights: 'imagenet' is neither none, nor a name of torchvision's weights (DEFAULT, ",
        ),
        ("architecture: alexnet", "model: alexnet needs images of at least 63 pixels, but image_size is 32"),
        (
            "architecture: vit_b_16, image_size: 256",
            "model: vit_b_16 needs images of 224 pixels, but image_size is 256",
        ),
        (
            "wieghts: none",
            "model.wieghts: unknown key; allowed are name, architecture, weights, frozen, image_size, dropout, tta; did you mean 'weights'?",
        ),
    ],
)
def test_a_mistake_in_the_section_is_named(model: str, message: str) -> None:
    with pytest.raises(FileError) as caught:
        read_space(recipe(model), "f.yaml")
    assert message in str(caught.value)


def test_a_padded_picture_larger_than_the_network_expects_is_refused() -> None:
    with pytest.raises(FileError, match="image_size 32 is less than the 36 pixels of a padded image"):
        read_space("study: x\nmodel: {name: torchvision}\ndata: {pad: 4}\n", "f.yaml")


def test_one_channel_gives_what_the_original_gives_for_grey_in_three(original: nn.Module, weights: Path) -> None:
    model = Backbone(section(weights=weights), FASHION_MNIST).eval()
    grey = torch.randn(4, 1, 32, 32)
    features = nn.Sequential(*list(original.children())[:-1], nn.Flatten())
    ours = nn.Sequential(*list(model.network.children())[:-1], nn.Flatten())
    with torch.no_grad():
        torch.testing.assert_close(
            model.network.conv1(grey), original.conv1(grey.repeat(1, 3, 1, 1)), rtol=1e-4, atol=1e-5
        )
        torch.testing.assert_close(ours(grey), features(grey.repeat(1, 3, 1, 1)), rtol=1e-3, atol=1e-4)
        smaller = torch.randn(4, 1, 28, 28)
        enlarged = nn.functional.interpolate(smaller, size=32, mode="bilinear")
        torch.testing.assert_close(model(smaller), model.network(enlarged))


def test_a_file_gives_all_weights_but_the_classifiers(original: nn.Module, weights: Path, tmp_path: Path) -> None:
    tensors = tmp_path / "resnet18.safetensors"
    safetensors.torch.save_file(original.state_dict(), tensors)
    for path in (weights, tensors):
        loaded = Backbone(section(weights=path), FASHION_MNIST).network.state_dict()
        unlike = {name for name, tensor in original.state_dict().items() if not torch.equal(loaded[name], tensor)}
        assert unlike == {"conv1.weight", "fc.weight", "fc.bias"}
        assert loaded["fc.weight"].shape == (10, 512)
    unread = section(weights=tmp_path / "not there.pth").without_files().build(FASHION_MNIST)
    assert n_params(unread) == 11_175_370


def test_old_densenet_names_are_understood(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = models.densenet121(weights=None)
    new = {name: tensor for name, tensor in network.state_dict().items() if not name.endswith("num_batches_tracked")}
    old = {name.replace(".norm1.", ".norm.1.").replace(".conv2.", ".conv.2."): t for name, t in new.items()}
    assert len(old.keys() - new.keys()) > 100
    torch.save(old, tmp_path / "densenet121.pth")
    model = Backbone(section(architecture="densenet121", weights=tmp_path / "densenet121.pth"), FASHION_MNIST)
    name = "features.denseblock4.denselayer16.conv2.weight"
    assert torch.equal(model.network.state_dict()[name], network.state_dict()[name])


def test_what_is_frozen_does_not_change_in_training(weights: Path) -> None:
    run = make_run(section(weights=weights, frozen=True, dropout=0.2))
    before = state(run.model)
    assert run.n_params == FC
    assert sum(p.numel() for group in run.optimizer.param_groups for p in group["params"]) == FC
    list(run.epochs())
    changed = {name for name, tensor in run.model.state_dict().items() if not torch.equal(before[name], tensor)}
    assert changed == {"network.fc.1.weight", "network.fc.1.bias"}
    assert run.model.training is False
    assert [name for name, module in run.model.train().named_modules() if module.training] == [
        "",
        "network.fc",
        "network.fc.0",
        "network.fc.1",
    ]


def test_what_is_not_frozen_is_trained_from_the_weights_on(weights: Path) -> None:
    run = make_run(section(weights=weights), epochs=1)
    before = state(run.model)
    list(run.epochs())
    changed = {name for name, tensor in run.model.state_dict().items() if not torch.equal(before[name], tensor)}
    assert changed == set(before)


def test_a_run_goes_on_from_its_checkpoint_as_if_undisturbed(weights: Path, tmp_path: Path) -> None:
    model = section(weights=weights, frozen=True)
    whole = [r.train_loss for r in make_run(model).epochs()]
    first = make_run(model)
    next(first.epochs())
    save_checkpoint(first, tmp_path / "checkpoint.pt")
    second = make_run(model)
    assert load_checkpoint(second, tmp_path / "checkpoint.pt") is None
    assert [r.train_loss for r in second.epochs()] == whole[1:]


def test_files_that_are_not_weights_of_the_architecture_are_named(
    original: nn.Module, weights: Path, tmp_path: Path
) -> None:
    def refusal(architecture: str, content: object | None) -> str:
        path = tmp_path / "given.pth"
        path.unlink(missing_ok=True)
        if isinstance(content, bytes):
            path.write_bytes(content)
        elif content is not None:
            torch.save(content, path)
        with pytest.raises(UserError) as caught:
            Backbone(section(architecture=architecture, weights=path), FASHION_MNIST)
        assert "\n" not in str(caught.value)
        return str(caught.value).replace(str(path), "given.pth")

    fine = original.state_dict()
    assert refusal("resnet18", None).startswith("model.weights: given.pth: no such file (looked for in ")
    assert refusal("resnet18", b"").startswith("model.weights: given.pth: cannot be read as weights alone: ")
    assert refusal("resnet18", b"not a zip").startswith("model.weights: given.pth: cannot be read as weights alone: ")
    assert "cannot be read as weights alone: Weights only load failed" in refusal("resnet18", original)
    assert (
        refusal("resnet18", {"epoch": 3, "state_dict": fine})
        == "model.weights: given.pth: not a state_dict (tensors by name), but a mapping of epoch, state_dict"
    )
    assert (
        refusal("resnet18", [fine])
        == "model.weights: given.pth: not a state_dict (tensors by name), but another object"
    )
    assert "given.pth does not fit resnet34: 80 of its tensors are missing (layer1.2.conv1.weight, " in refusal(
        "resnet34", fine
    )
    assert "does not fit resnet50: size mismatch for layer1.0.conv1.weight" in refusal("resnet50", fine)
    assert refusal("resnet18", {**fine, "extra": torch.zeros(1)}).endswith("1 of its tensors are not known (extra)")


def test_a_name_that_torchvision_has_not_is_answered_with_those_it_has() -> None:
    with pytest.raises(UserError) as caught:
        Backbone(section(architecture="resnet18", weights="IMAGENET1K_V2"), FASHION_MNIST)
    assert (
        str(caught.value)
        == "model.weights: torchvision has no IMAGENET1K_V2 for resnet18; it has IMAGENET1K_V1, DEFAULT"
    )


def test_a_name_is_taken_from_torchs_cache_and_without_network_says_what_to_do(
    weights: Path,
    original: nn.Module,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")  # where nobody listens
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    named = section(weights="DEFAULT")
    with pytest.raises(UserError) as caught:
        Backbone(named, FASHION_MNIST)
    message = str(caught.value)
    assert message.startswith("model.weights: DEFAULT of resnet18 could not be fetched (")
    assert "download https://download.pytorch.org/models/resnet18-f37072fd.pth, copy it here" in message
    assert f"weights: resnet18-f37072fd.pth (or put it into {tmp_path}/hub/checkpoints)" in message
    assert capsys.readouterr().out == ""
    cached = tmp_path / "hub" / "checkpoints" / "resnet18-f37072fd.pth"
    cached.write_bytes(weights.read_bytes())
    loaded = Backbone(named, FASHION_MNIST).network.state_dict()
    assert torch.equal(loaded["layer4.1.conv2.weight"], original.state_dict()["layer4.1.conv2.weight"])


def test_a_trial_without_its_weights_fails_alone_with_the_reason(tmp_path: Path) -> None:
    images, labels = make_pictures(200, 0)
    worker = Worker(Images(images.astype(np.uint8), labels.astype(np.int64), ("", "")), "cpu")
    config = {"model": section(weights=tmp_path / "gone.pth").model_dump(), "data": {"val_size": 100}}
    worker.assign(Assignment(0, config, 0, 0, str(tmp_path / "0" / "checkpoint.pt"), str(tmp_path / "log"), 1))
    assert worker.step().failure == f"model.weights: {tmp_path}/gone.pth: no such file (looked for in {Path.cwd()})"


def test_all_weights_of_a_space_are_checked_and_every_problem_is_named_once(weights: Path, tmp_path: Path) -> None:
    text = f"""
study: x
model:
  name: {{choice: [torchvision, mlp]}}
  architecture: {{choice: [resnet18, resnet34], when: {{model.name: torchvision}}}}
  weights: {{choice: [none, {weights}, {tmp_path}/gone.pth], when: {{model.name: torchvision}}}}
  frozen: {{choice: [true, false], when: {{model.name: torchvision}}}}
"""
    space = read_space(text, "f.yaml")
    with pytest.raises(FileError) as caught:
        check_models(space.corner_configs(), space.source)
    lines = str(caught.value).splitlines()
    assert lines[0] == "f.yaml: 2 problems"
    assert any(f"{weights} does not fit resnet34" in line for line in lines)
    assert any(f"model.weights: {tmp_path}/gone.pth: no such file" in line for line in lines)


def test_check_and_search_say_before_ray_starts_that_weights_are_missing(command: CommandLine) -> None:
    space = recipe("weights: gone.pth, frozen: {choice: [true, false]}")
    searched = command.search(space)
    checked = command("check", command.folder / "space.yaml")
    assert (searched.code, checked.code) == (2, 2)
    for result in (searched, checked):
        assert f"model.weights: gone.pth: no such file (looked for in {command.folder})" in result.err
    assert "starting Ray" not in searched.err
    assert not (command.folder / "studies").exists()


def test_a_saved_model_is_loaded_and_exported_without_the_pretrained_file(tmp_path: Path) -> None:
    text = recipe(f"architecture: mobilenet_v3_small, weights: {tmp_path}/gone.pth, frozen: true, dropout: 0.2")
    config = image_config(read_space(text, "recipe"))
    torch.manual_seed(0)
    module = config.model.without_files().build(config.images)
    with torch.no_grad():
        for layer in module.modules():
            if isinstance(layer, nn.BatchNorm2d):
                assert layer.running_var is not None
                layer.running_var.uniform_(0.5, 2.0)
    save_model(tmp_path / "model", text, module)
    saved = SavedModel.load(tmp_path / "model")
    images = make_pictures(40, 3)[0].astype(np.uint8)
    with torch.no_grad():
        pixels = (torch.tensor(images[:, None] / 255, dtype=torch.float32) - config.data.mean) / config.data.std
        expected = module.eval()(pixels).numpy()
    assert saved.scores(images) == pytest.approx(expected, abs=1e-4)
    check = export_model(saved, tmp_path, images)
    assert (check.onnx_agreement, check.torch_export_agreement) == (1.0, 1.0)


def test_the_shipped_space_searches_architecture_and_what_is_trained() -> None:
    space = load_space("search_spaces/transfer.yaml")
    built = {(c.model.architecture, c.model.frozen) for c in space.corner_configs() if isinstance(c.model, Torchvision)}
    assert len(built) == 6
    assert (
        space.config(
            {"model.architecture": "resnet18", "model.frozen": True, "model.dropout": 0.1}
        ).training.optimizer.lr
        == 1e-3
    )
