"""A data set from outside: coloured images of 12 x 12 pixels, computed."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, ClassVar

import numpy as np
from pydantic import Field

from fmnist_tune.tasks.images import DataSet, Images, ImageSpec

SPEC = ImageSpec(channels=3, height=12, width=12, class_names=("bar", "pole", "square", "nothing"))
TEST_IS_OPEN = "test_is_open"  # a file of this name appears where the test images are asked for


class Shapes(DataSet):
    """Bright shapes at random places on a dark ground.

    Attributes:
        noise: the brightest noise, of 255.
    """

    title: ClassVar[str] = "Shapes"
    data_notes: ClassVar[str] = "Computed; they have no biases that anybody knows of."

    val_size: Annotated[int, Field(ge=10)] = 40
    noise: Annotated[int, Field(ge=1, le=255)] = 60

    @property
    def spec(self) -> ImageSpec:
        return SPEC

    def load_train(self, data_dir: Path | None, log: object) -> Images:
        return self.draw(240, seed=0)

    def load_test(self, data_dir: Path | None, log: object) -> Images:
        Path(TEST_IS_OPEN).touch()
        return self.draw(80, seed=1)

    def draw(self, n: int, seed: int) -> Images:
        """Return n images, of each class as many."""
        rng = np.random.default_rng(seed)
        images, labels = rng.integers(0, self.noise, (n, 12, 12, 3), dtype=np.uint8), np.arange(n) % 4
        for image, label in zip(images, labels, strict=True):
            row, column = rng.integers(1, 6, 2)
            height, width = ((2, 6), (6, 2), (4, 4), (0, 0))[label]
            image[row : row + height, column : column + width] = (250, 200, 150)
        return Images(images, labels)
