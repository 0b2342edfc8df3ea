"""What rules with a recurrent network per tensor share.

Such a rule knows of every tensor of the parameters a row of F numbers. The rows of all tensors go
through one LSTM at once, as ``[tensors, F]``. Between steps every tensor keeps its part of the
state: one small array in the place of the parameter, in a tree like the parameters.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from lopt.lstm import lstm_cell
from lopt.per_parameter import Net

MAX_GRADIENT = 1e3
"""Gradients are clipped to this size, whose fourth power is far from overflowing float32."""
SMALLEST = 1e-10
LOG_SCALE = 0.1


def apply_layer(net: Net, rows: Float[Array, "tensors F"]) -> Float[Array, "tensors out"]:
    """A network of one layer, for every tensor."""
    return rows @ net["w0"] + net["b0"][None]


def apply_lstm(
    net: Net, rows: Float[Array, "tensors F"], state: Float[Array, "tensors 2 width"]
) -> Float[Array, "tensors 2 width"]:
    """Next outputs and cells of one LSTM for every tensor.

    Args:
        net: one layer from F + width inputs to the 4 * width gates.
        rows: the inputs.
        state: outputs (first) and cells (second) of the step before; zeros at the start.
    """
    gates = apply_layer(net, jnp.concatenate([rows, state[:, 0]], axis=1))
    return jnp.stack(jax.vmap(lstm_cell)(gates, state[:, 1]), axis=1)


def zeros(params: Any, *shape: int) -> Any:
    """Initial per-tensor state: float32 zeros ``[*shape]`` in the place of every parameter."""
    return jax.tree.map(lambda _: jnp.zeros(shape, jnp.float32), params)


def stack(tree: Any, *shape: int) -> Float[Array, "tensors ..."]:
    """The arrays ``[*shape]`` of all tensors as one; of no tensors too."""
    none = jnp.zeros((0, *shape), jnp.float32)
    return jnp.concatenate([none, *(x[None] for x in jax.tree.leaves(tree))])


def unstack(rows: Any, params: Any) -> Any:
    """A tree like the parameters with one row for each, of an array or of a pytree of arrays."""
    structure = jax.tree.structure(params)
    # Indexed, because iterating over an array would gather it on one device outside jit.
    each = [jax.tree.map(lambda x, i=i: x[i], rows) for i in range(structure.num_leaves)]
    return structure.unflatten(each)


def clip(grads: Any) -> Any:
    """Gradients of a size whose statistics stay finite; NaN stays NaN."""
    return jax.tree.map(lambda g: jnp.clip(g, -MAX_GRADIENT, MAX_GRADIENT), grads)


def mean(x: Float[Array, "..."]) -> Float[Array, ""]:
    """Mean over one tensor, 0 of an empty one."""
    return jnp.sum(x) / max(x.size, 1)


def log_size(x: Float[Array, "*n"]) -> Float[Array, "*n"]:
    """Logarithm of |x| as a number of order one: from -2.3 for zero to 2.3 for 1e10 and more."""
    return LOG_SCALE * jnp.log(jnp.minimum(jnp.abs(x), 1.0 / SMALLEST) + SMALLEST)


def statistics(x: Float[Array, "..."]) -> Float[Array, " 2"]:
    """Of one tensor's elements: mean over root mean square, and size of the mean square.

    The published rules take the size and sign of the mean and the size of the variance. Where a
    mean or a variance cancels out, rounding would decide these; the two numbers here hold the same
    and are smooth.
    """
    square = mean(jnp.square(x))
    return jnp.stack([mean(x) * jax.lax.rsqrt(square + SMALLEST**2), log_size(square)])
