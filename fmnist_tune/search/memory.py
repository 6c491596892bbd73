"""How much memory this machine has left, as the kernel and Ray's memory monitor see it."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

GIB = 2**30
WORKER_BYTES = GIB  # a worker with a small model takes half of this
SETTLED_S, SETTLING_BYTES = 2.0, 2**24  # memory of a killed worker is free when so long so little has come free
ENOUGH = 1 / 4  # of all memory: whoever dies alone with so much left is too large itself
# Ray's memory monitor: how often it looks, 0 for never, and beyond which share of all memory it kills workers.
REFRESH_VARIABLE, THRESHOLD_VARIABLE, THRESHOLD = "RAY_memory_monitor_refresh_ms", "RAY_memory_usage_threshold", "0.95"

CGROUPS = Path("/sys/fs/cgroup")
# The files of a cgroup, by version: its limit, its use, and what of its use is cache that gives way.
FILES = {
    "v2": ("memory.max", "memory.current", ("inactive_file", "active_file")),
    "v1": ("memory.limit_in_bytes", "memory.usage_in_bytes", ("total_inactive_file", "total_active_file")),
}


@dataclass(frozen=True)
class Room:
    """Memory that can be used before something is killed.

    Attributes:
        free: bytes left; may be negative.
        total: bytes that there are.
    """

    free: int
    total: int

    @property
    def is_enough(self) -> bool:
        """Whether a trial that cannot be trained in it is itself too large."""
        return self.free >= ENOUGH * self.total

    @property
    def has_place(self) -> bool:
        """Whether an ordinary trial can be trained in it."""
        return self.free >= min(WORKER_BYTES, ENOUGH * self.total)

    def __str__(self) -> str:
        return f"{(self.total - self.free) / GIB:.1f} GiB of memory are in use, and {self.total / GIB:.1f} may be"


def measure_room() -> Room | None:
    """Return the room of this process: the machine's or its cgroup's, whichever has less; None where nobody tells."""
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
    """Return the room once what a worker that has just been killed held is free, which takes a while."""
    room, end = measure_room(), time.monotonic() + SETTLED_S
    while room is not None and not room.is_enough and time.monotonic() < end:
        time.sleep(SETTLED_S / 10)
        before, room = room, measure_room()
        if room is not None and room.free - before.free > SETTLING_BYTES:
            end = time.monotonic() + SETTLED_S
    return room


def count_kills() -> int:
    """Return how often this machine's kernel has killed a process for want of memory; 0 where it does not tell."""
    return _fields(Path("/proc/vmstat")).get("oom_kill", 0)


def _machine() -> Iterator[Room]:
    fields = _fields(Path("/proc/meminfo"))
    if {"MemTotal:", "MemAvailable:"} <= fields.keys():
        yield Room(fields["MemAvailable:"] * 1024, fields["MemTotal:"] * 1024)


def _cgroups() -> Iterator[Room]:
    """Yield the room of every cgroup that limits this process; in a container its own one is seen as the root."""
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
    """Return the lines `name number ...` of a file; none if it cannot be read."""
    try:
        lines = path.read_text().splitlines()
    except OSError:
        return {}
    return {words[0]: int(words[1]) for words in map(str.split, lines) if len(words) > 1 and words[1].isdecimal()}
