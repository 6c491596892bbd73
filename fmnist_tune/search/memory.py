"""The memory this machine has left, as the kernel and Ray's memory monitor see it."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

GIB = 2**30
WORKER_BYTES = GIB  # a worker with a small model takes half of this
SETTLED_S, SETTLING_BYTES = 2.0, 2**24  # a killed worker's memory is free once less than this came free in that time
ENOUGH = 1 / 4  # of all memory: a trial that dies alone with this much left is too large itself
# Ray's memory monitor: how often it checks (0: never), and the share of all memory beyond which it kills workers.
REFRESH_VARIABLE, THRESHOLD_VARIABLE, THRESHOLD = "RAY_memory_monitor_refresh_ms", "RAY_memory_usage_threshold", "0.95"

CGROUPS = Path("/sys/fs/cgroup")
# A cgroup's files, by version: its limit, its use, and the reclaimable cache within that use.
FILES = {
    "v2": ("memory.max", "memory.current", ("inactive_file", "active_file")),
    "v1": ("memory.limit_in_bytes", "memory.usage_in_bytes", ("total_inactive_file", "total_active_file")),
}


@dataclass(frozen=True)
class Room:
    """Memory that can be used before something is killed.

    Attributes:
        free: bytes left; may be negative.
        total: bytes of all memory.
    """

    free: int
    total: int

    @property
    def is_enough(self) -> bool:
        """Whether a trial that does not fit into it is itself too large."""
        return self.free >= ENOUGH * self.total

    @property
    def has_place(self) -> bool:
        """Whether an ordinary trial fits into it."""
        return self.free >= min(WORKER_BYTES, ENOUGH * self.total)

    def __str__(self) -> str:
        return f"{(self.total - self.free) / GIB:.1f} GiB of memory are in use, and {self.total / GIB:.1f} may be"


def measure_room() -> Room | None:
    """Return this process's room, the smaller of the machine's and its cgroup's; None if unknown."""
    rooms = [*_machine(), *_cgroups()]
    if not rooms:
        return None
    threshold = 1.0
    if os.environ.get(REFRESH_VARIABLE) != "0":
        threshold = float(os.environ.get(THRESHOLD_VARIABLE, THRESHOLD))
    out_of_reach = [int((1 - threshold) * room.total) for room in rooms]
    usable = (Room(room.free - n, room.total - n) for room, n in zip(rooms, out_of_reach, strict=True))
    return min(usable, key=lambda room: room.free)


def measure_settled_room() -> Room | None:
    """Return the room after waiting for the memory of a worker just killed to come free."""
    room, end = measure_room(), time.monotonic() + SETTLED_S
    while room is not None and not room.is_enough and time.monotonic() < end:
        time.sleep(SETTLED_S / 10)
        before, room = room, measure_room()
        if room is not None and room.free - before.free > SETTLING_BYTES:
            end = time.monotonic() + SETTLED_S
    return room


def count_kills() -> int:
    """Return how many processes this machine's OOM killer has killed; 0 if unknown."""
    return _fields(Path("/proc/vmstat")).get("oom_kill", 0)


def _machine() -> Iterator[Room]:
    fields = _fields(Path("/proc/meminfo"))
    if {"MemTotal:", "MemAvailable:"} <= fields.keys():
        yield Room(fields["MemAvailable:"] * 1024, fields["MemTotal:"] * 1024)


def _cgroups() -> Iterator[Room]:
    """Yield the room of every cgroup that limits this process; a container sees its own as the root."""
    try:
        lines = Path("/proc/self/cgroup").read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers not in ("", "memory"):
            continue
        version = "v1" if controllers else "v2"
        root = CGROUPS / controllers
        own = root / path.lstrip("/")
        for folder in dict.fromkeys((own, *own.parents, root)):
            if folder.is_relative_to(root):
                yield from _room(folder, version)


def _room(folder: Path, version: str) -> Iterator[Room]:
    limit_name, usage_name, cached = FILES[version]
    try:
        limit, usage = ((folder / name).read_text().strip() for name in (limit_name, usage_name))
    except OSError:
        return
    if limit.isdecimal():  # not "max"
        stat = _fields(folder / "memory.stat")
        used = int(usage) - sum(stat.get(name, 0) for name in cached)
        yield Room(int(limit) - used, int(limit))


def _fields(path: Path) -> dict[str, int]:
    """Return the lines `name number ...` of a file; empty if it cannot be read."""
    try:
        lines = path.read_text().splitlines()
    except OSError:
        return {}
    return {words[0]: int(words[1]) for words in map(str.split, lines) if len(words) > 1 and words[1].isdecimal()}
