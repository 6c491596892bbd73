"""The report of a study: numbers first, figures from them, then a page."""

from __future__ import annotations

import os

from fmnist_tune.errors import UserError

_SETTINGS = {"MPLBACKEND": "agg", "MATPLOTLIBRC": os.devnull}


def _import_matplotlib() -> None:
    """Import Matplotlib without the user's settings, with some of which it would not start; no plot of ours has them.

    Such settings are a Jupyter kernel's MPLBACKEND that is not installed here, or a matplotlibrc that is not text.
    """
    user = {name: os.environ[name] for name in _SETTINGS if name in os.environ}
    os.environ.update(_SETTINGS)
    try:
        import matplotlib  # noqa: F401
    except UnicodeDecodeError as error:
        raise UserError(f"matplotlibrc: Matplotlib reads it in this directory, but it is not text: {error}") from None
    finally:
        for name in _SETTINGS:
            del os.environ[name]
        os.environ.update(user)


_import_matplotlib()  # here, before any module of this package imports a part of it
