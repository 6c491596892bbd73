"""Fashion-MNIST's four IDX files: finding, verifying and reading them."""

from __future__ import annotations

import gzip
import hashlib
import os
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fmnist_tune.errors import UserError
from fmnist_tune.files import user_path
from fmnist_tune.tasks.images.data_set import Images, Part
from fmnist_tune.tasks.images.fashion_mnist import FASHION_MNIST

CLASSES = FASHION_MNIST.class_names

# MD5 of the uncompressed files as published since 2017-08-31; earlier ones had test images among the training images.
MD5 = {
    "train-images-idx3-ubyte": "f4a8712d7a061bf5bd6d2ca38dc4d50a",
    "train-labels-idx1-ubyte": "9018921c3c673c538a1fc5bad174d6f9",
    "t10k-images-idx3-ubyte": "8181f5470baa50b63fa0f6fddb340f0a",
    "t10k-labels-idx1-ubyte": "15d484375f8d13e6eb1aabb0c3f46965",
}
FILES = {
    "train": ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
    "test": ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
}
DEBIAN_DIR = Path("/usr/share/datasets/fashion-mnist")
# A file other than the published one may be the user's own, so no message suggests deleting it.
OTHER_COPY = (
    "`fmnist-tune data --data-dir NEW_FOLDER` fetches the published files into another folder, for --data-dir to name"
)


def cache_dir() -> Path:
    """Return where fetched files are kept: `$XDG_CACHE_HOME/fmnist-tune/fashion-mnist`, `~/.cache` by default.

    Raises:
        UserError: there is neither that variable nor a home folder.
    """
    caches = os.environ.get("XDG_CACHE_HOME")
    if not caches:
        try:
            caches = str(Path.home() / ".cache")
        except RuntimeError:
            raise UserError(
                "the data set has no place to be kept in, since this user has no home directory; "
                "`fmnist-tune data --data-dir DIR` fetches it into a folder, which --data-dir names from then on"
            ) from None
    return Path(caches) / "fmnist-tune" / "fashion-mnist"


def checksums() -> dict[str, str]:
    """Return the MD5 that each uncompressed file must have.

    `FMNIST_TUNE_MD5SUMS` names a file in md5sum's format that replaces them, for tests and for other data sets in
    Fashion-MNIST's format. A study records the checksums it was trained on.

    Raises:
        UserError: that file cannot be read, or lists other files.
    """
    path = os.environ.get("FMNIST_TUNE_MD5SUMS")
    if not path:
        return MD5
    try:
        rows = [
            line.split(maxsplit=1) for line in user_path(path).read_text(encoding="utf-8").splitlines() if line.strip()
        ]
        sums = {name.strip().lstrip("*"): digest for digest, name in rows}
    except (OSError, ValueError) as error:
        raise UserError(f"FMNIST_TUNE_MD5SUMS={path}: not readable as md5sum's output: {error}") from None
    if set(sums) != set(MD5):
        raise UserError(f"FMNIST_TUNE_MD5SUMS={path}: must name exactly {', '.join(MD5)}")
    return sums


def find_file(folder: Path, name: str) -> Path | None:
    """Return `name` or `name.gz` in a folder or in torchvision's subfolder of it; None if absent."""
    for place in (folder, folder / "FashionMNIST" / "raw", folder / "raw"):
        for candidate in (place / f"{name}.gz", place / name):
            if os.path.isfile(candidate):  # Path.is_file raises if a folder may not be entered
                return candidate
    return None


def has_part(folder: Path, part: Part) -> bool:
    """Return whether a folder has both files of a part, without checking their content."""
    return all(find_file(folder, name) is not None for name in FILES[part])


def load_part(folder: Path, part: Part) -> Images:
    """Read and verify the training or the test files; the other part is not touched.

    Raises:
        UserError: a file is missing, unreadable, damaged, or not the published one.
    """
    image_name, label_name = FILES[part]
    sums = checksums()
    image_path, image_bytes = _read_verified(folder, image_name, sums[image_name])
    label_path, label_bytes = _read_verified(folder, label_name, sums[label_name])
    images = _parse_idx(image_bytes, 3, image_path)
    labels = _parse_idx(label_bytes, 1, label_path)
    if len(images) != len(labels):
        raise UserError(f"{image_path}: {len(images)} images, but {label_path} has {len(labels)} labels")
    if labels.size and labels.max() >= len(CLASSES):
        raise UserError(f"{label_path}: label {labels.max()}; labels are 0 to {len(CLASSES) - 1}")
    return Images(images, labels.astype(np.int64), (sums[image_name], sums[label_name]))


def check_file(folder: Path, name: str) -> None:
    """Check one of the four files, if it exists.

    Raises:
        UserError: it is unreadable, damaged, or not the published one.
    """
    if find_file(folder, name) is not None:
        _read_verified(folder, name, checksums()[name])


def _read_verified(folder: Path, name: str, md5: str) -> tuple[Path, bytes]:
    path = find_file(folder, name)
    if path is None:
        raise UserError(f"{folder}: no {name}.gz (nor {name}); `fmnist-tune data --data-dir {folder}` fetches it")
    try:
        raw = path.read_bytes()
        content = gzip.decompress(raw) if path.suffix == ".gz" else raw
    except (OSError, EOFError, zlib.error) as error:  # gzip.BadGzipFile is an OSError
        raise UserError(f"{path}: damaged or unreadable ({error}); {OTHER_COPY}") from None
    found = hashlib.md5(content, usedforsecurity=False).hexdigest()
    if found != md5:
        raise UserError(
            f"{path}: not the published file (MD5 of its content is {found}, must be {md5}); {OTHER_COPY}; for data "
            "of your own FMNIST_TUNE_MD5SUMS names a file of their checksums"
        )
    return path, content


def _parse_idx(content: bytes, n_dims: int, path: Path) -> NDArray[np.uint8]:
    """Read an IDX file of unsigned bytes (yann.lecun.com/exdb/mnist): 0 0 8 n_dims, big-endian sizes, data."""
    header = 4 + 4 * n_dims
    if len(content) < header or content[:4] != bytes((0, 0, 8, n_dims)):
        raise UserError(f"{path}: not an IDX file of unsigned bytes with {n_dims} dimensions")
    shape = tuple(int(n) for n in np.frombuffer(content, ">u4", n_dims, offset=4))
    if len(content) - header != int(np.prod(shape)):
        raise UserError(f"{path}: {len(content) - header} bytes of data, but its header says {shape}")
    return np.frombuffer(content, np.uint8, offset=header).reshape(shape)
