"""The report of a study: numbers first, figures from them, then a page."""

from __future__ import annotations

import os
import sys
from contextlib import suppress

from fmnist_tune.errors import UserError

_SETTINGS = {"MPLBACKEND": "agg", "MATPLOTLIBRC": os.devnull}


def _import_matplotlib() -> None:
    """Import Matplotlib also where it would not start with the user's settings, which it then has as far as they work.

    Such settings are a Jupyter kernel's MPLBACKEND that is not installed here, or a matplotlibrc that is not text.
    """
    user = {name: os.environ[name] for name in _SETTINGS if name in os.environ}
    os.environ.update(_SETTINGS)
    try:
        import matplotlib
    except UnicodeDecodeError as error:
        raise UserError(f"matplotlibrc: Matplotlib reads it in this directory, but it is not text: {error}") from None
    finally:
        for name in _SETTINGS:
            del os.environ[name]
        os.environ.update(user)
    with suppress(ValueError, OSError):
        matplotlib.rc_file(matplotlib.matplotlib_fname())
    if "MPLBACKEND" in user:
        with suppress(ValueError):
            matplotlib.rcParams["backend"] = user["MPLBACKEND"]


if "matplotlib" not in sys.modules:  # here, before any module of this package imports a part of it
    _import_matplotlib()
