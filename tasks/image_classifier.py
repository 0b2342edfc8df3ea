"""Image classification by any network of one fixed shape."""

import os
from typing import Any

import flax.linen as nn
import flax.struct
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from tasks.base import Task
from tasks.checks import check_batch, check_int
from tasks.datasets import Dataset, load
from tasks.datasets.stream import to_device
from tasks.networks import cross_entropy, draw_kernels, parameter_shapes, scale_kernels


@flax.struct.dataclass
class ImageClassifier(Task):
    """Classify images by a network; loss is cross-entropy in nats, metric "accuracy".

    Attributes:
        data: the images; its leaves enter a jitted program as arguments.
        module: the network, from flat images [B, h * w * c] to logits [B, classes]; its
            parameters are ``module.init(...)["params"]``.
        batch_size: examples per batch, B, drawn with replacement.
        init_scale: initial kernels are normal with std init_scale / sqrt(fan_in); biases zero.
    """

    data: Dataset
    module: nn.Module = flax.struct.field(pytree_node=False)
    batch_size: int = flax.struct.field(pytree_node=False)
    init_scale: float = flax.struct.field(pytree_node=False)

    def init(self, key: jax.Array, cfg: tuple[()]) -> dict[str, Any]:
        del cfg
        image = jax.ShapeDtypeStruct((1, self.data.images.shape[-1]), jnp.float32)
        params = draw_kernels(key, parameter_shapes(self.module, image))
        return scale_kernels(params, self.init_scale)

    def loss(
        self, key: jax.Array, cfg: tuple[()], params: dict[str, Any], batch: dict[str, Array]
    ) -> tuple[Float[Array, ""], dict[str, Array]]:
        del key, cfg
        logits: Any = self.module.apply({"params": params}, batch["image"])
        return cross_entropy(logits, batch["label"])

    def batch(self, key: jax.Array, cfg: tuple[()], split: str) -> dict[str, Array]:
        """Normalised images {"image": [B, h * w * c]} and labels {"label": [B]}."""
        del cfg
        images, labels = self.data.draw(key, split, self.batch_size)
        return {"image": images, "label": labels}


def load_images(
    dataset: str,
    image_size: int | None,
    data_seed: int,
    data_dir: str | os.PathLike | None,
    batch_size: int,
) -> Dataset:
    """Load, reshuffle and shrink a data set, then move it, or a window, to the default device.

    Raises:
        ValueError: a value is out of range, a name unknown, a batch larger than the train split,
            or the data too large, see ``tasks.data_limit``.
        MissingData: the data set is not prepared.
    """
    check_int("batch_size", batch_size, 1)
    data = load(dataset, data_dir).reshuffle(data_seed).resize(image_size)
    check_batch(dataset, batch_size, data.num_train)
    return to_device(dataset, data, batch_size)
