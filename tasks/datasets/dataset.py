"""An image classification data set as one pytree that lives on the device.

Images stay uint8 and flat, and a batch is gathered by random index inside the jitted program, so
an inner step touches the host never and memory only for the rows that it needs. The three splits
are index ranges after one fixed shuffle.
"""

import dataclasses
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from tasks.checks import check_int
from tasks.datasets.splits import draw_rows, permutation, split_bounds, split_sizes
from tasks.datasets.stored import StoredImages, shrink
from tasks.datasets.subset import Subset

_BLOCK = 4096  # rows per block where float copies of the images are made
_MEASURED = 65_536  # images of a file whose mean and std are taken


@flax.struct.dataclass
class Dataset:
    """Images and labels in the order train, valid, test.

    Loaders return it with numpy leaves; ``tasks.make`` moves it to the device, whole or, where it
    is larger than ``data_limit``, a window of it after the other.

    Attributes:
        images: uint8 [n, h * w * c], row-major h, w, c.
        labels: uint8 [n], or uint16 above 256 classes; below ``num_classes``.
        scale: float32 [h * w * c], 1 / std of the pixel's channel over the train split.
        offset: float32 [h * w * c], -mean / std, so that ``x * scale + offset`` is normalised.
        shape: (h, w, c).
        num_classes: number of labels.
        num_train: examples in "train".
        num_valid: examples in "valid"; the rest is "test".
        fixed_test: the test split is an official one, so ``reshuffle`` leaves it alone.
        subset: what training draws from; None is the whole train split.
        stream: the ``Stream`` of which the train split is a window; None where it is whole.
    """

    images: Any
    labels: Any
    scale: Any
    offset: Any
    shape: tuple[int, int, int] = flax.struct.field(pytree_node=False)
    num_classes: int = flax.struct.field(pytree_node=False)
    num_train: int = flax.struct.field(pytree_node=False)
    num_valid: int = flax.struct.field(pytree_node=False)
    fixed_test: bool = flax.struct.field(pytree_node=False)
    subset: Subset | None = None
    stream: Any = flax.struct.field(pytree_node=False, default=None)

    @property
    def mean(self) -> np.ndarray:
        """Per-channel mean of the train split, float32 [c], in units of 0..255."""
        return -self.std * np.asarray(self.offset[: self.shape[-1]])

    @property
    def std(self) -> np.ndarray:
        """Per-channel standard deviation of the train split, float32 [c]; 1 where it is zero."""
        return 1 / np.asarray(self.scale[: self.shape[-1]])

    def bounds(self, split: str) -> tuple[int, int]:
        """First index of a split and the index after its last.

        Raises:
            ValueError: the split is unknown.
        """
        return split_bounds(split, self.num_train, self.num_valid, self.images.shape[0])

    def draw(
        self, key: jax.Array, split: str, batch_size: int
    ) -> tuple[Float[Array, "batch d"], Int[Array, " batch"]]:
        """Draw a batch with replacement; traced.

        Args:
            key: typed PRNG key.
            split: "train", "valid" or "test".
            batch_size: number of examples B.

        Returns:
            Normalised float32 images [B, h * w * c] and int32 labels [B].
        """
        subset = self.subset if split == "train" else None
        index = draw_rows(key, *self.bounds(split), batch_size, subset)
        images = jnp.asarray(self.images).at[index].get(mode="promise_in_bounds")
        labels = jnp.asarray(self.labels).at[index].get(mode="promise_in_bounds")
        images, labels = self.normalise(images), labels.astype(jnp.int32)
        if subset is not None:
            labels = subset.noisy(labels, index.astype(jnp.uint32), self.num_classes)
        return images, labels

    def normalise(self, images: Any) -> Float[Array, "batch d"]:
        """(x - mean) / std as one multiply-add; uint8 [B, h * w * c] to float32."""
        return jnp.asarray(images).astype(jnp.float32) * self.scale[None] + self.offset[None]

    def reshuffle(self, seed: int) -> "Dataset":
        """Deal the splits anew; on the host.

        Seed 0 is the order as loaded. An official test split stays what it is.

        Args:
            seed: any non-negative integer.

        Raises:
            ValueError: the seed is negative or not an integer.
        """
        if check_int("data_seed", seed, 0) == 0:
            return self
        images, labels = self._on_host, np.asarray(self.labels)
        pool = self.num_train + self.num_valid if self.fixed_test else len(labels)
        order = np.concatenate([permutation(pool, int(seed)), np.arange(pool, len(labels))])
        stored = isinstance(images, StoredImages)
        images = images.reordered(order) if stored else images[order]
        return self._with_images(images, labels[order], self.shape)

    def resize(self, size: int | None) -> "Dataset":
        """Shrink the images to size x size by averaging over area, rounded to uint8; on the host.

        Args:
            size: side in pixels; None keeps the native size.

        Raises:
            ValueError: size is not between 1 and the native side.
        """
        height, width, channels = self.shape
        if size is None or (size == height == width):
            return self
        limit = min(height, width)
        if isinstance(size, bool) or not isinstance(size, int) or not 1 <= size <= limit:
            raise ValueError(
                f"image_size must be an integer from 1 to {limit}, the native side, or None for "
                f"the native size; got {size!r}."
            )
        images = self._on_host
        stored = isinstance(images, StoredImages)
        images = images.shrunk(size) if stored else shrink(images, self.shape, size)
        return self._with_images(images, np.asarray(self.labels), (size, size, channels))

    @property
    def _on_host(self) -> "np.ndarray | StoredImages":
        images = self.images
        return images if isinstance(images, StoredImages) else np.asarray(images)

    def _with_images(
        self, images: "np.ndarray | StoredImages", labels: np.ndarray, shape: tuple[int, int, int]
    ) -> "Dataset":
        scale, offset = normalisation(images, self.num_train, shape)
        changed = {
            "images": images,
            "labels": labels,
            "shape": shape,
            "scale": scale,
            "offset": offset,
        }
        return dataclasses.replace(self, **changed)


