"""Hyperparameter search for PyTorch classifiers on Fashion-MNIST."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fmnist_tune.api import Study

__all__ = ["load_study"]


def load_study(name: str, studies_dir: Path | str = "studies", storage: str | None = None) -> Study:
    """Open a study to read; arguments and errors as `fmnist_tune.api.Study`."""
    from fmnist_tune.api import Study  # here, so that importing the package pulls in nothing heavy

    return Study(name, studies_dir, storage)
