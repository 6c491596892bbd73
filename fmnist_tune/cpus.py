"""The number of CPUs and GPUs that this process may use."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

CGROUPS = Path("/sys/fs/cgroup")
OWN_CGROUPS = Path("/proc/self/cgroup")
NVIDIA_DRIVER = Path("/proc/driver/nvidia")


def cpu_count(mount: Path = CGROUPS, own: Path = OWN_CGROUPS) -> int:
    """Return the number of CPUs that this process may use, at least 1.

    The minimum of the machine's cores, the process's affinity (`taskset`, cpusets) and the quota of its control
    groups (`docker --cpus`, Kubernetes limits, systemd's CPUQuota), rounded down.

    Args:
        mount: where control groups are mounted.
        own: file of the process's groups, a line each, as in cgroups(7): number, controllers, path.
    """
    limits = [float(os.cpu_count() or 1), *_quotas(mount, own)]
    if hasattr(os, "sched_getaffinity"):  # not on macOS
        limits.append(len(os.sched_getaffinity(0)))
    return max(1, int(min(limits)))


def _quotas(mount: Path, own: Path) -> list[float]:
    """Return the CPU quotas, in CPUs, of a process's control groups and of all groups above them."""
    try:
        lines = own.read_text().splitlines()
    except OSError:
        return []
    quotas = []
    for line in lines:
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if not controllers:
            read, roots = _quota_v2, (mount, mount / "unified")
        elif "cpu" in controllers.split(","):
            read, roots = _quota_v1, (mount / controllers, mount / "cpu")
        else:
            continue
        # A container may see its group's path from outside, while that group is the root of its mount.
        for root in roots:
            quotas += [quota for folder in _upwards(root, path) if (quota := read(folder)) is not None]
    return quotas


def _upwards(root: Path, path: str) -> Iterator[Path]:
    relative = PurePosixPath(path.lstrip("/"))
    yield from (root / part for part in (relative, *relative.parents))


def _quota_v1(folder: Path) -> float | None:
    with contextlib.suppress(OSError, ValueError, ZeroDivisionError):
        quota = int((folder / "cpu.cfs_quota_us").read_text())
        if quota > 0:  # -1 is no quota
            return quota / int((folder / "cpu.cfs_period_us").read_text())
    return None


def _quota_v2(folder: Path) -> float | None:
    with contextlib.suppress(OSError, ValueError, ZeroDivisionError):
        quota, period = (folder / "cpu.max").read_text().split()
        if quota != "max":
            return int(quota) / int(period)
    return None


def gpu_count(driver: Path = NVIDIA_DRIVER) -> int:
    """Return the number of GPUs that this process may use; without a driver PyTorch, which takes long, is not asked."""
    if not driver.exists():
        return 0
    import torch

    return torch.cuda.device_count()


def limit_threads() -> None:
    """Let PyTorch use no more threads than there are CPUs for them: it knows the affinity, but no quota."""
    import torch

    if torch.get_num_threads() > cpu_count():
        torch.set_num_threads(cpu_count())