def from_arrays(
    images: np.ndarray,
    labels: np.ndarray,
    num_classes: int,
    *,
    test: tuple[np.ndarray, np.ndarray] | None = None,
    num_valid: int | None = None,
    num_test: int | None = None,
) -> Dataset:
    """Make a data set from arrays: one fixed shuffle, then train, valid and test.

    Examples are first sorted by content, so the splits do not depend on the order in which
    some tool has stored them.

    Args:
        images: uint8 [n, h, w] or [n, h, w, c]; the official train part, or everything.
        labels: integers [n] in 0..num_classes - 1.
        num_classes: number of classes, 2 to 256.
        test: an official test part (images, labels), kept whole as "test"; None takes "test"
            from the shuffled examples.
        num_valid: size of "valid"; default min(5000, n // 10), at least 1.
        num_test: size of "test" where ``test`` is None; the same default.

    Raises:
        ValueError: shapes, dtypes, labels or sizes do not fit.
    """
    images, labels = _checked(images, labels, num_classes)
    shape = images.shape[1:]
    num_valid, taken = split_sizes(len(images), num_valid, num_test, takes_test=test is None)
    images, labels = _sorted_by_content(images.reshape(len(images), -1), labels)
    order = permutation(len(images), 0)
    images, labels = images[order], labels[order]
    if test is not None:
        test_images, test_labels = _checked(*test, num_classes)
        if test_images.shape[1:] != shape or not len(test_images):
            raise ValueError(
                f"test images are {test_images.shape}, but train images are {shape} each; give at "
                "least one test image of the same shape."
            )
        more = _sorted_by_content(test_images.reshape(len(test_images), -1), test_labels)
        images, labels = (np.concatenate(pair) for pair in zip((images, labels), more, strict=True))
        taken = num_valid + len(test_images)
    num_train = len(images) - taken
    scale, offset = normalisation(images, num_train, shape)
    return Dataset(
        images=images,
        labels=labels,
        scale=scale,
        offset=offset,
        shape=shape,
        num_classes=num_classes,
        num_train=num_train,
        num_valid=num_valid,
        fixed_test=test is not None,
    )


def _checked(images: Any, labels: Any, num_classes: int) -> tuple[np.ndarray, np.ndarray]:
    images, labels = np.asarray(images), np.asarray(labels)
    if images.dtype != np.uint8 or images.ndim not in (3, 4):
        raise ValueError(
            f"images must be uint8 [n, h, w] or [n, h, w, c], got {images.dtype} {images.shape}."
        )
    if not 2 <= num_classes <= 256:
        raise ValueError(f"num_classes must be from 2 to 256, got {num_classes}.")
    if labels.shape != images.shape[:1] or not np.issubdtype(labels.dtype, np.integer):
        raise ValueError(
            f"labels must be integers [{len(images)}], one per image, got {labels.dtype} "
            f"{labels.shape}."
        )
    if len(labels) and (labels.min() < 0 or labels.max() >= num_classes):
        raise ValueError(
            f"labels must be from 0 to {num_classes - 1}, got {labels.min()} to {labels.max()}."
        )
    if images.ndim == 3:
        images = images[..., None]
    return images, labels.astype(np.uint8)


def _sorted_by_content(images: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    rows = np.ascontiguousarray(np.concatenate([images, labels[:, None]], axis=1))
    order = np.argsort(rows.view(f"V{rows.shape[1]}").ravel(), kind="stable")
    return images[order], labels[order]


def normalisation(
    images: "np.ndarray | StoredImages", num_train: int, shape: tuple[int, int, int]
) -> tuple[np.ndarray, np.ndarray]:
    """Scale and offset [h * w * c] from exact integer histograms, one per channel.

    Args:
        images: uint8 [n, h * w * c]; of those in a file the first 65,536 are taken.
        num_train: how many of them, from the first on, are the train split.
        shape: (h, w, c).
    """
    counted = min(num_train, _MEASURED) if isinstance(images, StoredImages) else num_train
    counts = np.zeros((shape[-1], 256), np.int64)
    for start in range(0, counted, _BLOCK):
        block = images[start : min(start + _BLOCK, counted)].reshape(-1, shape[-1])
        for channel in range(shape[-1]):
            counts[channel] += np.bincount(block[:, channel], minlength=256)
    weights = counts / counts.sum(axis=1, keepdims=True)
    values = np.arange(256)
    mean = weights @ values
    std = np.sqrt(np.sum(weights * (values[None] - mean[:, None]) ** 2, axis=1))
    std = np.where(std > 0, std, 1.0)
    repeats = shape[0] * shape[1]
    scale = np.tile(1 / std, repeats).astype(np.float32)
    return scale, np.tile(-mean / std, repeats).astype(np.float32)
