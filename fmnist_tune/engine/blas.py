"""One thread for small matrices: several wait for each other wherever workers keep the cores busy."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import scipy.linalg  # noqa: F401  # has a BLAS of its own, beside NumPy's, which the controller is to find
from threadpoolctl import ThreadpoolController

_CONTROLLER = ThreadpoolController()


@contextmanager
def one_thread() -> Iterator[None]:
    """Let linear algebra use one thread, in a block or a decorated function."""
    with _CONTROLLER.limit(limits=1, user_api="blas"):
        yield
