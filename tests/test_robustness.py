"""Changed test images: what each kind of change does to pixels, and the table of accuracies."""

from __future__ import annotations

import csv
import itertools
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from fmnist_tune.config import read_space
from fmnist_tune.data.fashion_mnist import CLASSES
from fmnist_tune.report.model_info import robustness
from fmnist_tune.retrain.robustness import (
    CLEAN,
    CORRUPTIONS,
    RobustnessRow,
    audit,
    audit_saved,
    corrupt,
    write_csv,
)
from fmnist_tune.retrain.saved import SavedModel, to_pixels
from fmnist_tune.search.cluster import WorkerPlan, prepare_environment, start_ray, stop_ray
from fmnist_tune.tasks.images import ImageConfig
from fmnist_tune.tasks.images.data_set import ALL_CLASSES
from tests.cluster import Cluster
from tests.conftest import CommandLine, make_pictures, only_environment, save_model


def pictures(n: int = 40) -> tuple[np.ndarray, np.ndarray]:
    images, labels = make_pictures(n, 0)
    images[images < 60] = 0  # bars on black
    return images.astype(np.uint8), labels.astype(np.int64)


def blob(n: int = 64) -> Tensor:
    """Return images with a bright block of 8 x 4 pixels in the middle."""
    pixels = torch.zeros(n, 1, 28, 28)
    pixels[:, :, 10:18, 12:16] = 0.8
    return pixels


def linear(bias: list[float], weight: float = 0.0) -> SavedModel:
    """Return a model whose scores are the same for every image, but for `weight` times all pixels in class 0's."""
    config = ImageConfig.model_validate({"model": {"name": "mlp", "depth": 0}, "data": {"mean": 0.0, "std": 1.0}})
    layer = nn.Linear(28 * 28, 10)
    with torch.no_grad():
        layer.weight.zero_()
        layer.weight[0] = weight
        layer.bias.copy_(torch.tensor(bias))
    return SavedModel(config, nn.Sequential(nn.Flatten(), layer).eval())


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_a_change_is_the_same_every_time_and_leaves_the_originals_alone(name: str) -> None:
    pixels = to_pixels(pictures()[0])
    before = pixels.clone()
    torch.manual_seed(1)
    first = corrupt(pixels, name, 3)
    torch.manual_seed(2)
    assert torch.equal(corrupt(pixels, name, 3), first)
    assert torch.equal(pixels, before)
    assert first.shape == pixels.shape
    assert first.dtype == torch.float32
    assert 0 <= float(first.min()) <= float(first.max()) <= 1


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_each_strength_changes_more_than_the_one_before(name: str) -> None:
    pixels = to_pixels(pictures(200)[0])
    changes = [float((corrupt(pixels, name, strength) - pixels).abs().mean()) for strength in range(1, 6)]
    assert all(weaker < stronger for weaker, stronger in pairwise([0.0, *changes]))


def centres(pixels_N1HW: Tensor) -> Tensor:
    """Return each image's centre of mass, (N, 2) as column and row from the middle."""
    position = torch.arange(28) - 13.5
    mass = pixels_N1HW.sum((1, 2, 3))
    column = (pixels_N1HW.sum((1, 2)) * position).sum(1) / mass
    row = (pixels_N1HW.sum((1, 3)) * position).sum(1) / mass
    return torch.stack([column, row], 1)


def test_rotation_turns_either_way_by_its_angle() -> None:
    turned = corrupt(blob(), "rotation", 5)
    position = torch.arange(28) - 13.5
    skew = (turned[:, 0] * position.view(1, -1, 1) * position.view(1, 1, -1)).sum((1, 2))
    spread = 0.8 * 8 * 4 * ((8**2 - 4**2) / 12) / 2  # of a block turned by 45 degrees
    assert skew.abs().numpy() == pytest.approx(spread, rel=0.1)
    assert 10 < int((skew > 0).sum()) < 54
    assert centres(turned).abs().max() < 1e-3


def test_scaling_goes_up_and_down_by_its_factor() -> None:
    area = corrupt(blob(), "scaling", 5).sum((1, 2, 3)) / blob().sum((1, 2, 3))
    larger = area > 1
    assert area[larger].numpy() == pytest.approx(1.6**2, rel=0.1)
    assert area[~larger].numpy() == pytest.approx(1.6**-2, rel=0.15)
    assert 10 < int(larger.sum()) < 54


def test_a_shift_moves_whole_pixels_in_all_directions() -> None:
    shifted = corrupt(blob(), "shift", 3)
    moved = centres(shifted) - centres(blob())
    assert torch.allclose(moved, moved.round(), atol=1e-4)
    assert moved.norm(dim=1).numpy() == pytest.approx(3.0, abs=0.71)
    assert (moved > 1).any(0).all()
    assert (moved < -1).any(0).all()
    assert set(np.unique(shifted.numpy().round(4))) == {np.float32(0.0), np.float32(0.8)}


