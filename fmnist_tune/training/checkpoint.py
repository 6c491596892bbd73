"""A training run's state on disk, between epochs and within one."""

from __future__ import annotations

import os
import pickle
import zipfile
from dataclasses import asdict
from pathlib import Path
from typing import Any, Protocol

import torch

from fmnist_tune.files import new_file
from fmnist_tune.training.results import EpochResult

PREVIOUS = "previous.pt"  # beside the checkpoint: its predecessor, in case the newest is damaged


class CheckpointError(ValueError):
    """There are checkpoints, but none is usable."""


class Stateful(Protocol):
    """An object with state that PyTorch saves and restores."""

    def state_dict(self) -> dict[str, Any]:
        """Return the state as tensors, numbers, strings, lists and dicts."""

    def load_state_dict(self, state_dict: dict[str, Any], /) -> Any:
        """Load what `state_dict` returned."""


class Run(Protocol):
    """A training whose next steps depend only on these."""

    seed: int
    device: str
    history: list[EpochResult]

    @property
    def parts(self) -> dict[str, Stateful]:
        """The model, its optimizer, and all other state that changes with the steps."""


def save_checkpoint(run: Run, path: Path) -> None:
    """Replace the checkpoint and keep its predecessor; after a crash or a power cut one of them is intact.

    Raises:
        OSError: it could not be written, for instance because the disk is full; the old ones are unchanged.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with new_file(temporary) as file:
            torch.save(_state(run), file)
            file.flush()
            os.fsync(file.fileno())
    except RuntimeError as error:  # torch's zip writer raises it when the disk is full
        temporary.unlink(missing_ok=True)
        raise OSError(str(error).splitlines()[0]) from error
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
    if path.exists():
        os.replace(path, path.with_name(PREVIOUS))
    os.replace(temporary, path)


def load_checkpoint(run: Run, path: Path) -> str | None:
    """Load the newest usable checkpoint, if there is one; executes no code from it.

    Returns:
        What was wrong with newer ones; None if nothing was.

    Raises:
        CheckpointError: all are damaged or of another run; `run` must no longer be used.
    """
    complaints = []
    for candidate in (path, path.with_name(PREVIOUS)):
        if not candidate.exists():
            continue
        try:
            _restore(run, torch.load(candidate, map_location=run.device, weights_only=True))
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


def _state(run: Run) -> dict[str, Any]:
    """Return a run's state as tensors, numbers, strings, lists and dicts."""
    return {
        "seed": run.seed,
        **{name: part.state_dict() for name, part in run.parts.items()},
        "history": [asdict(result) for result in run.history],
    }


def _restore(run: Run, state: dict[str, Any]) -> None:
    """Load what `_state` returned.

    Raises:
        KeyError, TypeError, RuntimeError, ValueError: it belongs to another configuration, or is damaged.
    """
    if state["seed"] != run.seed:
        raise ValueError(f"saved with seed {state['seed']}, not {run.seed}")
    for name, part in run.parts.items():
        part.load_state_dict(state.get(name, {}))  # a part that needs its state refuses an empty one
    run.history = [EpochResult(**result) for result in state["history"]]
