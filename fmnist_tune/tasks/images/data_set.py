"""Data sets of images, and their registry."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import Field, PlainValidator, model_validator

from fmnist_tune.errors import UserError
from fmnist_tune.models import ImageSpec
from fmnist_tune.registry import own_code, own_result, place_of, plain
from fmnist_tune.section import Section

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL.Image import Image

Log = Callable[[str], None]
Part = Literal["train", "test"]

NOUN = "data set "  # before a class in messages
ALL_CLASSES = "all"  # stands for every class in the table of corruptions, so that none may be called so


def _per_channel(value: object) -> float | list[float]:
    numbers: list[Any] = value if isinstance(value, list) else [value]
    is_sound = all(isinstance(n, int | float) and not isinstance(n, bool) and math.isfinite(n) for n in numbers)
    if not numbers or not is_sound:
        raise ValueError(f"{value!r}: should be a number, or a list of one for each channel")
    floats = [float(number) for number in numbers]
    return floats if isinstance(value, list) else floats[0]


PerChannel = Annotated[float | list[float], PlainValidator(_per_channel)]


@dataclass(frozen=True)
class Images:
    """Labelled images.

    Attributes:
        images_NHW: uint8 (N, H, W); (N, H, W, C) with several channels.
        labels_N: int64 in [0, K).
        md5: of the images and of the labels, in this order; computed if a data set leaves it out.
    """

    images_NHW: NDArray[np.uint8]
    labels_N: NDArray[np.int64]
    md5: tuple[str, str] = ("", "")

    @property
    def inputs(self) -> NDArray[np.uint8]:
        """What a model scores."""
        return self.images_NHW


class DataSet(Section):
    """A data set, and the section `data` of a file that names it: subclass it, and add its own fields.

    Attributes:
        name: the data set's name.
        val_size: images of the training set that are held out for validation, stratified by class.
        mean: subtracted from pixels in [0, 1]; a number, or one for each channel.
        std: by which the difference is divided; a number, or one for each channel.
        pad: blank pixels added on each side.
        keep: the share of a class's training images to keep, by label, such as {5: 0.1}; 1 for the other classes.
        mitigation: the measure against class imbalance.
    """

    # Shown to people.
    title: ClassVar[str] = ""
    # The model card's text on the data, their biases, and a model's intended uses: a paragraph, and a list whose lines
    # begin with `- `.
    data_notes: ClassVar[str] = "Nothing is known of how these images were made."
    use_notes: ClassVar[str] = (
        "- Not intended: rejecting what is of none of the classes: whatever it is shown, it names one of them, often "
        "confidently."
    )

    name: str
    val_size: Annotated[int, Field(ge=10, le=50_000)] = 10_000
    mean: PerChannel = 0.5
    std: PerChannel = 0.5
    pad: Annotated[int, Field(ge=0, le=16)] = 0
    keep: dict[Annotated[int, Field(ge=0)], Annotated[float, Field(gt=0, le=1)]] = Field(default_factory=dict)
    mitigation: Literal["none", "class_weights", "weighted_sampler", "oversample"] = "none"

    @property
    def spec(self) -> ImageSpec:
        """Size, channels and class names of its images, unpadded; called often, so it must be quick."""
        raise NotImplementedError

    @model_validator(mode="after")
    def _labels(self) -> DataSet:
        problem = _spec_problem(self.spec)
        if problem:
            raise ValueError(f"{place_of(type(self))}: spec is {problem}")
        for text in ("title", "data_notes", "use_notes"):  # else the model card would be the first to read them
            if not isinstance(getattr(self, text), str):
                raise ValueError(f"{place_of(type(self))}: {text} is {getattr(self, text)!r}; it must be a text")
        for key in ("mean", "std"):
            value = getattr(self, key)
            if isinstance(value, list) and len(value) != self.spec.channels:
                raise ValueError(f"{key}: {len(value)} numbers, for images of {self.spec.channels} channels")
        if min(self.std if isinstance(self.std, list) else [self.std]) <= 0:
            raise ValueError(f"std: {self.std}; it must be above 0")
        highest, n_classes = max(self.keep, default=0), self.spec.n_classes
        if highest >= n_classes:
            raise ValueError(f"keep: label {highest}; labels are 0 to {n_classes - 1}")
        return self

    @property
    def display_name(self) -> str:
        """Its name for people."""
        return self.title or self.name

    @property
    def n_train(self) -> int | None:
        """About how many training images there are without those held out; None if that is not known beforehand."""
        return None

    @property
    def own_keys(self) -> dict[str, Any]:
        """The keys that identify the data: its name and its own keys."""
        return {key: value for key, value in self if key == "name" or key not in DataSet.model_fields}

    def load_train(self, data_dir: Path | None, log: Log) -> Images:
        """Return the training images.

        Args:
            data_dir: from `--data-dir`.
            log: receives progress messages.

            Raises:
                UserError: they are missing or damaged.
        """
        raise NotImplementedError

    def load_test(self, data_dir: Path | None, log: Log) -> Images:
        """Return the test images; arguments and errors as for `load_train`. A search never calls it."""
        raise NotImplementedError

    def check_test(self, data_dir: Path | None, log: Log) -> None:
        """Raise a UserError if the test images are missing, without opening them: an opening is recorded first."""

    def place(self, data_dir: Path | None, log: Log) -> str:
        """Return the source of the data, for messages."""
        return f"data set {self.name}"

    def describe(self, train: Images) -> dict[str, object]:
        """Return what a study records about its data, to refuse other data."""
        own = {key: value for key, value in self.model_dump(mode="json").items() if key in self.own_keys}
        return {"data_set": own, "train_images_md5": train.md5[0], "train_labels_md5": train.md5[1]}

    def prepare_image(self, image: Image, *, invert: bool) -> tuple[NDArray[np.uint8], tuple[str, ...]]:
        """Return an image file's pixels as model input, uint8 (H, W) or (H, W, C), and warnings about them.

        Args:
            image: upright, in grey (`L`) or in colour (`RGB`), according to the spec's channels.
            invert: whether it was inverted.
        """
        import numpy as np
        from PIL.Image import Resampling

        size = (self.spec.width, self.spec.height)
        return np.array(image if image.size == size else image.resize(size, Resampling.LANCZOS)), ()


def open_part(data: DataSet, part: Part, data_dir: Path | None, log: Log) -> Images:
    """Return a data set's training or test images, checked against its spec.

    Raises:
        UserError: they are not available, or invalid.
    """
    method = f"load_{part}"
    where = f"{NOUN}{place_of(type(data))}: {method}"
    with own_code(data, method, NOUN):
        found = getattr(data, method)(data_dir, log)
    problem = _problem(found, data.spec)
    if problem:
        raise UserError(f"{where} returned {problem}")
    if found.md5 == ("", ""):
        md5 = [hashlib.md5(a.tobytes(), usedforsecurity=False).hexdigest() for a in (found.images_NHW, found.labels_N)]
        found = replace(found, md5=(md5[0], md5[1]))
    return found  # type: ignore[no-any-return]  # the check has verified this


def described(data: DataSet, train: Images) -> dict[str, Any]:
    """Return what a data set says of its training images, as a study will keep it.

    Raises:
        UserError: it cannot be kept.
    """
    return plain(data, "describe", own_result(data, "describe", dict, train, noun=NOUN), NOUN)


def _spec_problem(spec: object) -> str:
    """Return in what a data set's `spec` is none; empty where it is one."""
    if not isinstance(spec, ImageSpec):
        return f"a {type(spec).__name__}; it must be an ImageSpec"
    names = spec.class_names
    if not isinstance(names, tuple) or not all(isinstance(name, str) and name.strip() for name in names):
        return f"class_names {names!r}; they must be a tuple of texts that are not empty"
    if len(names) < 2 or len(set(names)) < len(names):
        return f"class_names {names!r}; they must be two or more, and each another"
    if ALL_CLASSES in names:
        return f"a class {ALL_CLASSES!r}, which stands for all classes in tables"
    if spec.channels not in (1, 3):
        return f"{spec.channels!r} channels; allowed are 1 (grey) and 3 (colour)"
    if not all(isinstance(side, int) and side >= 1 for side in (spec.height, spec.width)):
        return f"height {spec.height!r} and width {spec.width!r}; they must be 1 or more"
    return ""


