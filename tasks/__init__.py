"""Inner problems and their data.

``make(name, **overrides)`` makes a task. A new one is a file and one line in ``TASKS``; a new data
set one line in ``DATASETS``.
"""

from functools import partial

from tasks.augmented import Augmented, family_of
from tasks.base import SPLITS, TASKS, Task
from tasks.datasets import (
    DATASETS,
    Dataset,
    DatasetRow,
    MissingData,
    RawDataError,
    data_limit,
    from_arrays,
    list_datasets,
    load,
    prepare,
    read_folder,
)
from tasks.factorization import Factorization, factorization
from tasks.function_regression import FunctionRegression, function_regression
from tasks.gaussian_mixture import GaussianMixture, gaussian_mixture
from tasks.heat_equation import HeatEquation, heat_equation
from tasks.image_autoencoder import ImageAutoencoder, ImageVAE, image_autoencoder, image_vae
from tasks.image_classifier import ImageClassifier
from tasks.image_conv import image_conv
from tasks.image_mixer import image_mixer
from tasks.image_mlp import image_mlp
from tasks.image_mlp_family import ImageMLPFamily, image_mlp_family
from tasks.image_resnet import image_resnet
from tasks.image_vit import image_vit
from tasks.language_model import LanguageModel
from tasks.linear_model import LinearModel, linear_model
from tasks.networks import ACTIVATIONS
from tasks.quadratic import Quadratic, quadratic, quadratic_family
from tasks.registry import make
from tasks.sequence_model import sequence_model
from tasks.tabular_mlp import TabularMLP, tabular_mlp
from tasks.text_lstm import text_lstm
from tasks.text_rnn import text_rnn
from tasks.text_transformer import text_transformer

__all__ = [
    "ACTIVATIONS",
    "DATASETS",
    "SPLITS",
    "TASKS",
    "Augmented",
    "Dataset",
    "DatasetRow",
    "Factorization",
    "FunctionRegression",
    "GaussianMixture",
    "HeatEquation",
    "ImageAutoencoder",
    "ImageClassifier",
    "ImageMLPFamily",
    "ImageVAE",
    "LanguageModel",
    "LinearModel",
    "MissingData",
    "Quadratic",
    "RawDataError",
    "TabularMLP",
    "Task",
    "data_limit",
    "factorization",
    "family_of",
    "from_arrays",
    "function_regression",
    "gaussian_mixture",
    "heat_equation",
    "image_autoencoder",
    "image_conv",
    "image_mixer",
    "image_mlp",
    "image_mlp_family",
    "image_resnet",
    "image_vae",
    "image_vit",
    "linear_model",
    "list_datasets",
    "load",
    "make",
    "prepare",
    "quadratic",
    "quadratic_family",
    "read_folder",
    "sequence_model",
    "tabular_mlp",
    "text_lstm",
    "text_rnn",
    "text_transformer",
]

_mlp_family = family_of(image_mlp_family, init_scale=(1.0, 1.0), reparam=(1.0, 1.0))
_linear_family = family_of(image_mlp, hidden=())
_conv_family = family_of(image_conv)
_resnet_family = family_of(image_resnet)
_vit_family = family_of(image_vit)
_autoencoder_family = family_of(image_autoencoder, noisy=False)
_vae_family = family_of(image_vae, noisy=False)
_sequence_family = family_of(sequence_model, noisy=False)
_table_family = family_of(tabular_mlp)
_regression_family = family_of(function_regression)

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
        "iris_mlp": partial(tabular_mlp, dataset="iris"),
        "digits_mixer": partial(image_mixer, dataset="digits"),
        "patches_mlp_family": partial(_mlp_family, dataset="patches", width=(4, 32), batch_size=32),
        "patches_linear_family": partial(_linear_family, dataset="patches", batch_size=32),
        "patches_conv_family": partial(_conv_family, dataset="patches", channels=(8, 16)),
        "patches_resnet_family": partial(_resnet_family, dataset="patches", channels=(8,)),
        "patches_vit_family": partial(_vit_family, dataset="patches", patch_size=4, depth=1),
        "patches_autoencoder_family": partial(
            _autoencoder_family, dataset="patches", hidden=(32,), batch_size=32
        ),
        "digits_conv_family": partial(_conv_family, dataset="digits", channels=(8, 16)),
        "digits_resnet_family": partial(_resnet_family, dataset="digits", channels=(8,)),
        "digits_vit_family": partial(_vit_family, dataset="digits", patch_size=4, depth=1),
        "digits_autoencoder_family": partial(
            _autoencoder_family, dataset="digits", hidden=(32,), batch_size=32
        ),
        "fashion_mnist_conv_family": partial(
            _conv_family, dataset="fashion_mnist", channels=(8, 16), image_size=7
        ),
        "cifar10_conv_family": partial(
            _conv_family, dataset="cifar10", channels=(8, 16), image_size=8
        ),
        "mnist_autoencoder_family": partial(
            _autoencoder_family, dataset="mnist", hidden=(32,), image_size=7, batch_size=32
        ),
        "cifar10_autoencoder_family": partial(
            _autoencoder_family, dataset="cifar10", hidden=(32,), image_size=8, batch_size=32
        ),
        "patches_vae_family": partial(_vae_family, dataset="patches", hidden=(32,), batch_size=32),
        "memorization_family": partial(
            _mlp_family,
            dataset="patches",
            width=(4, 32),
            num_examples=(32, 256),
            label_noise=(0.5, 1.0),
            batch_size=32,
        ),
        "diabetes_mlp_family": partial(_table_family, dataset="diabetes"),
        "iris_mlp_family": partial(_table_family, dataset="iris"),
        "teacher_regression_family": _regression_family,
        "sine_regression_family": partial(
            _regression_family, dim=1, function="sine", hidden=(32, 32), activation="tanh"
        ),
        "deep_linear_family": partial(
            _regression_family, hidden=(16, 16, 16), activation="identity"
        ),
        "induction_family": _sequence_family,
        "copy_lstm_family": partial(_sequence_family, rule="repeat", network="lstm"),
        "sort_rnn_family": partial(_sequence_family, rule="sort", network="rnn"),
        "bigram_family": partial(
            _sequence_family, rule="chain", network="bigram", num_symbols=64, batch_size=32
        ),
        "least_squares_family": linear_model,
        "logistic_regression_family": partial(linear_model, loss="logistic", noise=(0.0, 1.0)),
        "least_absolute_family": partial(linear_model, loss="absolute", noise=(0.0, 0.5)),
        "matrix_factorization_family": factorization,
        "tensor_factorization_family": partial(
            factorization, modes=3, size=8, init_scale=(0.2, 1.0)
        ),
        "text_lstm": text_lstm,
        "text_rnn": text_rnn,
        "text_transformer": text_transformer,
        "breast_cancer_mixture": partial(gaussian_mixture, dataset="breast_cancer"),
        "wine_mixture": partial(gaussian_mixture, dataset="wine"),
        "heat_equation": heat_equation,
    }
)
