"""Memory of a process that trains."""

from __future__ import annotations

import contextlib
import ctypes

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # of glibc's malloc.h
NEVER, ONE_GIB = 2**31 - 1, 2**30


def keep_freed_memory() -> None:
    """Let the C library keep what a step has freed for the next one.

    glibc gives large blocks back to the kernel at once until it has seen a larger one freed, so that every step of the
    first trials pays for their pages again. Other C libraries are left as they are.
    """
    with contextlib.suppress(OSError, AttributeError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(M_MMAP_THRESHOLD, ONE_GIB)
        mallopt(M_TRIM_THRESHOLD, NEVER)
