"""How many CPUs a process may use: real affinity, and control groups as files."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from fmnist_tune.cpus import cpu_count

N_OWN = len(os.sched_getaffinity(0))


def groups(folder: Path, own: str, files: dict[str, str]) -> tuple[Path, Path]:
    """Write control groups as the kernel shows them; returns where they are, and the file that names the own ones."""
    mount = folder / "cgroup"
    for name, content in files.items():
        path = mount / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    mount.mkdir(exist_ok=True)
    (folder / "own").write_text(own)
    return mount, folder / "own"


@pytest.mark.parametrize(
    ("own", "files"),
    [
        ("0::/\n", {"cpu.max": "50000 100000\n"}),
        ("0::/\n", {"cpu.max": "199999 100000\n"}),
        ("0::/user/session\n", {"user/session/cpu.max": "max 100000\n", "user/cpu.max": "100000 100000\n"}),
        ("0::/host/says/elsewhere\n", {"cpu.max": "100000 100000\n"}),
        ("3:cpuset:/\n2:cpu,cpuacct:/docker/1\n0::/\n", {
            "cpu,cpuacct/docker/1/cpu.cfs_quota_us": "150000\n", "cpu,cpuacct/docker/1/cpu.cfs_period_us": "100000\n",
        }),
        ("2:cpuacct,cpu:/docker/1\n", {"cpu/cpu.cfs_quota_us": "50000\n", "cpu/cpu.cfs_period_us": "100000\n"}),
        ("1:cpu:/\n0::/\n", {"unified/cpu.max": "80000 100000\n"}),
    ],
)  # fmt: skip
def test_a_quota_is_rounded_down_and_counts_at_least_one_cpu(tmp_path: Path, own: str, files: dict[str, str]) -> None:
    assert cpu_count(*groups(tmp_path, own, files)) == 1


@pytest.mark.parametrize(
    ("own", "files"),
    [
        ("0::/\n", {"cpu.max": "max 100000\n"}),
        ("0::/\n", {"cpu.max": "99900000 100000\n"}),
        ("0::/\n", {"cpu.max": ""}),
        ("0::/\n", {"cpu.max": "50000 0\n"}),
        ("1:cpu:/\n", {"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}),
        ("1:cpu:/\n", {"cpu/cpu.cfs_quota_us": "50000\n"}),
        ("1:memory:/\n", {"cpu/cpu.cfs_quota_us": "50000\n", "cpu/cpu.cfs_period_us": "100000\n"}),
        ("", {}),
        ("nonsense", {}),
    ],
)
def test_no_quota_or_one_that_cannot_be_read_leaves_all_cpus(tmp_path: Path, own: str, files: dict[str, str]) -> None:
    assert cpu_count(*groups(tmp_path, own, files)) == N_OWN
    assert cpu_count(tmp_path / "nowhere", tmp_path / "nothing") == N_OWN


def test_a_process_on_one_cpu_counts_one() -> None:
    code = "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})\n"
    code += "from fmnist_tune.cpus import cpu_count; print(cpu_count())"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout == "1\n"


def test_pytorch_uses_no_more_threads_than_there_are_cpus() -> None:
    code = "import os, torch; from fmnist_tune.cpus import limit_threads\n"
    code += "torch.set_num_threads(64); limit_threads(); print(torch.get_num_threads())"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout == f"{cpu_count()}\n"
