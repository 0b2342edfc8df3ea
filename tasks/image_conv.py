"""Image classification by a small convolutional network."""

import os
from collections.abc import Sequence

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from tasks.checks import check_choice, check_ints, check_number
from tasks.convolution import Conv
from tasks.image_classifier import ImageClassifier, load_images
from tasks.networks import ACTIVATIONS


class ConvNet(nn.Module):
    """3 x 3 convolutions of stride 2, the mean over pixels, and a linear layer.

    Attributes:
        shape: (h, w, c) of an image.
        channels: output channels of each convolution.
        num_classes: number of logits.
        activation: a name in ``ACTIVATIONS``.
    """

    shape: tuple[int, int, int]
    channels: tuple[int, ...]
    num_classes: int
    activation: str

    @nn.compact
    def __call__(self, images: Float[Array, "batch d"]) -> Float[Array, "batch classes"]:
        """Logits of a batch of flat images."""
        x = images.reshape(-1, *self.shape)
        for channels in self.channels:
            x = ACTIVATIONS[self.activation](Conv(channels, stride=2)(x))
        return nn.Dense(self.num_classes)(jnp.mean(x, axis=(1, 2)))


def image_conv(
    dataset: str,
    channels: Sequence[int] = (16, 32),
    activation: str = "relu",
    image_size: int | None = None,
    batch_size: int = 64,
    init_scale: float = 1.0,
    data_seed: int = 0,
    data_dir: str | os.PathLike | None = None,
) -> ImageClassifier:
    """Convolutional network that classifies images.

    Args:
        dataset: a name in ``tasks.DATASETS``.
        channels: output channels of each 3 x 3 convolution of stride 2.
        activation: a name in ``tasks.ACTIVATIONS``.
        image_size: side to which images are averaged down, in pixels; None keeps them.
        batch_size: examples per batch.
        init_scale: initial kernels have std init_scale / sqrt(fan_in).
        data_seed: another seed deals the splits anew.
        data_dir: TFDS data folder; None takes $TFDS_DATA_DIR or ~/tensorflow_datasets.

    Raises:
        ValueError: a value is out of range or a name unknown.
        MissingData: the data set is not prepared.
    """
    widths = check_ints("channels", channels, 1)
    check_choice("activation", activation, ACTIVATIONS)
    init_scale = check_number("init_scale", init_scale, 0.0)
    data = load_images(dataset, image_size, data_seed, data_dir, batch_size)
    module = ConvNet(data.shape, widths, data.num_classes, activation)
    return ImageClassifier(data, module, batch_size, init_scale)
