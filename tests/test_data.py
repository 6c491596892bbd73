"""The data set: what is accepted, what is refused, and how it is split."""

from __future__ import annotations

import gzip
import hashlib
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fmnist_tune.config import read_space
from fmnist_tune.data.fashion_mnist import DEBIAN_DIR, has_part, load_part
from fmnist_tune.data.fetch import DEBIAN_PACKAGE, fetch_data, locate_data
from fmnist_tune.data.split import describe_split, fingerprint, keep_shares, stratified_split
from fmnist_tune.errors import UserError
from tests.conftest import TinyData

IMAGES, LABELS = "train-images-idx3-ubyte", "train-labels-idx1-ubyte"


@pytest.fixture
def copy(tiny_data: TinyData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the tiny data set that a test may damage; this process accepts it."""
    monkeypatch.setenv("FMNIST_TUNE_MD5SUMS", str(tiny_data.md5sums))
    return Path(shutil.copytree(tiny_data.folder, tmp_path / "copy"))


def test_training_files_are_read_without_the_test_files(copy: Path) -> None:
    for path in copy.glob("t10k*"):
        path.unlink()
    images = load_part(copy, "train")
    assert images.images_NHW.shape == (600, 28, 28)
    assert np.bincount(images.labels_N).tolist() == [60] * 10


def test_uncompressed_files_and_torchvisions_folders_are_found(copy: Path, tmp_path: Path) -> None:
    raw = tmp_path / "root" / "FashionMNIST" / "raw"
    raw.mkdir(parents=True)
    for path in copy.glob("*.gz"):
        (raw / path.stem).write_bytes(gzip.decompress(path.read_bytes()))
    assert (load_part(tmp_path / "root", "train").images_NHW == load_part(copy, "train").images_NHW).all()


def archive(folder: Path, data: TinyData) -> Path:
    """Make a Debian archive of one package, with the tiny data set in it; returns apt's configuration that names it."""
    tree, repository, apt = folder / "tree", folder / "repository", folder / "apt"
    shutil.copytree(data.folder, tree / DEBIAN_DIR.relative_to("/"))
    (tree / "DEBIAN").mkdir()
    control = f"Package: {DEBIAN_PACKAGE}\nVersion: 1\nArchitecture: all\nMaintainer: nobody\nDescription: tiny\n"
    (tree / "DEBIAN" / "control").write_text(control)
    repository.mkdir()
    package = repository / f"{DEBIAN_PACKAGE}_1_all.deb"
    subprocess.run(["dpkg-deb", "--build", "--root-owner-group", tree, package], check=True, capture_output=True)
    digest = hashlib.sha256(package.read_bytes()).hexdigest()
    facts = f"Filename: ./{package.name}\nSize: {package.stat().st_size}\nSHA256: {digest}\n"
    (repository / "Packages").write_text(control + facts)
    for name in ("lists/partial", "parts"):
        (apt / name).mkdir(parents=True)
    (apt / "sources.list").write_text(f"deb [trusted=yes] file:{repository} ./\n")
    settings = {
        "Etc::SourceList": apt / "sources.list",
        "Etc::SourceParts": apt / "parts",
        "State::Lists": apt / "lists",
    }
    path = apt / "apt.conf"
    path.write_text("".join(f'Dir::{name} "{value}";\n' for name, value in settings.items()))
    return path


@pytest.mark.skipif(shutil.which("apt-get") is None, reason="apt is Debian's")
def test_debians_archive_fills_a_folder_that_is_named_relative_to_the_current_one(
    tiny_data: TinyData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "https_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")  # torchvision finds nobody there
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.setenv("FMNIST_TUNE_MD5SUMS", str(tiny_data.md5sums))
    monkeypatch.setenv("APT_CONFIG", str(archive(tmp_path / "archive", tiny_data)))
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    assert fetch_data(Path("my data/ü"), print) == Path("my data/ü")
    assert len(load_part(tmp_path / "here" / "my data" / "ü", "train").labels_N) == 600


def test_a_file_with_other_checksums_is_the_users_own_and_stays(copy: Path) -> None:
    (copy / f"{LABELS}.gz").unlink()
    own = copy / f"{IMAGES}.gz"
    own.write_bytes(gzip.compress(b"my own images"))
    before = {path: path.read_bytes() for path in copy.iterdir()}
    with pytest.raises(UserError, match="not the published file") as caught:
        fetch_data(copy, print)
    assert {path: path.read_bytes() for path in copy.iterdir()} == before
    assert "fmnist-tune data --data-dir NEW_FOLDER" in str(caught.value)
    assert "FMNIST_TUNE_MD5SUMS" in str(caught.value)
    assert "delete" not in str(caught.value)


def test_a_damaged_file_is_not_to_be_deleted(copy: Path) -> None:
    path = copy / f"{IMAGES}.gz"
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(
        UserError, match=r"damaged or unreadable \(.*\); `fmnist-tune data --data-dir NEW_FOLDER`"
    ) as caught:
        load_part(copy, "train")
    assert "delete" not in str(caught.value)


def test_a_folder_that_is_not_writable_is_named() -> None:
    with pytest.raises(UserError, match=r"^/proc: the data set cannot be put there: "):
        fetch_data(Path("/proc"), print)


def test_data_that_cannot_be_fetched_leaves_nothing_behind_and_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "https_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")  # nobody answers there
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    folder = tmp_path / "data"
    with pytest.raises(UserError, match=r"--data-dir\n  torchvision: .+\n  Debian's archive: apt-get is not on this"):
        fetch_data(folder, print)
    assert list(folder.iterdir()) == []


