"""Image classification by a small MLP-Mixer: MLPs over patches and over channels, in turn.

[1] Tolstikhin et al. 2021, arXiv:2105.01601.
"""

import os

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from tasks.checks import check_int, check_number
from tasks.image_classifier import ImageClassifier, load_images
from tasks.image_vit import check_patches, split_patches


class Mixer(nn.Module):
    """Patches to vectors, mixer blocks, the mean, a linear layer.

    Attributes:
        shape: (h, w, c) of an image.
        patch_size: side of a patch, a divisor of h and w.
        width: of each patch's vector, and of all hidden layers.
        depth: number of blocks.
        num_classes: number of logits.
    """

    shape: tuple[int, int, int]
    patch_size: int
    width: int
    depth: int
    num_classes: int

    @nn.compact
    def __call__(self, images: Float[Array, "batch d"]) -> Float[Array, "batch classes"]:
        """Logits of a batch of flat images."""
        x = nn.Dense(self.width)(split_patches(images, self.shape, self.patch_size))
        for _ in range(self.depth):
            x = x + self._mlp(nn.LayerNorm()(x).swapaxes(1, 2)).swapaxes(1, 2)
            x = x + self._mlp(nn.LayerNorm()(x))
        return nn.Dense(self.num_classes)(jnp.mean(nn.LayerNorm()(x), axis=1))

    def _mlp(self, x: Float[Array, "batch n d"]) -> Float[Array, "batch n d"]:
        return nn.Dense(x.shape[-1])(jax.nn.gelu(nn.Dense(self.width)(x)))


def image_mixer(
    dataset: str,
    patch_size: int = 2,
    width: int = 16,
    depth: int = 2,
    image_size: int | None = None,
    batch_size: int = 32,
    init_scale: float = 1.0,
    data_seed: int = 0,
    data_dir: str | os.PathLike | None = None,
) -> ImageClassifier:
    """MLP-Mixer that classifies images.

    Args:
        dataset: a name in ``tasks.DATASETS``.
        patch_size: side of a patch in pixels; divides the image's sides.
        width: of each patch's vector, and of all hidden layers.
        depth: number of blocks.
        image_size: side to which images are averaged down, in pixels; None keeps them.
        batch_size: examples per batch.
        init_scale: initial kernels have std init_scale / sqrt(fan_in).
        data_seed: another seed deals the splits anew.
        data_dir: TFDS data folder; None takes $TFDS_DATA_DIR or ~/tensorflow_datasets.

    Raises:
        ValueError: a value is out of range or a name unknown.
        MissingData: the data set is not prepared.
    """
    check_int("width", width, 1)
    check_int("depth", depth, 1)
    init_scale = check_number("init_scale", init_scale, 0.0)
    data = load_images(dataset, image_size, data_seed, data_dir, batch_size)
    check_patches(patch_size, data.shape)
    module = Mixer(data.shape, patch_size, width, depth, data.num_classes)
    return ImageClassifier(data, module, batch_size, init_scale)
