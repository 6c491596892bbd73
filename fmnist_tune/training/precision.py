"""The number format and memory layout that train a model fastest on this machine."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import torch

from fmnist_tune.tasks.images.config import ImageConfig


@dataclass(frozen=True)
class Precision:
    """How a model computes; master weights, optimizer and loss are float32 either way.

    Attributes:
        bf16: forward and backward passes under autocast to bfloat16.
        channels_last: convolutions over (N, H, W, C) in memory.
    """

    bf16: bool
    channels_last: bool

    def autocast(self, device: str) -> torch.autocast:
        """Return the context in which a model computes on a device."""
        return torch.autocast(device.partition(":")[0], torch.bfloat16, enabled=self.bf16)

    def __str__(self) -> str:
        return ("bf16" if self.bf16 else "float32") + (" channels_last" if self.channels_last else "")


@cache
def has_fast_bf16(device: str) -> bool:
    """Return whether a device has bf16 arithmetic; others emulate it, slower than float32."""
    if device.startswith("cuda"):
        return torch.cuda.get_device_capability(device) >= (8, 0)
    try:
        cpu = Path("/proc/cpuinfo").read_text()
    except OSError:
        return False
    flags = next((line for line in cpu.splitlines() if line.startswith("flags")), "").split()
    return "avx512_bf16" in flags or "amx_bf16" in flags


def choose_precision(config: ImageConfig, *, fast_bf16: bool) -> Precision:
    """Choose by rule, not by timing, so that a trial computes the same on the same kind of machine.

    Args:
        config: of the trial.
        fast_bf16: whether the device has bf16 arithmetic (`has_fast_bf16`).
    """
    gains = config.model.is_faster_in_bf16(config.images, config.training.batch_size)
    return Precision(bf16=gains and fast_bf16, channels_last=config.model.channels_last)
