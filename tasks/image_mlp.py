"""Image classification by an MLP of one fixed shape."""

import os
from collections.abc import Sequence

from tasks.checks import check_choice, check_ints, check_number
from tasks.image_classifier import ImageClassifier, load_images
from tasks.networks import ACTIVATIONS, MLP


def image_mlp(
    dataset: str,
    hidden: Sequence[int] = (32,),
    activation: str = "relu",
    image_size: int | None = None,
    batch_size: int = 128,
    init_scale: float = 1.0,
    data_seed: int = 0,
    data_dir: str | os.PathLike | None = None,
) -> ImageClassifier:
    """MLP of one shape that classifies images.

    Args:
        dataset: a name in ``tasks.DATASETS``.
        hidden: widths of the hidden layers; () is logistic regression.
        activation: a name in ``tasks.ACTIVATIONS``.
        image_size: side to which images are averaged down, in pixels; None keeps them.
        batch_size: examples per batch.
        init_scale: initial kernels have std init_scale / sqrt(fan_in).
        data_seed: another seed deals train and valid (and test, where there is no official one)
            anew.
        data_dir: TFDS data folder; None takes $TFDS_DATA_DIR or ~/tensorflow_datasets.

    Raises:
        ValueError: a value is out of range or a name unknown.
        MissingData: the data set is not prepared.
    """
    widths = check_ints("hidden", hidden, 1)
    check_choice("activation", activation, ACTIVATIONS)
    init_scale = check_number("init_scale", init_scale, 0.0)
    data = load_images(dataset, image_size, data_seed, data_dir, batch_size)
    module = MLP(widths, data.num_classes, activation)
    return ImageClassifier(data, module, batch_size, init_scale)
