"""Training an MLP with 29 hyperparameters as theta: rates, momenta and widths, layer by layer.

Every one of the twelve tensors of an MLP with five hidden layers has a learning rate and a momentum
of its own, and every hidden layer a fraction of units that live, the first ones of the layer:

    v <- sigmoid(logit_momentum) v + gradient
    w <- w - exp(log_learning_rate) v
    units = floor(sigmoid(logit_width) * width)

[1] Vicol, Metz and Sohl-Dickstein, "Unbiased Gradient Estimation in Unrolled Computation Graphs
    with Persistent Evolution Strategies", ICML 2021, arXiv:2112.13835.
"""

import itertools
import math
import os
from typing import Any, NamedTuple

import flax.struct
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from meta_train.types import Theta, UnrolledSystem
from tasks.checks import check_int
from tasks.datasets import Dataset
from tasks.image_classifier import load_images
from tasks.networks import cross_entropy, draw_kernels, scale_kernels

NUM_HIDDEN = 5
_LEARNING_RATES = (1e-4, 1e-2)
_MOMENTA = (0.01, 0.9)
_WIDTHS = (0.2, 0.8)

Layers = dict[str, dict[str, Any]]
"""{"layer_0": {"kernel": [d, width], "bias": [width]}, ...}, or one number for each of them."""


class Training(NamedTuple):
    """An MLP in training."""

    params: Layers
    velocity: Layers


@flax.struct.dataclass
class ManyHyperparameters(UnrolledSystem):
    """One inner step is one of SGD with momentum; the loss is the new weights' on validation data.

    The loss is the cross-entropy of one validation batch, in nats. It is piecewise constant in the
    widths: their derivatives are 0, so that backpropagation never learns them; evolution strategies
    do.

    Args:
        data: images; its arrays are leaves of this pytree.
        width: units of every hidden layer, dead ones included.
        batch_size: of training and of validation, drawn with replacement.
    """

    data: Dataset
    width: int = flax.struct.field(pytree_node=False)
    batch_size: int = flax.struct.field(pytree_node=False)

    def init_theta(self, key: jax.Array) -> Theta:
        """Learning rates log-uniform, momenta and widths uniform in their logits, as in [1]."""
        structure = jax.tree.structure(self._shapes)
        keys = jax.random.split(key, 3)

        def draw(key: jax.Array, number: int, low: float, high: float) -> Float[Array, " number"]:
            return jax.random.uniform(key, (number,), minval=low, maxval=high)

        num_tensors = structure.num_leaves
        rates = draw(keys[0], num_tensors, *map(math.log, _LEARNING_RATES))
        momenta = draw(keys[1], num_tensors, *map(_logit, _MOMENTA))
        return {
            "log_learning_rate": structure.unflatten(list(rates)),
            "logit_momentum": structure.unflatten(list(momenta)),
            "logit_width": draw(keys[2], NUM_HIDDEN, *map(_logit, _WIDTHS)),
        }

    def init(self, key: jax.Array, theta: Theta, horizon: Int[Array, ""]) -> Training:
        del theta, horizon
        params: Any = scale_kernels(draw_kernels(key, self._shapes), math.sqrt(2.0))
        return Training(params, jax.tree.map(jnp.zeros_like, params))

    def step(
        self, key: jax.Array, theta: Theta, state: Training
    ) -> tuple[Training, Float[Array, ""]]:
        key_train, key_valid = jax.random.split(key)
        units = jnp.floor(jax.nn.sigmoid(theta["logit_width"]) * self.width)

        def loss(params: Layers, key: jax.Array, split: str) -> Float[Array, ""]:
            images, labels = self.data.draw(key, split, self.batch_size)
            return cross_entropy(predict(params, units, images), labels)[0]

        gradient = jax.grad(loss)(state.params, key_train, "train")
        velocity = jax.tree.map(
            lambda logit, v, g: jax.nn.sigmoid(logit) * v + g,
            theta["logit_momentum"],
            state.velocity,
            gradient,
        )
        params = jax.tree.map(
            lambda log_rate, w, v: w - jnp.exp(log_rate) * v,
            theta["log_learning_rate"],
            state.params,
            velocity,
        )
        return Training(params, velocity), loss(params, key_valid, "valid")

    @property
    def _shapes(self) -> Any:
        """Shapes of the network's parameters."""
        widths = [self.data.images.shape[-1], *[self.width] * NUM_HIDDEN, self.data.num_classes]

        def shape(*sizes: int) -> jax.ShapeDtypeStruct:
            return jax.ShapeDtypeStruct(sizes, jnp.float32)

        return {
            f"layer_{i}": {"kernel": shape(d, width), "bias": shape(width)}
            for i, (d, width) in enumerate(itertools.pairwise(widths))
        }


def predict(
    params: Layers, units: Float[Array, " hidden"], images: Float[Array, "batch d"]
) -> Float[Array, "batch classes"]:
    """Logits of an MLP with rectified units, of which the first ``units`` of every layer live."""
    x, (*hidden, last) = images, params.values()
    for layer, live in zip(hidden, units, strict=True):
        x = jax.nn.relu(x @ layer["kernel"] + layer["bias"][None])
        x = jnp.where(jnp.arange(x.shape[-1])[None] < live, x, 0.0)
    return x @ last["kernel"] + last["bias"][None]


def _logit(p: float) -> float:
    return math.log(p / (1 - p))


def many_hyperparameters(
    dataset: str = "digits",
    width: int = 100,
    batch_size: int = 100,
    image_size: int | None = None,
    data_dir: str | os.PathLike | None = None,
) -> ManyHyperparameters:
    """Training of an MLP whose 29 hyperparameters are theta, on a data set by name.

    Args:
        dataset: a name in ``tasks.DATASETS``; in [1] it is "fashion_mnist".
        width: units of every hidden layer, dead ones included.
        batch_size: of training and of validation.
        image_size: side to which images are averaged down, in pixels; None keeps them.
        data_dir: TFDS data folder; None takes $TFDS_DATA_DIR or ~/tensorflow_datasets.

    Raises:
        ValueError: a value is out of range or the name unknown.
        MissingData: the data set is not prepared.
    """
    check_int("width", width, 1)
    data = load_images(dataset, image_size, 0, data_dir, batch_size)
    return ManyHyperparameters(data, width, batch_size)
