"""A training run's state on disk, between epochs."""

from __future__ import annotations

import os
import pickle
import zipfile
from pathlib import Path
from typing import Any, Protocol

import torch

PREVIOUS = "previous.pt"  # beside the checkpoint: the one before, in case the newest is damaged


class CheckpointError(ValueError):
    """Checkpoints are there, but none of them can be used."""


class Run(Protocol):
    """A training whose state can be saved."""

    device: str

    def state_dict(self) -> dict[str, Any]:
        """Return everything that the next epoch depends on."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over what `state_dict` returned."""


def save_checkpoint(run: Run, path: Path) -> None:
    """Replace the checkpoint, and keep its predecessor; after a crash or a power cut one of them is whole.

    Raises:
        OSError: it could not be written, for instance because the disk is full; the old ones are as they were.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with temporary.open("wb") as file:
            torch.save(run.state_dict(), file)
            file.flush()
            os.fsync(file.fileno())
    except RuntimeError as error:  # torch's zip writer says so when the disk is full
        temporary.unlink(missing_ok=True)
        raise OSError(str(error).splitlines()[0]) from error
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
    if path.exists():
        os.replace(path, path.with_name(PREVIOUS))
    os.replace(temporary, path)


def load_checkpoint(run: Run, path: Path) -> str | None:
    """Take over the newest checkpoint that can be used, if there is one; executes no code from it.

    Returns:
        What was wrong with newer ones; None if nothing was.

    Raises:
        CheckpointError: there are some, all damaged or of another run; `run` must not be used any more.
    """
    complaints = []
    for candidate in (path, path.with_name(PREVIOUS)):
        if not candidate.exists():
            continue
        try:
            run.load_state_dict(torch.load(candidate, map_location=run.device, weights_only=True))
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
            text = str(error).strip().splitlines()
            complaints.append(f"{candidate.name}: {text[0] if text else type(error).__name__}")
            continue
        return "; ".join(complaints) or None
    if complaints:
        raise CheckpointError("; ".join(complaints))
    return None