def test_brightness_lifts_or_dims_whole_pictures() -> None:
    changed = corrupt(blob(), "brightness", 2)
    pairs = {(round(float(p[0, 0, 0]), 4), round(float(p[0, 14, 14]), 4)) for p in changed}
    assert pairs == {(0.2, 1.0), (0.0, 0.64)}


def test_contrast_keeps_the_mean_and_a_share_of_the_differences() -> None:
    changed = corrupt(blob(1), "contrast", 5)
    assert float(changed.mean()) == pytest.approx(float(blob(1).mean()), abs=1e-6)
    assert float(changed.max() - changed.min()) == pytest.approx(0.8 * 0.15, abs=1e-6)


def test_noise_has_its_standard_deviation() -> None:
    grey = torch.full((50, 1, 28, 28), 0.5)
    assert float((corrupt(grey, "noise", 2) - 0.5).std()) == pytest.approx(0.08, rel=0.02)


def test_blur_spreads_a_point_by_its_sigma() -> None:
    point = torch.zeros(1, 1, 28, 28)
    point[0, 0, 14, 14] = 1
    blurred = corrupt(point, "blur", 4)
    variance = (blurred[0, 0].sum(0) * (torch.arange(28) - 14) ** 2).sum()
    assert float(blurred.sum()) == pytest.approx(1.0, abs=1e-5)
    assert float(variance) == pytest.approx(1.5**2, rel=0.05)


def test_occlusion_covers_one_square_of_one_brightness() -> None:
    black = torch.zeros(20, 1, 28, 28)
    for picture in corrupt(black, "occlusion", 3)[:, 0]:
        assert int((picture > 0).sum()) == 8 * 8
        rows, columns = torch.nonzero(picture, as_tuple=True)
        assert (int(rows.max() - rows.min()), int(columns.max() - columns.min())) == (7, 7)
        assert len(picture.unique()) == 2


def test_clutter_changes_the_background_alone_and_stays_below_its_brightest() -> None:
    pixels = blob()
    changed = corrupt(pixels, "clutter", 5)
    assert torch.equal(changed[pixels > 0], pixels[pixels > 0])
    texture = changed[pixels == 0]
    assert 0.5 < float(texture.max()) <= 0.6
    assert float(texture.mean()) == pytest.approx(0.3, abs=0.02)


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_an_image_of_any_size_is_changed_and_by_no_less_at_a_higher_strength(name: str) -> None:
    for side, channels in itertools.product((1, 2, 8, 12, 56), (1, 3)):
        pixels = spots(side, channels)
        changed = [corrupt(pixels, name, strength) for strength in range(1, 6)]
        assert all(x.shape == pixels.shape and x.isfinite().all() and 0 <= x.min() <= x.max() <= 1 for x in changed)
        changes = [float((x - pixels).abs().mean()) for x in changed]
        assert changes == sorted(changes), side
        if side >= 8:
            assert changes[-1] > 1e-3
            assert changes[0] > 1e-3 or (name == "blur" and side < 28), "a blur of 0.14 pixels is none"


def spots(side: int, channels: int) -> Tensor:
    """Return images with a soft spot, each at a place of its own."""
    place = (torch.arange(side) + 0.5) / side
    centre = 0.3 + 0.4 * torch.rand(50, 1, 1, 2, generator=torch.Generator().manual_seed(0))
    squared = (place.view(1, -1, 1) - centre[..., 0]) ** 2 + (place.view(1, 1, -1) - centre[..., 1]) ** 2
    return torch.exp(-squared / 0.02).unsqueeze(1).expand(-1, channels, -1, -1).contiguous()


@pytest.mark.parametrize(("side", "covered"), [(8, [1, 2, 2, 3, 4]), (12, [2, 3, 3, 5, 6]), (56, [8, 12, 16, 22, 28])])
def test_an_occlusion_is_a_square_of_whole_pixels_inside_the_image(side: int, covered: list[int]) -> None:
    black = torch.zeros(50, 1, side, side)
    for strength, expected in enumerate(covered, start=1):
        n_covered = (corrupt(black, "occlusion", strength) > 0).sum((1, 2, 3))
        assert n_covered.tolist() == [expected**2] * 50


