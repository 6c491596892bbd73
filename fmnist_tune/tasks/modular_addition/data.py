"""Pairs (a, b) and their sums modulo a number, split into a training and a validation part."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fmnist_tune.tasks.modular_addition.config import SPLIT_SEED, ModularData


@dataclass(frozen=True)
class Pairs:
    """Numbers a, b in [0, modulus) and their sums.

    Attributes:
        x_N2: int64, a and b.
        y_N: int64, (a + b) mod modulus.
    """

    x_N2: NDArray[np.int64]
    y_N: NDArray[np.int64]


def split_pairs(data: ModularData) -> tuple[Pairs, Pairs]:
    """Return the training and the validation pairs; the same ones every time."""
    rng = np.random.Generator(np.random.PCG64(SPLIT_SEED))
    n_distinct = data.modulus**2
    codes_N = rng.permutation(n_distinct) if data.draw is None else rng.integers(n_distinct, size=data.draw)
    x_N2 = np.stack([codes_N // data.modulus, codes_N % data.modulus], axis=1)
    y_N = x_N2.sum(axis=1) % data.modulus
    return Pairs(x_N2[: data.n_train], y_N[: data.n_train]), Pairs(x_N2[data.n_train :], y_N[data.n_train :])


def leak(train: Pairs, val: Pairs) -> float:
    """Return the share of the validation pairs that are among the training pairs."""
    known = set(map(tuple, train.x_N2.tolist()))
    return sum(tuple(pair) in known for pair in val.x_N2.tolist()) / len(val.x_N2)
