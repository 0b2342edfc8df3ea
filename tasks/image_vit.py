"""Image classification by a small vision transformer.

[1] Dosovitskiy et al. 2021, arXiv:2010.11929; [2] Beyer et al. 2022, "Better plain ViT baselines
for ImageNet-1k", arXiv:2205.01580: the mean over patches in place of a class token.
"""

import os
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from tasks.checks import check_int, check_number
from tasks.image_classifier import ImageClassifier, load_images
from tasks.transformer import TransformerBlock, check_heads


class ViT(nn.Module):
    """Patches to vectors, learned positions, transformer blocks, the mean, a linear layer.

    Attributes:
        shape: (h, w, c) of an image.
        patch_size: side of a patch, a divisor of h and w.
        width: of each patch's vector.
        depth: number of blocks.
        heads: attention heads per block.
        num_classes: number of logits.
    """

    shape: tuple[int, int, int]
    patch_size: int
    width: int
    depth: int
    heads: int
    num_classes: int

    @nn.compact
    def __call__(self, images: Float[Array, "batch d"]) -> Float[Array, "batch classes"]:
        """Logits of a batch of flat images."""
        x = nn.Dense(self.width)(split_patches(images, self.shape, self.patch_size))
        x = x + nn.Embed(x.shape[1], self.width).embedding[None]
        for _ in range(self.depth):
            x = TransformerBlock(self.heads, causal=False)(x)
        return nn.Dense(self.num_classes)(jnp.mean(nn.LayerNorm()(x), axis=1))


def split_patches(
    images: Float[Array, "batch d"], shape: tuple[int, int, int], size: int
) -> Float[Array, "batch patches values"]:
    """Flat images as patches of size x size, in reading order; each is size * size * c values."""
    height, width, channels = shape
    rows, columns = height // size, width // size
    split = images.reshape(-1, rows, size, columns, size, channels).transpose(0, 1, 3, 2, 4, 5)
    return split.reshape(-1, rows * columns, size * size * channels)


def check_patches(patch_size: Any, shape: tuple[int, int, int]) -> None:
    """Check that patches tile an image.

    Raises:
        ValueError: they do not, or their side is no positive integer.
    """
    check_int("patch_size", patch_size, 1)
    if shape[0] % patch_size or shape[1] % patch_size:
        raise ValueError(
            f"patch_size = {patch_size} must divide the images' sides, {shape[0]} x {shape[1]}; "
            "give another patch_size or image_size."
        )


def image_vit(
    dataset: str,
    patch_size: int = 2,
    width: int = 16,
    depth: int = 2,
    heads: int = 2,
    image_size: int | None = None,
    batch_size: int = 32,
    init_scale: float = 1.0,
    data_seed: int = 0,
    data_dir: str | os.PathLike | None = None,
) -> ImageClassifier:
    """Vision transformer that classifies images.

    Args:
        dataset: a name in ``tasks.DATASETS``.
        patch_size: side of a patch in pixels; divides the image's sides.
        width: of each patch's vector.
        depth: number of blocks.
        heads: attention heads per block; divides ``width``.
        image_size: side to which images are averaged down, in pixels; None keeps them.
        batch_size: examples per batch.
        init_scale: initial kernels have std init_scale / sqrt(fan_in).
        data_seed: another seed deals the splits anew.
        data_dir: TFDS data folder; None takes $TFDS_DATA_DIR or ~/tensorflow_datasets.

    Raises:
        ValueError: a value is out of range or a name unknown.
        MissingData: the data set is not prepared.
    """
    check_heads(width, heads)
    check_int("depth", depth, 1)
    init_scale = check_number("init_scale", init_scale, 0.0)
    data = load_images(dataset, image_size, data_seed, data_dir, batch_size)
    check_patches(patch_size, data.shape)
    module = ViT(data.shape, patch_size, width, depth, heads, data.num_classes)
    return ImageClassifier(data, module, batch_size, init_scale)
