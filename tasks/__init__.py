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
from tasks.image_autoencoder import ImageAutoencoder, ImageVAE, image_autoencoder, image_vae
from tasks.image_classifier import ImageClassifier
from tasks.image_conv import image_conv
from tasks.image_mlp import image_mlp
from tasks.image_mlp_family import ImageMLPFamily, image_mlp_family
from tasks.image_resnet import image_resnet
from tasks.image_vit import image_vit
from tasks.language_model import LanguageModel
from tasks.networks import ACTIVATIONS
from tasks.quadratic import Quadratic, quadratic, quadratic_family
from tasks.registry import make
from tasks.tabular_mlp import TabularMLP, tabular_mlp
from tasks.text_lstm import text_lstm
from tasks.text_transformer import text_transformer

__all__ = [
    "ACTIVATIONS",
    "DATASETS",
    "SPLITS",
    "TASKS",
    "Dataset",
    "DatasetRow",
    "ImageAutoencoder",
    "ImageClassifier",
    "ImageMLPFamily",
    "ImageVAE",
    "LanguageModel",
    "MissingData",
    "Quadratic",
    "RawDataError",
    "TabularMLP",
    "Task",
    "from_arrays",
    "image_autoencoder",
    "image_conv",
    "image_mlp",
    "image_mlp_family",
    "image_resnet",
    "image_vae",
    "image_vit",
    "list_datasets",
    "load",
    "make",
    "prepare",
    "quadratic",
    "quadratic_family",
    "tabular_mlp",
    "text_lstm",
    "text_transformer",
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
        "digits_conv": partial(image_conv, dataset="digits"),
        "mnist_conv": partial(image_conv, dataset="mnist"),
        "fashion_mnist_conv": partial(image_conv, dataset="fashion_mnist"),
        "cifar10_conv": partial(image_conv, dataset="cifar10"),
        "digits_resnet": partial(image_resnet, dataset="digits"),
        "mnist_resnet": partial(image_resnet, dataset="mnist"),
        "fashion_mnist_resnet": partial(image_resnet, dataset="fashion_mnist"),
        "cifar10_resnet": partial(image_resnet, dataset="cifar10"),
        "digits_vit": partial(image_vit, dataset="digits"),
        "mnist_vit": partial(image_vit, dataset="mnist", patch_size=7, width=32),
        "fashion_mnist_vit": partial(image_vit, dataset="fashion_mnist", patch_size=7, width=32),
        "cifar10_vit": partial(image_vit, dataset="cifar10", patch_size=8, width=32),
        "digits_autoencoder": partial(image_autoencoder, dataset="digits"),
        "mnist_autoencoder": partial(image_autoencoder, dataset="mnist"),
        "fashion_mnist_autoencoder": partial(image_autoencoder, dataset="fashion_mnist"),
        "cifar10_autoencoder": partial(image_autoencoder, dataset="cifar10"),
        "digits_vae": partial(image_vae, dataset="digits"),
        "mnist_vae": partial(image_vae, dataset="mnist"),
        "fashion_mnist_vae": partial(image_vae, dataset="fashion_mnist"),
        "cifar10_vae": partial(image_vae, dataset="cifar10"),
        "breast_cancer_mlp": partial(tabular_mlp, dataset="breast_cancer"),
        "wine_mlp": partial(tabular_mlp, dataset="wine"),
        "diabetes_mlp": partial(tabular_mlp, dataset="diabetes"),
        "text_lstm": text_lstm,
        "text_transformer": text_transformer,
    }
)
