"""Inner problems and their data.

``make(name, **overrides)`` makes a task. A new one is a file and one line in ``TASKS``; a new data
set one line in ``DATASETS``.
"""

from functools import partial

from tasks.base import SPLITS, TASKS, Task
from tasks.datasets import (
    DATASETS,
    Dataset,
    DatasetRow,
    MissingData,
    RawDataError,
    from_arrays,
    list_datasets,
    load,
    prepare,
)
from tasks.image_classifier import ImageClassifier
from tasks.image_mlp import image_mlp
from tasks.image_mlp_family import ImageMLPFamily, image_mlp_family
from tasks.networks import ACTIVATIONS
from tasks.quadratic import Quadratic, quadratic, quadratic_family
from tasks.registry import make

__all__ = [
    "ACTIVATIONS",
    "DATASETS",
    "SPLITS",
    "TASKS",
    "Dataset",
    "DatasetRow",
    "ImageClassifier",
    "ImageMLPFamily",
    "MissingData",
    "Quadratic",
    "RawDataError",
    "Task",
    "from_arrays",
    "image_mlp",
    "image_mlp_family",
    "list_datasets",
    "load",
    "make",
    "prepare",
    "quadratic",
    "quadratic_family",
]

TASKS.update(
    {
        "quadratic": quadratic,
        "digits_mlp": partial(image_mlp, dataset="digits", batch_size=64),
        "mnist_mlp": partial(image_mlp, dataset="mnist"),
        "fashion_mnist_mlp": partial(image_mlp, dataset="fashion_mnist"),
        "cifar10_mlp": partial(image_mlp, dataset="cifar10", hidden=(128, 128, 128)),
        "quadratic_family": quadratic_family,
        "digits_mlp_family": partial(image_mlp_family, dataset="digits", batch_size=64),
        "mnist_mlp_family": partial(image_mlp_family, dataset="mnist"),
        "fashion_mnist_mlp_family": partial(image_mlp_family, dataset="fashion_mnist"),
        "cifar10_mlp_family": partial(image_mlp_family, dataset="cifar10"),
    }
)
