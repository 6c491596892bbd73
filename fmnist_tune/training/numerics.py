"""Which number format and memory layout train a model fastest on this machine."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from pathlib import Path

import torch

from fmnist_tune.config.model import Mlp
from fmnist_tune.config.schema import TrialConfig

# Below this many multiplications in the largest layer of a step, casting to bf16 costs more than it saves.
# Measured by benchmarks/numerics.py; benchmarks/RESULTS.md has the table.
MLP_BF16_MIN_WORK = 20_000_000


@dataclass(frozen=True)
class Numerics:
    """How a model computes; master weights, optimizer and loss are float32 either way.

    Attributes:
        bf16: forward and backward passes under autocast to bfloat16.
        channels_last: convolutions over (N, H, W, C) in memory.
    """

    bf16: bool
    channels_last: bool

    def __str__(self) -> str:
        return ("bf16" if self.bf16 else "float32") + (" channels_last" if self.channels_last else "")


@cache
def has_fast_bf16(device: str) -> bool:
    """Tell whether a device has bf16 arithmetic; others emulate it, more slowly than float32."""
    if device.startswith("cuda"):
        return torch.cuda.get_device_capability(device) >= (8, 0)
    try:
        cpu = Path("/proc/cpuinfo").read_text()
    except OSError:
        return False
    flags = next((line for line in cpu.splitlines() if line.startswith("flags")), "").split()
    return "avx512_bf16" in flags or "amx_bf16" in flags


def choose_numerics(config: TrialConfig, image_size: int, *, fast_bf16: bool) -> Numerics:
    """Choose by rule, not by timing, so that a trial computes the same whenever it is run on the same kind of machine.

    Args:
        config: of the trial.
        image_size: pixels along a side, padding included.
        fast_bf16: whether the device has bf16 arithmetic (`has_fast_bf16`).
    """
    if not isinstance(config.model, Mlp):  # convolutions
        return Numerics(bf16=fast_bf16, channels_last=True)
    widths = [image_size**2, *config.model.widths]
    work = config.training.batch_size * max((a * b for a, b in pairwise(widths)), default=0)
    return Numerics(bf16=fast_bf16 and work >= MLP_BF16_MIN_WORK, channels_last=False)
