"""A training run's state on disk, between epochs."""

from __future__ import annotations

import os
import pickle
import zipfile
from pathlib import Path

import torch

from fmnist_tune.training.run import TrainingRun


class CheckpointError(ValueError):
    """A checkpoint is there but cannot be used."""


def save_checkpoint(run: TrainingRun, path: Path) -> None:
    """Replace the checkpoint, so that a crash leaves the old or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    torch.save(run.state_dict(), temporary)
    os.replace(temporary, path)


def load_checkpoint(run: TrainingRun, path: Path) -> bool:
    """Take over a checkpoint if there is one; executes no code from it.

    Returns:
        Whether there was one.

    Raises:
        CheckpointError: it is damaged, or belongs to another run; `run` must not be used any more.
    """
    if not path.exists():
        return False
    try:
        run.load_state_dict(torch.load(path, map_location=run.device, weights_only=True))
    except (
        pickle.UnpicklingError,
        zipfile.BadZipFile,
        RuntimeError,
        KeyError,
        TypeError,
        ValueError,
        EOFError,
        OSError,
    ) as error:
        raise CheckpointError(f"{path}: {str(error).splitlines()[0] if str(error) else type(error).__name__}") from None
    return True
