"""Whether the workers of a Ray started here start, and if not, why."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

PROC = Path("/proc")
DEAD_S = 5.0  # without any worker process, after one has ended or Ray has written why none starts
UNSEEN_S = 50.0  # without any at first: Ray needs more than seconds for one on a machine with ten times too much to do
N_DEAD = 2  # ended processes, even if Ray starts more
SILENT_S = 600.0  # of a live process not yet ready, as at a first import of torch from a slow network disk
LOGS = ("worker*.err", "raylet*.err", "gcs_server*.err")
OWN_LINES = (":job_id:", ":actor_name:", ":task_name:")  # that every worker writes
STACK_TRACE = "*** StackTrace"
TRACEBACK = "Traceback (most recent call last)"
PREAMBLE = re.compile(r"^\[[^]]*\] \(\w+\) \S+:\d+:\s*(An unexpected system state .* Check failed: \S+ )?")


class WorkerStart:
    """Watches workers start: if a worker's process dies first, Ray does not report it, and its actors wait forever."""

    def __init__(self, logs: Path | None) -> None:
        """Start watching.

        Args:
            logs: log folder of a Ray started here; None in a cluster that was joined, where workers may wait for room.
        """
        self._logs = logs
        self._begin_again()

    def _begin_again(self) -> None:
        self._seen_at = self._up_at = time.monotonic()
        self._seen: set[int] = set()

    def complaint(self, *, is_up: bool) -> str | None:
        """Return why no worker starts; None while one still may. Call it about once a second.

        Args:
            is_up: whether a worker has started, or none is needed.
        """
        if is_up or self._logs is None:
            self._begin_again()
            return None
        living = worker_processes()
        self._seen |= living
        if living or not (PROC / "self").exists():  # macOS has no list of processes here
            self._seen_at = time.monotonic()
        unseen_s, down_s = time.monotonic() - self._seen_at, time.monotonic() - self._up_at
        # Ray reports the fate of any worker that has opened its log.
        ended = (pid for pid in self._seen - living if not _lives(pid))  # a worker is briefly a shell
        n_dead = sum(not any(self._logs.glob(f"worker-*-{pid}.err")) for pid in ended)
        if n_dead >= N_DEAD or unseen_s > (DEAD_S if n_dead or _is_failing(self._logs) else UNSEEN_S):
            why = last_complaint(self._logs) or "its process ends without a message"
        elif down_s > SILENT_S:
            why = f"none has come up within {SILENT_S:g} s"
        else:
            return None
        return f"Ray cannot start a worker: {why}; its logs are in {self._logs}"


def _is_failing(logs: Path) -> bool:
    """Return whether the script in which Ray starts a worker has ended with an error."""
    return any(TRACEBACK in file.read_text(errors="replace") for file in logs.glob("raylet*.err"))


def last_complaint(logs: Path) -> str | None:
    """Return the last error in the logs of Ray's processes; None without one."""
    files = [file for pattern in LOGS for file in logs.glob(pattern)]
    for file in sorted(files, key=_changed, reverse=True):
        with suppress(OSError):
            text = file.read_text(errors="replace").partition(STACK_TRACE)[0]
            lines = [line.strip() for line in text.splitlines()]
            said = [line for line in lines if line and not line.startswith(OWN_LINES)]
            if said:
                return PREAMBLE.sub("", next(filter(PREAMBLE.match, reversed(said)), said[-1]))
    return None


def _changed(file: Path) -> float:
    with suppress(OSError):
        return file.stat().st_mtime
    return 0.0


def worker_processes() -> set[int]:
    """Return this process's descendants that are, or are about to become, Ray workers."""
    parents: dict[int, int] = {}
    workers = set()
    with suppress(FileNotFoundError):
        for entry in PROC.iterdir():
            with suppress(OSError, ValueError):
                pid = int(entry.name)
                state, parent = (entry / "stat").read_text().rpartition(")")[2].split()[:2]
                if state == "Z":
                    continue
                parents[pid] = int(parent)
                if _is_worker((entry / "cmdline").read_bytes().rstrip(b"\0").split(b"\0")):
                    workers.add(pid)
    return {pid for pid in workers if os.getpid() in _ancestors(pid, parents)}


def _lives(pid: int) -> bool:
    try:
        return (PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def _is_worker(command: list[bytes]) -> bool:
    if any(word.endswith(b"default_worker.py") for word in command):
        return True
    return command[0].startswith(b"ray::") and not command[0].endswith(b"Agent")


def _ancestors(pid: int, parents: dict[int, int]) -> Iterator[int]:
    while pid in parents:
        pid = parents[pid]
        yield pid
