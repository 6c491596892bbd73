"""A worker's progress within its epoch, in a small file in the trial's folder; works across a cluster too."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from fmnist_tune.study.layout import read_json, write_atomically

FILE = "progress.json"
EVERY_S = 1.0  # a shorter epoch writes nothing


@dataclass(frozen=True)
class EpochProgress:
    """The steps of an epoch under way.

    Attributes:
        epoch: counted from 1.
        step: steps taken; on a GPU, steps submitted, some of which may still be queued.
        n_steps: of the whole epoch; validation follows the last one.
    """

    epoch: int
    step: int
    n_steps: int

    @property
    def share(self) -> float:
        """The share of the epoch's steps taken, 0 to 1."""
        return min(1.0, self.step / max(1, self.n_steps))


@contextmanager
def telling(folder: Path, current: Callable[[], EpochProgress]) -> Iterator[None]:
    """Write the progress of the work in this context to a file, once a second.

    Args:
        folder: visible to the driver; if it is missing, or the disk is full, nothing is written.
        current: returns the progress; called from another thread.
    """
    ended = threading.Event()

    def tell() -> None:
        while not ended.wait(EVERY_S):
            with suppress(OSError):
                if folder.is_dir():
                    write_atomically(folder / FILE, json.dumps(asdict(current())))

    teller = threading.Thread(target=tell, daemon=True)
    teller.start()
    try:
        yield
    finally:
        ended.set()
        teller.join()


def progress_of(folder: Path, epoch: int) -> EpochProgress | None:
    """Return a worker's progress within an epoch; None if it has written none for that epoch."""
    found = read_json(folder / FILE)
    if not isinstance(found, dict) or found.keys() != {"epoch", "step", "n_steps"} or found["epoch"] != epoch:
        return None
    return EpochProgress(**found)
