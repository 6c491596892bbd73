"""How far a worker is within its epoch, told by a small file in its trial's folder, seen across a cluster too."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from fmnist_tune.study.layout import read_json, write_atomically

FILE = "progress.json"
EVERY_S = 1.0  # so that an epoch which takes less writes nothing


@dataclass(frozen=True)
class EpochProgress:
    """The steps of an epoch under way.

    Attributes:
        epoch: counted from 1.
        step: steps taken; on a GPU those handed to it, of which it may have some before it.
        n_steps: of the whole epoch; after the last one the validation split is scored.
    """

    epoch: int
    step: int
    n_steps: int

    @property
    def share(self) -> float:
        """The part of the epoch's steps that is taken, 0 to 1."""
        return min(1.0, self.step / max(1, self.n_steps))


@contextmanager
def telling(folder: Path, look: Callable[[], EpochProgress]) -> Iterator[None]:
    """Write down once a second how far the work is that is done meanwhile; costs that work nothing but the asking.

    Args:
        folder: that the driver sees; without it, or on a full disk, nothing is told.
        look: asked from another thread.
    """
    ended = threading.Event()

    def tell() -> None:
        while not ended.wait(EVERY_S):
            with suppress(OSError):
                if folder.is_dir():
                    write_atomically(folder / FILE, json.dumps(asdict(look())))

    teller = threading.Thread(target=tell, daemon=True)
    teller.start()
    try:
        yield
    finally:
        ended.set()
        teller.join()


def progress_of(folder: Path, epoch: int) -> EpochProgress | None:
    """Return how far a worker is within an epoch; None where it has not told, or has told of another one."""
    found = read_json(folder / FILE)
    if not isinstance(found, dict) or found.keys() != {"epoch", "step", "n_steps"} or found["epoch"] != epoch:
        return None
    return EpochProgress(**found)
