"""What a study is trained on, by its task."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from fmnist_tune.config import SearchSpace
from fmnist_tune.config.modular import SPLIT_SEED, ModularConfig
from fmnist_tune.data.fashion_mnist import Images, load_part
from fmnist_tune.data.fetch import locate_data
from fmnist_tune.data.split import describe_data


@dataclass(frozen=True)
class Source:
    """What the workers need to make training data.

    Attributes:
        images: the training files' content; None for a task whose data are computed.
        description: recorded in the study, which refuses another source from then on.
    """

    images: Images | None
    description: dict[str, object]


def open_source(space: SearchSpace, data_dir: Path | None, log: Callable[[str], None]) -> Source:
    """Find and verify what a search space is trained on.

    Args:
        space: its task and its data section decide.
        data_dir: the user's copy of the data set.
        log: gets a line for people about what is being done.

    Raises:
        UserError: the data set is missing or damaged, or its validation split would leave nothing to train on.
    """
    if space.settings.task == ModularConfig.task:
        return Source(None, {"kind": "pairs (a, b), computed", "split_seed": SPLIT_SEED})
    images = load_part(locate_data(data_dir, log), "train")
    return Source(images, describe_data(space, images))
