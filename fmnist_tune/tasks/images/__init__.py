"""The task of classifying images: `DataSet` is what a new data set is derived from, `ModelSection` a new model."""

from fmnist_tune.models import ImageSpec, ModelSection
from fmnist_tune.tasks.images.config import DATA_SETS, ImageConfig
from fmnist_tune.tasks.images.data_set import DataSet, Images, PerChannel
from fmnist_tune.tasks.images.task import ImageTask

__all__ = ["DATA_SETS", "DataSet", "ImageConfig", "ImageSpec", "ImageTask", "Images", "ModelSection", "PerChannel"]
