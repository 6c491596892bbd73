"""The cause of a failure, and Ray's error for a dead worker in one line."""

from __future__ import annotations

import re
from enum import StrEnum

# Messages of failed allocations in PyTorch, CUDA's libraries and the C library; MemoryError is Python's and numpy's.
OUT_OF_MEMORY = re.compile(
    r"MemoryError|out of memory|(can.?t|cannot|unable to|not) (allocate|mmap|enough) .*memory|bad_alloc|_ALLOC_FAILED",
    re.IGNORECASE,
)
COLOURS = re.compile(r"\x1b\[[0-9;]*m")
EXCEPTION = re.compile(r"(?:[A-Za-z_]\w*\.)*(\w*(?:Error|Exception|Exit|Interrupt|Warning))(?:: (.*))?")
KILLED_BY_RAY = re.compile(r"running low on memory")
WAS_STARTING = ("in its creation task", "failed to import")


class Cause(StrEnum):
    """Why a trial cannot continue.

    TRIAL: its values. MEMORY: too little memory. START: its worker could not be started. WORKER: its worker is broken,
    or died. DISK: its model could not be saved. UNKNOWN: an error of the trial or the machine.
    """

    TRIAL = "trial"
    MEMORY = "memory"
    START = "start"
    WORKER = "worker"
    DISK = "disk"
    UNKNOWN = "unknown"


class BrokenWorkerError(Exception):
    """A worker can no longer train and must be replaced; the message says why."""


def is_out_of_memory(text: str) -> bool:
    """Return whether an error's type or message reports a failed allocation."""
    return OUT_OF_MEMORY.search(text) is not None


def read_death(text: str, *, kernel_killed: bool = False) -> tuple[Cause, str]:
    """Return the cause of a worker's death and its one-line reason.

    Args:
        text: Ray's error.
        kernel_killed: whether the kernel's OOM killer has acted since the last death.
    """
    lines = [line.strip() for line in COLOURS.sub("", text).strip().splitlines() if line.strip()]
    if not lines:
        return Cause.WORKER, "no reason given"
    if KILLED_BY_RAY.search(text):
        return Cause.MEMORY, "out of memory"
    is_starting = any(phrase in text for phrase in WAS_STARTING)
    if not is_starting and "Traceback" not in text and "ray::" not in text:
        return (Cause.MEMORY, "out of memory") if kernel_killed else (Cause.WORKER, lines[0])
    raised = [match for line in lines if (match := EXCEPTION.fullmatch(line)) is not None]
    reason = raised[-1][0] if raised else lines[-1]
    if raised and raised[-1][1] == BrokenWorkerError.__name__:
        reason = raised[-1][2]
    return Cause.START if is_starting else Cause.WORKER, reason