@pytest.mark.parametrize(("side", "most"), [(8, [1, 1, 1, 1, 2]), (12, [1, 1, 1, 2, 3]), (56, [2, 4, 6, 8, 12])])
def test_a_shift_scales_with_the_side_and_is_of_one_pixel_at_least(side: int, most: list[int]) -> None:
    point = torch.zeros(200, 1, side, side)
    point[:, :, side // 2, side // 2] = 1
    for strength, expected in enumerate(most, start=1):
        places = torch.nonzero(corrupt(point, "shift", strength)[:, 0] > 0.99)[:, 1:] - side // 2
        assert len(places) == 200
        assert int(places.abs().max()) == expected
        assert int(places.abs().amax(1).min()) >= 1


def test_an_oblong_image_is_turned_without_being_sheared() -> None:
    wide = torch.nn.functional.pad(blob(), (14, 14))
    turned = corrupt(wide, "rotation", 5)[..., 14:-14]
    assert torch.allclose(turned, corrupt(blob(), "rotation", 5), atol=1e-5)


def test_an_audit_has_a_figure_for_every_change_strength_and_class() -> None:
    images, labels = pictures(20)
    rows = audit(linear([1.0] + [0.0] * 9), images, labels)
    assert len(rows) == (1 + 9 * 5) * 11
    assert rows[:3] == [
        RobustnessRow("none", 0, 0.0, "all", 0.1),
        RobustnessRow("none", 0, 0.0, "T-shirt/top", 1.0),
        RobustnessRow("none", 0, 0.0, "Trouser", 0.0),
    ]
    assert {r.accuracy for r in rows if r.class_name == ALL_CLASSES} == {0.1}
    assert [r.class_name for r in rows[:11]] == [ALL_CLASSES, *CLASSES]
    assert [r.parameter for r in rows if (r.corruption, r.class_name) == ("rotation", "all")] == [5, 10, 20, 30, 45]


def test_an_audit_sees_the_changed_pictures() -> None:
    images = np.zeros((100, 28, 28), dtype=np.uint8)
    labels = np.ones(100, dtype=np.int64)
    model = linear([-100.0, 0.0] + [-200.0] * 8, weight=1.0)  # class 0 once the pixels sum to more than 100
    accuracies = [r.accuracy for r in audit(model, images, labels, ["brightness"]) if r.class_name == ALL_CLASSES]
    lifted = float((corrupt(to_pixels(images), "brightness", 5)[:, 0, 0, 0] > 0).float().mean())
    assert accuracies == [1.0] + [pytest.approx(1 - lifted)] * 4  # 78.4 at strength 1, 156.8 at strength 2


def test_an_audit_in_pieces_is_the_whole_audit_and_skips_absent_classes() -> None:
    images, labels = pictures(3)
    model = linear([0.0] * 10)
    whole = audit(model, images, labels)
    pieces = [row for name in (CLEAN, *CORRUPTIONS) for row in audit(model, images, labels, [name])]
    assert pieces == whole
    assert {r.class_name for r in whole} == {"all", "T-shirt/top", "Trouser", "Pullover"}


@pytest.mark.ray
def test_an_audit_shared_by_workers_is_the_whole_audit(joined: CommandLine, cluster: Cluster) -> None:
    from fmnist_tune.search.parallel_map import parallel_map  # imports Ray, which the command line prepares

    images, labels = pictures(30)
    folder = joined.folder / "model"
    recipe = "study: s\nmodel: {name: mlp, hidden: [8]}\n"
    torch.manual_seed(0)
    save_model(folder, recipe, read_space(recipe, "recipe").config({}).build())
    with only_environment(joined.environment):
        prepare_environment()
        start_ray(cluster.address)
        try:
            names = [CLEAN, *CORRUPTIONS]
            found = parallel_map(audit_saved, [str(folder), images, labels], names, WorkerPlan(2, 1, 0))
        finally:
            stop_ray()
    rows = [row for of_corruption in found for row in of_corruption]
    assert rows == audit(SavedModel.load(folder), images, labels)
    assert len({row.accuracy for row in rows}) > 3


def test_the_report_reads_the_table_as_it_was_written(tmp_path: Path) -> None:
    images, labels = pictures(30)
    rows = audit(linear([0.0] * 10, weight=-0.1), images, labels, [CLEAN, "noise"])
    path = tmp_path / "robustness.csv"
    write_csv(rows, path)
    assert path.read_text().splitlines()[:2] == ["corruption,strength,parameter,class,accuracy", "none,0,0.0,all,0.1"]
    with path.open(encoding="utf-8", newline="") as file:
        info = robustness(list(csv.DictReader(file)), 10, rows[0].accuracy)
    noisy = [r for r in rows if r.corruption == "noise" and r.class_name == ALL_CLASSES]
    assert info.accuracies == {"noise": tuple(r.accuracy for r in noisy)}