def _problem(found: object, spec: ImageSpec) -> str:
    """Return how images contradict a data set's spec; empty if they match."""
    import numpy as np

    if not isinstance(found, Images):
        return f"a {type(found).__name__}; it must be an Images(images_NHW, labels_N)"
    images, labels = found.images_NHW, found.labels_N
    for name, array in (("images_NHW", images), ("labels_N", labels)):
        if not isinstance(array, np.ndarray):
            return f"{name} of type {type(array).__name__}; it must be a numpy array"
    size = (spec.height, spec.width) if spec.channels == 1 else (spec.height, spec.width, spec.channels)
    if images.dtype != np.uint8 or images.shape[1:] != size:
        wanted = f"uint8 (N, {', '.join(map(str, size))})"
        return f"images_NHW of {images.dtype} {images.shape}; its spec says {wanted}"
    if labels.dtype != np.int64 or labels.shape != (len(images),):
        return f"labels_N of {labels.dtype} {labels.shape}; they must be int64 ({len(images)},), one for each image"
    if not len(labels):
        return "no images"
    if not isinstance(found.md5, tuple) or len(found.md5) != 2 or not all(isinstance(md5, str) for md5 in found.md5):
        return f"md5 {found.md5!r}; it must be two texts, of the images and of the labels"
    if labels.min() < 0 or labels.max() >= spec.n_classes:
        given = f"labels from {labels.min()} to {labels.max()}"
        return f"{given}; its spec has {spec.n_classes} classes, 0 to {spec.n_classes - 1}"
    return ""
