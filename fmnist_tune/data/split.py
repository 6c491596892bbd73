"""The validation split and the remaining training set."""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import NDArray

from fmnist_tune.config import SearchSpace
from fmnist_tune.errors import UserError
from fmnist_tune.tasks.images.data_set import Images

SPLIT_SEED = 20170825  # fixed for every study, so that validation accuracies are comparable


def stratified_split(labels_N: NDArray[np.int64], val_size: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Split indices into a training and a validation part, stratified by class.

    Args:
        labels_N: class of every image.
        val_size: images for validation; the classes' shares are rounded so that they add up.

    Returns:
        Sorted indices of the training and of the validation part, determined by the labels and the size.

    Raises:
        UserError: `val_size` leaves no training image.
    """
    n = len(labels_N)
    if val_size >= n:
        raise UserError(f"data.val_size: {val_size} leaves nothing to train on; there are {n} training images")
    rng = np.random.Generator(np.random.PCG64(SPLIT_SEED))
    order = rng.permutation(n)
    by_class = [order[labels_N[order] == k] for k in range(int(labels_N.max()) + 1)]
    exact = np.array([len(c) for c in by_class]) * val_size / n
    counts = np.floor(exact).astype(int)
    counts[np.argsort(counts - exact, kind="stable")[: val_size - counts.sum()]] += 1
    val = np.concatenate([c[:k] for c, k in zip(by_class, counts, strict=True)])
    mask = np.zeros(n, dtype=bool)
    mask[val] = True
    return np.flatnonzero(~mask), np.flatnonzero(mask)


def keep_shares(labels_N: NDArray[np.int64], indices: NDArray[np.int64], keep: dict[int, float]) -> NDArray[np.int64]:
    """Return the indices that remain when only a share of some classes is kept (at least one image of each)."""
    rng = np.random.Generator(np.random.PCG64(SPLIT_SEED + 1))
    dropped: list[NDArray[np.int64]] = []
    for label in sorted(keep):
        of_class = indices[labels_N[indices] == label]
        n_kept = max(1, round(len(of_class) * keep[label]))
        dropped.append(rng.permutation(of_class)[n_kept:])
    return np.setdiff1d(indices, np.concatenate(dropped)) if dropped else indices


def fingerprint(indices: NDArray[np.int64]) -> str:
    """Return a short hash of a split, to be recorded with trainings on it."""
    return hashlib.blake2b(np.sort(indices).astype("<i8").tobytes(), digest_size=8).hexdigest()


def describe_split(space: SearchSpace, images: Images) -> dict[str, object]:
    """Describe a study's validation split; if its size is searched, at both ends.

    Raises:
        UserError: a validation split would leave nothing to train on.
    """
    split: dict[str, object] = {"kind": "stratified, fixed seed", "n_pictures": len(images.labels_N)}
    for size in sorted(set(_val_sizes(space))):
        _, val = stratified_split(images.labels_N, size)
        split[f"val_size {size}"] = fingerprint(val)
    return split


def _val_sizes(space: SearchSpace) -> list[int]:
    domains = {p.path: p.domain for p in space.parameters}
    if "data.val_size" in domains:
        return [int(v) for v in domains["data.val_size"].ends()]
    default = type(next(space.end_configs()).data).model_fields["val_size"].default
    sections = domains["data"].ends() if "data" in domains else [space.tree.get("data")]
    return [int((section or {}).get("val_size", default)) for section in sections]
