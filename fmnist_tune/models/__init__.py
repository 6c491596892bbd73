"""Models of images, one file each: `ModelSection` is what a new one is derived from."""

from fmnist_tune.models.cnn import Cnn
from fmnist_tune.models.mlp import Mlp
from fmnist_tune.models.section import ImageSpec, ModelSection
from fmnist_tune.models.torchvision import Torchvision
from fmnist_tune.registry import Registry, SectionRegistry

MODELS: SectionRegistry[ModelSection] = SectionRegistry(
    base=ModelSection,
    built_in={"mlp": Mlp, "cnn": Cnn, "torchvision": Torchvision},
    group="fmnist_tune.models",
    needs=("build",),
)

__all__ = ["MODELS", "ImageSpec", "ModelSection", "Registry"]
