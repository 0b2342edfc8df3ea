"""The passes of ``schedule_free_mlp`` over one tensor: two rounds of means, then the update.

Names are those of ``lopt/schedule_free_mlp.py``. What is written here for one parameter runs in
``jax.numpy`` or in a kernel, see ``lopt.kernels``.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from lopt import kernels, per_parameter, transform
from lopt.kernels import Fields

DECAY = 0.999
"""Of the second moment."""
MAX_RESIDUAL = 3.0
"""B. XLA on CPU would evaluate the MLP twice, did it not end in a function as costly as tanh."""
RELATIVE_EPSILON = 1e-6
"""Gradients far below this part of their tensor's RMS make small steps."""


def measure(param: jax.Array, white: jax.Array, lead: jax.Array) -> Float[Array, " 3"]:
    """Mean squares of one tensor's whitened gradients, y - x and x."""
    return kernels.means(_squares, (white[None], lead[None], param[None]), param.shape)


def measure_direction(
    white: jax.Array, second_moment: jax.Array, lead: jax.Array, units: Float[Array, " 2"]
) -> Float[Array, " 2"]:
    """Mean of d squared, and of d (y - x)."""
    one_each = [transform.constants(x, white.ndim) for x in units]
    fields = (second_moment[None], white[None], lead[None], one_each)
    return kernels.means(_along, fields, white.shape)


def update(
    net: per_parameter.Net, state: Fields, param: jax.Array, white: jax.Array, numbers: Any
) -> tuple[jax.Array, Fields]:
    """The step of one tensor, and its next second moment and y - x.

    Args:
        net: the network, its inputs scaled and constants folded; empty for none.
        state: second moment and y - x, as fields.
        param: y.
        white: the whitened gradient.
        numbers: of the tensor: one over the RMS of its gradients, the square of that with the
            second moment's correction, RMS(d), eta (1 - beta), lambda, c, and the factor
            1 + c (1 / (1 - beta) - 1) on the next y - x before it is averaged.
    """
    inputs = (param[None], white[None], [transform.constants(x, param.ndim) for x in numbers])
    return kernels.update(_update, net, state, inputs, param.shape)


def _squares(fields: Fields) -> list[Fields]:
    white, lead, param = fields
    return [jnp.square(x) for x in (white, lead, param - lead)]


def _along(fields: Fields) -> list[Fields]:
    second_moment, white, lead, units = fields
    _, _, direction = _direct(second_moment, white, *units)
    return [jnp.square(direction), direction * lead]


def _update(
    net: per_parameter.Net | per_parameter.NetInKernel, state: Fields, inputs: Fields
) -> tuple[jax.Array, Fields]:
    (second_moment, lead), (param, white, one_each) = state, inputs
    unit, correction, rms, pace, weight_decay, mix, stretch = one_each
    second_moment, moment, direction = _direct(second_moment, white, unit, correction)
    if net:
        root = moment * jax.lax.rsqrt(moment + RELATIVE_EPSILON**2)
        features = [direction, white, root, lead, param - lead]
        residual = per_parameter.evaluate_net(net, features, param.shape[1:], _bound)
        direction = direction + rms * residual[None]
    ahead = lead - pace * (direction + weight_decay * param)
    step = stretch * ahead - lead
    return jnp.squeeze(step, 0), (second_moment, (1.0 - mix) * ahead)


def _bound(output: jax.Array) -> jax.Array:
    return MAX_RESIDUAL * jnp.tanh(output / MAX_RESIDUAL)


def _direct(
    second_moment: jax.Array, white: jax.Array, unit: jax.Array, correction: jax.Array
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """The next second moment, the same in the gradients' own unit, and d."""
    second_moment = second_moment + (1.0 - DECAY) * (jnp.square(white) - second_moment)
    moment = second_moment * correction
    return second_moment, moment, white * unit * jax.lax.rsqrt(moment + RELATIVE_EPSILON**2)