def test_the_splits_of_a_searched_data_section_are_those_of_its_choices(copy: Path) -> None:
    images = load_part(copy, "train")
    text = "study: x\nmodel: {name: mlp}\ndata: {choice: [{val_size: 100}, {val_size: 200, pad: 2}]}"
    split = describe_split(read_space(text, "f.yaml"), images)
    assert set(split) == {"kind", "n_pictures", "val_size 100", "val_size 200"}


def test_a_truncated_file_is_named_and_refused(copy: Path) -> None:
    path = copy / f"{IMAGES}.gz"
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(UserError, match=f"{IMAGES}.gz: damaged or unreadable"):
        load_part(copy, "train")


def test_a_file_with_other_content_is_named_and_refused(copy: Path) -> None:
    content = bytearray(gzip.decompress((copy / f"{IMAGES}.gz").read_bytes()))
    content[1000] ^= 1
    (copy / f"{IMAGES}.gz").write_bytes(gzip.compress(bytes(content)))
    with pytest.raises(UserError, match=f"{IMAGES}.gz: not the published file"):
        load_part(copy, "train")


def test_a_file_that_is_no_gzip_is_named_and_refused(copy: Path) -> None:
    (copy / f"{LABELS}.gz").write_text("<html>404</html>")
    with pytest.raises(UserError, match=f"{LABELS}.gz: damaged or unreadable"):
        load_part(copy, "train")


def test_a_missing_file_is_named_with_what_to_do(copy: Path) -> None:
    (copy / f"{LABELS}.gz").unlink()
    with pytest.raises(UserError, match=f"no {LABELS}.gz .*`fmnist-tune data --data-dir .* fetches it"):
        load_part(copy, "train")


def test_the_tiny_set_is_refused_where_the_published_one_is_expected(tiny_data: TinyData) -> None:
    with pytest.raises(UserError, match="not the published file"):
        load_part(tiny_data.folder, "train")


def test_a_data_dir_that_is_not_there_is_an_error_and_nothing_is_fetched(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such directory"):
        locate_data(tmp_path / "absent", print)
    assert list(tmp_path.iterdir()) == []


def test_the_cache_is_used_before_anything_is_fetched(
    copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    cached = tmp_path / "cache" / "fmnist-tune" / "fashion-mnist"
    shutil.copytree(copy, cached)
    said: list[str] = []
    assert locate_data(None, said.append) == cached
    assert said == []


def test_the_split_is_stratified_disjoint_and_always_the_same() -> None:
    labels = np.repeat(np.arange(10), 600)
    train, val = stratified_split(labels, 1000)
    again, _ = stratified_split(labels, 1000)
    assert np.bincount(labels[val]).tolist() == [100] * 10
    assert np.intersect1d(train, val).size == 0
    assert len(train) + len(val) == len(labels)
    assert (train == again).all()
    assert fingerprint(val) == "d170b747b1d583c9"


@given(st.lists(st.integers(0, 9), min_size=20, max_size=200), st.integers(1, 19))
@settings(max_examples=100)
def test_a_split_gives_every_class_its_share_to_within_one(labels: list[int], val_size: int) -> None:
    labels_N = np.array(labels)
    train, val = stratified_split(labels_N, val_size)
    assert len(val) == val_size
    assert sorted([*train, *val]) == list(range(len(labels)))
    share = np.bincount(labels_N, minlength=10) * val_size / len(labels)
    assert (np.abs(np.bincount(labels_N[val], minlength=10) - share) < 1).all()


def test_a_split_that_leaves_nothing_to_train_on_is_refused() -> None:
    with pytest.raises(UserError, match="val_size: 20 leaves nothing to train on; there are 20"):
        stratified_split(np.zeros(20, dtype=np.int64), 20)


def test_keep_thins_out_the_named_classes_alone() -> None:
    labels = np.repeat(np.arange(10), 100)
    kept = keep_shares(labels, np.arange(1000), {5: 0.1, 9: 0.25})
    assert np.bincount(labels[kept]).tolist() == [100] * 5 + [10] + [100] * 3 + [25]


@pytest.mark.real
@pytest.mark.skipif(not has_part(DEBIAN_DIR, "train"), reason="the real data set is not on this machine")
def test_the_real_files_are_the_published_ones() -> None:
    images = load_part(DEBIAN_DIR, "train")
    _, val = stratified_split(images.labels_N, 10_000)
    assert images.images_NHW.shape == (60_000, 28, 28)
    assert np.bincount(images.labels_N[val]).tolist() == [1000] * 10
    assert fingerprint(val) == "88297b969c2f62e5"
    assert images.images_NHW.mean() / 255 == pytest.approx(0.2860, abs=1e-4)
