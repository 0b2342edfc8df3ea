"""Multilayer perceptrons as Flax modules, and how parameters of all networks are drawn."""

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

_DRAWN = ("kernel", "embedding")
_CONSTANT = {"bias": 0.0, "scale": 1.0}


class MLP(nn.Module):
    """Dense layers with one activation between them.

    Attributes:
        hidden: widths of the hidden layers; () is a linear map.
        num_outputs: width of the last layer, which has no activation.
        activation: a name in ``ACTIVATIONS``.
    """

    hidden: tuple[int, ...]
    num_outputs: int
    activation: str = "relu"

    @nn.compact
    def __call__(self, x: Float[Array, "batch d"]) -> Float[Array, "batch outputs"]:
        """Outputs (logits of a classifier) for a batch of vectors."""
        for width in self.hidden:
            x = ACTIVATIONS[self.activation](nn.Dense(width)(x))
        return nn.Dense(self.num_outputs)(x)


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
    """Standard normal kernels and embeddings, zero biases, normalisation scales of one.

    All come from one flat draw. One draw per kernel, as Flax's initializers do it, takes XLA's CPU
    compiler about 6 s for two kernels, one flat draw 0.4 s.

    Args:
        key: typed PRNG key.
        shapes: nested dict whose leaves are named as Flax names them, "kernel", "embedding",
            "bias" or "scale"; see ``parameter_shapes``.

    Returns:
        The same structure with float32 arrays.
    """
    leaves, structure = jax.tree_util.tree_flatten_with_path(shapes)
    sizes = [leaf.size if _name(path) in _DRAWN else 0 for path, leaf in leaves]
    parts = jnp.split(jax.random.normal(key, (sum(sizes),), jnp.float32), np.cumsum(sizes)[:-1])
    values = [
        part.reshape(leaf.shape)
        if _name(path) in _DRAWN
        else jnp.full(leaf.shape, _CONSTANT[_name(path)], jnp.float32)
        for part, (path, leaf) in zip(parts, leaves, strict=True)
    ]
    return jax.tree.unflatten(structure, values)


def scale_kernels(params: dict[str, Any], init_scale: float) -> dict[str, Any]:
    """Standard normal kernels to std init_scale / sqrt(fan_in), embeddings / sqrt(width).

    Args:
        params: see ``draw_kernels``; a kernel's last axis is its output, an embedding's its width.
        init_scale: 1 keeps the variance of a layer's inputs.
    """

    def scaled(path: Any, value: Array) -> Array:
        if _name(path) not in _DRAWN:
            return value
        embedded = _name(path) == "embedding"
        fan_in = value.shape[-1] if embedded else int(np.prod(value.shape[:-1]))
        return value * np.float32(init_scale / np.sqrt(fan_in))

    return jax.tree_util.tree_map_with_path(scaled, params)


def scale_drawn(params: dict[str, Any], factor: Float[Array, ""]) -> dict[str, Any]:
    """Kernels and embeddings times a factor; biases and normalisation scales as they are."""

    def scaled(path: Any, value: Array) -> Array:
        return value * factor if _name(path) in _DRAWN else value

    return jax.tree_util.tree_map_with_path(scaled, params)


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


def _name(path: Any) -> str:
    return path[-1].key
