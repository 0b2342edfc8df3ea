"""Image classification by a small residual network.

[1] He et al. 2016, "Identity Mappings in Deep Residual Networks", arXiv:1603.05027; [2] Wu and He
2018, "Group Normalization", arXiv:1803.08494: a task has no state besides its parameters, so
nothing keeps running statistics.
"""

import os
from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from tasks.checks import check_int, check_ints, check_number
from tasks.convolution import Conv
from tasks.image_classifier import ImageClassifier, load_images


class ResidualBlock(nn.Module):
    """Two 3 x 3 convolutions with normalisation and ReLU before each, added to the input.

    Attributes:
        channels: output channels.
        stride: of the first convolution.
        groups: groups of channels that are normalised together.
    """

    channels: int
    stride: int
    groups: int

    @nn.compact
    def __call__(self, x: Float[Array, "batch h w c"]) -> Float[Array, "batch h2 w2 channels"]:
        """One block; where the shape changes, a 1 x 1 convolution carries the input over."""
        y = jax.nn.relu(nn.GroupNorm(self.groups)(x))
        changes = self.stride > 1 or x.shape[-1] != self.channels
        carried = Conv(self.channels, size=1, stride=self.stride)(y) if changes else x
        y = Conv(self.channels, stride=self.stride)(y)
        y = jax.nn.relu(nn.GroupNorm(self.groups)(y))
        return carried + Conv(self.channels)(y)


class ResNet(nn.Module):
    """A convolution of stride 2, stages of residual blocks, the mean over pixels, a linear layer.

    Attributes:
        shape: (h, w, c) of an image.
        channels: of each stage; each stage but the first halves the image.
        blocks: residual blocks per stage.
        groups: groups of channels that are normalised together.
        num_classes: number of logits.
    """

    shape: tuple[int, int, int]
    channels: tuple[int, ...]
    blocks: int
    groups: int
    num_classes: int

    @nn.compact
    def __call__(self, images: Float[Array, "batch d"]) -> Float[Array, "batch classes"]:
        """Logits of a batch of flat images."""
        x = Conv(self.channels[0], stride=2)(images.reshape(-1, *self.shape))
        for stage, channels in enumerate(self.channels):
            for block in range(self.blocks):
                stride = 2 if stage > 0 and block == 0 else 1
                x = ResidualBlock(channels, stride, self.groups)(x)
        x = jax.nn.relu(nn.GroupNorm(self.groups)(x))
        return nn.Dense(self.num_classes)(jnp.mean(x, axis=(1, 2)))


def image_resnet(
    dataset: str,
    channels: Sequence[int] = (16, 32),
    blocks: int = 1,
    groups: int = 4,
    image_size: int | None = None,
    batch_size: int = 32,
    init_scale: float = 1.0,
    data_seed: int = 0,
    data_dir: str | os.PathLike | None = None,
) -> ImageClassifier:
    """Residual network with group normalisation that classifies images.

    Args:
        dataset: a name in ``tasks.DATASETS``.
        channels: of each stage, at least one; each stage but the first halves the image.
        blocks: residual blocks per stage.
        groups: groups of channels that are normalised together; divides each of ``channels``.
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
    check_int("blocks", blocks, 1)
    check_int("groups", groups, 1)
    if not widths or any(width % groups for width in widths):
        raise ValueError(
            f"channels = {widths} must be at least one number, each a multiple of "
            f"groups = {groups}; give other channels or groups."
        )
    init_scale = check_number("init_scale", init_scale, 0.0)
    data = load_images(dataset, image_size, data_seed, data_dir, batch_size)
    module = ResNet(data.shape, widths, blocks, groups, data.num_classes)
    return ImageClassifier(data, module, batch_size, init_scale)
