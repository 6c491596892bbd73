"""Ray Tune, without pandas and Ray Data, which it imports for what nobody asks of it here: two thirds of its time."""

from __future__ import annotations

import importlib.util

from fmnist_tune.stand_ins import put_stand_in, take_away

_pandas = importlib.util.find_spec("pandas")
if _pandas is not None:  # Tune imports a name from it, which looks at the path first
    put_stand_in("pandas", DataFrame=object, __path__=_pandas.submodule_search_locations)
put_stand_in("ray.data", Dataset=type("Dataset", (), {}))  # asked for in annotations, and when Tune saves its state

from ray import tune as tune  # noqa: E402

take_away("pandas")


def end_stand_ins() -> None:
    """Let whoever imports Ray Data, once Tune has ended, get the real one."""
    take_away("ray.data")
