"""Image classification by an MLP of one fixed shape."""

import os
from collections.abc import Sequence
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from tasks.base import Task
from tasks.checks import check_choice, check_int, check_ints, check_range
from tasks.datasets import Dataset, load
from tasks.networks import ACTIVATIONS, MLP, cross_entropy, draw_kernels, parameter_shapes


@flax.struct.dataclass
class ImageMLP(Task):
    """Classify images by an MLP; loss is cross-entropy in nats, metric "accuracy".

    Attributes:
        data: the images; its leaves enter a jitted program as arguments.
        hidden: widths of the hidden layers; () is logistic regression.
        activation: a name in ``tasks.ACTIVATIONS``.
        batch_size: examples per batch, B, drawn with replacement.
        init_scale: initial kernels are normal with std init_scale / sqrt(fan_in); biases zero.
    """

    data: Dataset
    hidden: tuple[int, ...] = flax.struct.field(pytree_node=False)
    activation: str = flax.struct.field(pytree_node=False)
    batch_size: int = flax.struct.field(pytree_node=False)
    init_scale: float = flax.struct.field(pytree_node=False)

    @property
    def module(self) -> MLP:
        """The network; its parameters are ``module.init(...)["params"]``."""
        return MLP(self.hidden, self.data.num_classes, self.activation)

    def init(self, key: jax.Array, cfg: tuple[()]) -> dict[str, Any]:
        del cfg
        image = jax.ShapeDtypeStruct((1, self.data.images.shape[-1]), jnp.float32)
        params = draw_kernels(key, parameter_shapes(self.module, image))
        for layer in params.values():
            fan_in = layer["kernel"].shape[0]
            layer["kernel"] = layer["kernel"] * np.float32(self.init_scale / np.sqrt(fan_in))
        return params

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


def image_mlp(
    dataset: str,
    hidden: Sequence[int] = (32,),
    activation: str = "relu",
    image_size: int | None = None,
    batch_size: int = 128,
    init_scale: float = 1.0,
    data_seed: int = 0,
    data_dir: str | os.PathLike | None = None,
) -> ImageMLP:
    """MLP of one shape that classifies images: the factory of ``ImageMLP``.

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
    check_int("batch_size", batch_size, 1)
    init_scale = check_range("init_scale", (init_scale, init_scale), 0.0)[0]
    data = load_images(dataset, image_size, data_seed, data_dir, batch_size)
    return ImageMLP(data, widths, activation, batch_size, init_scale)


def load_images(
    dataset: str,
    image_size: int | None,
    data_seed: int,
    data_dir: str | os.PathLike | None,
    batch_size: int,
) -> Dataset:
    """Load, reshuffle and shrink a data set, then move it to the default device.

    Raises:
        ValueError: a value is out of range, a name unknown, or a batch larger than the train
            split.
        MissingData: the data set is not prepared.
    """
    data = load(dataset, data_dir).reshuffle(data_seed).resize(image_size)
    if batch_size > data.num_train:
        raise ValueError(
            f"batch_size = {batch_size} is larger than the train split of {dataset!r}, "
            f"{data.num_train} examples; give at most that many."
        )
    return jax.tree.map(jnp.asarray, data)
