"""The networks of the image tasks, as Flax modules, and how their parameters are drawn."""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
    "relu": jax.nn.relu,
    "tanh": jnp.tanh,
    "gelu": jax.nn.gelu,
    "silu": jax.nn.silu,
    "elu": jax.nn.elu,
    "sigmoid": jax.nn.sigmoid,
    "softplus": jax.nn.softplus,
    "identity": lambda x: x,
}
"""Activation functions by name."""


class MLP(nn.Module):
    """Dense layers with one activation between them.

    Attributes:
        hidden: widths of the hidden layers; () is logistic regression.
        num_classes: number of logits.
        activation: a name in ``ACTIVATIONS``.
    """

    hidden: tuple[int, ...]
    num_classes: int
    activation: str = "relu"

    @nn.compact
    def __call__(self, x: Float[Array, "batch d"]) -> Float[Array, "batch classes"]:
        """Logits of a batch of flat images."""
        for width in self.hidden:
            x = ACTIVATIONS[self.activation](nn.Dense(width)(x))
        return nn.Dense(self.num_classes)(x)


class MaskedMLP(nn.Module):
    """An MLP of the largest size, in which a smaller one is picked by arrays.

    Attributes:
        max_width: width of every hidden layer.
        max_depth: number of hidden layers.
        num_classes: number of logits.
        activations: names in ``ACTIVATIONS`` to pick from.
    """

    max_width: int
    max_depth: int
    num_classes: int
    activations: tuple[str, ...]

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "batch d"],
        units: Bool[Array, " max_width"],
        depth: Int[Array, ""],
        activation: Int[Array, ""],
    ) -> Float[Array, "batch classes"]:
        """Logits of a batch of flat images.

        Args:
            x: flat images.
            units: which hidden units of each layer live; the others are zero.
            depth: number of hidden layers that live, at least 1; the others are skipped.
            activation: index into ``activations``.
        """
        for layer in range(self.max_depth):
            y = nn.Dense(self.max_width)(x)
            cases = [ACTIVATIONS[name](y) for name in self.activations]
            y = jax.lax.select_n(activation, *cases) if len(cases) > 1 else cases[0]
            y = jnp.where(units[None], y, 0.0)
            x = y if layer == 0 else jnp.where(layer < depth, y, x)
        return nn.Dense(self.num_classes)(x)


def parameter_shapes(module: nn.Module, *inputs: Any) -> Any:
    """Shapes of a module's parameters, a dict pytree of ShapeDtypeStruct; computes nothing."""
    return jax.eval_shape(module.init, jax.random.key(0), *inputs)["params"]


def draw_kernels(key: jax.Array, shapes: dict[str, Any]) -> dict[str, Any]:
    """Standard normal kernels and zero biases.

    All kernels come from one flat draw. One draw per kernel, as Flax's initializers do it, takes
    XLA's CPU compiler about 6 s for two kernels, one flat draw 0.4 s.

    Args:
        key: typed PRNG key.
        shapes: {layer: {"kernel": [in, out], "bias": [out]}}, see ``parameter_shapes``.

    Returns:
        The same structure with float32 arrays.
    """
    sizes = [int(np.prod(layer["kernel"].shape)) for layer in shapes.values()]
    parts = jnp.split(jax.random.normal(key, (sum(sizes),), jnp.float32), np.cumsum(sizes)[:-1])
    return {
        name: {
            "kernel": part.reshape(layer["kernel"].shape),
            "bias": jnp.zeros(layer["bias"].shape, jnp.float32),
        }
        for part, (name, layer) in zip(parts, shapes.items(), strict=True)
    }


def cross_entropy(
    logits: Float[Array, "batch classes"], labels: Int[Array, " batch"]
) -> tuple[Float[Array, ""], dict[str, Array]]:
    """Mean cross-entropy in nats, and {"accuracy": ...}.

    The label's logit is picked by a mask: a gather's gradient is a scatter, which is slow on CPU.
    """
    picked = labels[:, None] == jnp.arange(logits.shape[-1])[None]
    chosen = jnp.sum(jnp.where(picked, logits, 0.0), axis=-1)
    loss = jnp.mean(jax.nn.logsumexp(logits, axis=-1) - chosen)
    hits = jnp.argmax(logits, axis=-1) == labels
    return loss, {"accuracy": jnp.mean(hits.astype(jnp.float32))}
