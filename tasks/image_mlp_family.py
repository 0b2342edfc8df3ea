"""Image classification by MLPs of random shape, activation, scale and parametrisation.

All members share the shapes of the largest one: smaller widths are masks, smaller depths skip
layers, the activation is a select. So one compiled program serves the whole family, and particles
with different members can be vmapped.

The parametrisation is a task augmentation, as in Celo (arXiv:2501.12670): a tensor w is
stored as w / r with r log-uniform, and multiplied by r in the forward pass. The function and its
initial value are unchanged, but gradients grow by r and the right steps shrink by r.
"""

import os
from collections.abc import Sequence
from typing import Any, NamedTuple

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from tasks.base import Task
from tasks.checks import check_choice, check_ints, check_range
from tasks.datasets import Dataset
from tasks.draws import integer, log_integer, log_uniform
from tasks.image_classifier import load_images
from tasks.networks import ACTIVATIONS, MaskedMLP, cross_entropy, draw_kernels, parameter_shapes


class Member(NamedTuple):
    """One MLP of the family."""

    width: Int[Array, ""]
    """Units of every hidden layer."""
    depth: Int[Array, ""]
    """Number of hidden layers."""
    activation: Int[Array, ""]
    """Index into the family's ``activations``."""
    init_scale: Float[Array, ""]
    """Initial kernels have std init_scale / sqrt(fan_in)."""
    reparam: Float[Array, "layers 2"]
    """Scale r of each layer's kernel and bias; the last layer is the one of the logits."""


@flax.struct.dataclass
class ImageMLPFamily(Task):
    """Classify images by a random MLP; loss is cross-entropy in nats, metric "accuracy".

    Each pair is (smallest, largest).

    Attributes:
        data: the images; its leaves enter a jitted program as arguments.
        width: units of the hidden layers, log-uniform.
        depth: number of hidden layers, uniform.
        activations: names in ``tasks.ACTIVATIONS``, each as likely.
        init_scale: log-uniform.
        reparam: scale r of each tensor, log-uniform.
        batch_size: examples per batch, B, drawn with replacement.
    """

    data: Dataset
    width: tuple[int, int] = flax.struct.field(pytree_node=False)
    depth: tuple[int, int] = flax.struct.field(pytree_node=False)
    activations: tuple[str, ...] = flax.struct.field(pytree_node=False)
    init_scale: tuple[float, float] = flax.struct.field(pytree_node=False)
    reparam: tuple[float, float] = flax.struct.field(pytree_node=False)
    batch_size: int = flax.struct.field(pytree_node=False)

    @property
    def module(self) -> MaskedMLP:
        """The largest network of the family."""
        return MaskedMLP(self.width[1], self.depth[1], self.data.num_classes, self.activations)

    def sample(self, key: jax.Array) -> Member:
        layers = self.depth[1] + 1
        # One draw for all: each further threefry call costs more than a second of compile time.
        uniform = jax.random.uniform(key, (4 + 2 * layers,), jnp.float32)
        return Member(
            width=log_integer(uniform[0], self.width),
            depth=integer(uniform[1], *self.depth),
            activation=integer(uniform[2], 0, len(self.activations) - 1),
            init_scale=log_uniform(uniform[3], self.init_scale),
            reparam=log_uniform(uniform[4:], self.reparam).reshape(layers, 2),
        )

    def init(self, key: jax.Array, cfg: Member) -> dict[str, Any]:
        image = jax.ShapeDtypeStruct((1, self.data.images.shape[-1]), jnp.float32)
        inputs = (image, self._units(cfg), cfg.depth, cfg.activation)
        params = draw_kernels(key, parameter_shapes(self.module, *inputs))
        for index, layer in enumerate(params.values()):
            # Kernels between hidden layers see ``width`` live inputs, the first one all pixels.
            fan_in = np.float32(layer["kernel"].shape[0]) if index == 0 else cfg.width
            layer["kernel"] = layer["kernel"] * (cfg.init_scale / jnp.sqrt(fan_in))
        return _rescale(params, 1 / cfg.reparam)

    def loss(
        self, key: jax.Array, cfg: Member, params: dict[str, Any], batch: dict[str, Array]
    ) -> tuple[Float[Array, ""], dict[str, Array]]:
        del key
        inputs = (batch["image"], self._units(cfg), cfg.depth, cfg.activation)
        logits: Any = self.module.apply({"params": _rescale(params, cfg.reparam)}, *inputs)
        return cross_entropy(logits, batch["label"])

    def batch(self, key: jax.Array, cfg: Member, split: str) -> dict[str, Array]:
        """Normalised images {"image": [B, h * w * c]} and labels {"label": [B]}."""
        del cfg
        images, labels = self.data.draw(key, split, self.batch_size)
        return {"image": images, "label": labels}

    def _units(self, cfg: Member) -> Bool[Array, " max_width"]:
        return jnp.arange(self.width[1], dtype=jnp.int32) < cfg.width


def image_mlp_family(
    dataset: str,
    width: Sequence[int] = (8, 64),
    depth: Sequence[int] = (1, 3),
    activations: Sequence[str] = ("relu", "tanh", "gelu"),
    init_scale: Sequence[float] = (0.5, 2.0),
    reparam: Sequence[float] = (0.1, 10.0),
    image_size: int | None = None,
    batch_size: int = 128,
    data_seed: int = 0,
    data_dir: str | os.PathLike | None = None,
) -> ImageMLPFamily:
    """MLPs of many shapes that classify images. Each pair is (smallest, largest).

    Args:
        dataset: a name in ``tasks.DATASETS``.
        width: units of the hidden layers, log-uniform.
        depth: number of hidden layers, uniform.
        activations: names in ``tasks.ACTIVATIONS``, each as likely.
        init_scale: log-uniform; initial kernels have std init_scale / sqrt(fan_in).
        reparam: scale of each tensor, log-uniform; (1, 1) turns it off, Celo (arXiv:2501.12670)
            takes (1e-3, 1e3).
        image_size: side to which images are averaged down, in pixels; None keeps them.
        batch_size: examples per batch.
        data_seed: another seed deals the splits anew.
        data_dir: TFDS data folder; None takes $TFDS_DATA_DIR or ~/tensorflow_datasets.

    Raises:
        ValueError: a value is out of range or a name unknown.
        MissingData: the data set is not prepared.
    """
    if isinstance(activations, str) or not activations:
        raise ValueError(
            f"activations must be a sequence of at least one name, got {activations!r}."
        )
    for name in activations:
        check_choice("activation", name, ACTIVATIONS)
    data = load_images(dataset, image_size, data_seed, data_dir, batch_size)
    return ImageMLPFamily(
        data,
        width=_check_pair("width", width),
        depth=_check_pair("depth", depth),
        activations=tuple(activations),
        init_scale=_check_positive("init_scale", init_scale),
        reparam=_check_positive("reparam", reparam),
        batch_size=batch_size,
    )


def _check_pair(name: str, pair: Any) -> tuple[int, int]:
    low, high = check_range(name, check_ints(name, pair, 1), 1.0)
    return int(low), int(high)


def _check_positive(name: str, pair: Any) -> tuple[float, float]:
    return check_range(name, pair, float(np.finfo(np.float32).tiny))


def _rescale(params: dict[str, Any], scales: Float[Array, "layers 2"]) -> dict[str, Any]:
    return {
        name: {"kernel": layer["kernel"] * scales[i, 0], "bias": layer["bias"] * scales[i, 1]}
        for i, (name, layer) in enumerate(params.items())
    }
