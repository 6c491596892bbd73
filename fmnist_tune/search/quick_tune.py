"""Ray Tune, without pandas and Ray Data, which it imports for what nobody asks of it here: two thirds of its time."""

from __future__ import annotations

import ray

from fmnist_tune.stand_ins import put_stand_in, take_away

# Versions of Ray that are known to ask for no more of them; 2.50 imports parts of pandas, and gets the real one.
KNOWN = ((2, 55), (2, 60))

if KNOWN[0] <= tuple(map(int, ray.__version__.split(".")[:2])) <= KNOWN[1]:
    put_stand_in("pandas", DataFrame=object, __path__=[])  # asked for in annotations
    put_stand_in("ray.data", Dataset=type("Dataset", (), {}))  # in annotations, and when Tune saves its own state

from ray import tune as tune  # noqa: E402

take_away("pandas")


def end_stand_ins() -> None:
    """Let whoever imports Ray Data, once Tune has ended, get the real one."""
    take_away("ray.data")
