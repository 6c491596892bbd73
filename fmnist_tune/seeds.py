"""Seeds derived from names instead of from a generator's state."""

from __future__ import annotations

import hashlib


def derive_seed(seed: int, *names: object) -> int:
    """Return a seed in [0, 2**31) that depends on nothing but its arguments.

    Whatever is random draws from `derive_seed(study seed, trial number, what for)`, so that a study that was
    interrupted and resumed draws what an undisturbed one would have drawn.
    """
    text = "/".join(str(part) for part in (seed, *names))
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=4).digest(), "big") >> 1
