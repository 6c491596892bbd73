"""Threads of a process that computes with PyTorch."""

from __future__ import annotations

import torch

from fmnist_tune.cpus import cpu_count


def limit_threads() -> None:
    """Let PyTorch use no more threads than there are CPUs for them: it knows the affinity, but no quota."""
    if torch.get_num_threads() > cpu_count():
        torch.set_num_threads(cpu_count())
