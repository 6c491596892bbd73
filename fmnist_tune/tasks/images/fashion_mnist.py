"""Fashion-MNIST as a data set: its section of a file, and its notes for model cards."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer

from fmnist_tune.models import ImageSpec
from fmnist_tune.tasks.images.data_set import DataSet, Images, Log

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL.Image import Image

FASHION_MNIST = ImageSpec(
    channels=1,
    height=28,
    width=28,
    class_names=(
        "T-shirt/top",
        "Trouser",
        "Pullover",
        "Dress",
        "Coat",
        "Sandal",
        "Shirt",
        "Sneaker",
        "Bag",
        "Ankle boot",
    ),
)
N_TRAIN = 60_000
DATA_NOTES = """\
Fashion-MNIST (Xiao et al. 2017, arXiv 1708.07747; MIT licence): 60,000 training and 10,000 test images of 28 x 28
greys in ten classes of equal size, made from the product photos of one European online shop.

- The photos are professional: one article, upright, filling the frame, on a plain ground. Images of people, of
  several articles, or from a phone look different.
- It is one shop's range of its time, western clothes; those of other cultures are absent. White articles were left out.
- It mixes the shop's women's, men's, children's and neutral ranges in unknown shares, in the shop's own categories:
  there are dresses, but no skirts and no suits.
- Colour is gone, and with 28 x 28 pixels most of texture and cut: shirt, T-shirt, pullover and coat overlap, and some
  labels are disputable.
- Every image is light on black; anything else must be turned into that first (`fmnist-tune predict` does)."""

USE_NOTES = """\
- Intended: teaching, comparing methods, trying out a pipeline from data to deployment; sorting images that look
like the data set's.

- Not intended: anything about people (gender, age, wealth, religion); decisions with consequences for anyone; real
product catalogues without an evaluation on their own images; rejecting what is none of the ten classes: whatever it
is shown, it names one of them, often confidently."""


class FashionMnist(DataSet):
    """What a model is trained on.

    Attributes:
        name: the data set; the default.
        mean: subtracted from pixels in [0, 1]; the default is the training set's.
        std: by which the difference is divided; the default is the training set's.
    """

    title: ClassVar[str] = "Fashion-MNIST"
    data_notes: ClassVar[str] = DATA_NOTES
    use_notes: ClassVar[str] = USE_NOTES

    name: Literal["fashion-mnist"] = "fashion-mnist"
    mean: Annotated[float, Field(allow_inf_nan=False)] = 0.2860
    std: Annotated[float, Field(allow_inf_nan=False, gt=0)] = 0.3530
    keep: dict[Annotated[int, Field(ge=0, lt=FASHION_MNIST.n_classes)], Annotated[float, Field(gt=0, le=1)]] = Field(
        default_factory=dict
    )

    @model_serializer(mode="wrap")
    def _as_before(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave out the name, as in studies older than other data sets, so that their trainings stay valid."""
        return {key: value for key, value in handler(self).items() if key != "name"}

    @property
    def spec(self) -> ImageSpec:
        return FASHION_MNIST

    @property
    def n_train(self) -> int:
        return N_TRAIN - self.val_size

    def load_train(self, data_dir: Path | None, log: Log) -> Images:
        from fmnist_tune.data.fashion_mnist import load_part
        from fmnist_tune.data.fetch import locate_data

        return load_part(locate_data(data_dir, log), "train")

    def load_test(self, data_dir: Path | None, log: Log) -> Images:
        from fmnist_tune.data.fashion_mnist import load_part
        from fmnist_tune.data.fetch import locate_data

        return load_part(locate_data(data_dir, log), "test")

    def check_test(self, data_dir: Path | None, log: Log) -> None:
        from fmnist_tune.data.fashion_mnist import has_part, load_part
        from fmnist_tune.data.fetch import locate_data

        if not has_part(folder := locate_data(data_dir, log), "test"):
            load_part(folder, "test")  # names what is missing

    def place(self, data_dir: Path | None, log: Log) -> str:
        from fmnist_tune.data.fetch import locate_data

        return str(locate_data(data_dir, log))

    def describe(self, train: Images) -> dict[str, object]:
        return {"train_images_md5": train.md5[0], "train_labels_md5": train.md5[1]}

    def prepare_image(self, image: Image, *, invert: bool) -> tuple[NDArray[np.uint8], tuple[str, ...]]:
        from fmnist_tune.tasks.images.garment import prepare_garment

        return prepare_garment(image, invert=invert)
