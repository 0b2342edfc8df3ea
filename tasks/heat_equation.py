"""A network that solves the heat equation: the loss holds derivatives of the network.

u(x, t) on [0, 1] x [0, 1] with u_t = u_xx / (2 pi)^2, u(x, 0) = sin(2 pi x) and u(0, t) = u(1, t)
= 0, so that u = exp(-t) sin(2 pi x). The loss is the mean square of the equation's residual, at
points drawn inside, plus ten times that of the initial and boundary values. Raissi et al. 2019,
"Physics-informed neural networks", doi:10.1016/j.jcp.2018.10.045.
"""

from collections.abc import Sequence
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from tasks.base import SPLITS, Task
from tasks.checks import check_choice, check_int, check_ints, check_number
from tasks.networks import MLP, draw_kernels, parameter_shapes, scale_kernels

_FREQUENCY = np.float32(2 * np.pi)
_WEIGHT = np.float32(10)
SMOOTH = ("gelu", "sigmoid", "silu", "softplus", "tanh")
"""Activations with a second derivative."""


@flax.struct.dataclass
class HeatEquation(Task):
    """Solve the heat equation; the metric "error" is the mean square of u - exp(-t) sin(2 pi x).

    Attributes:
        module: the network, from points [B, 2] to numbers [B, 1].
        batch_size: points per batch, B, inside, at the start and on the boundary each.
        init_scale: initial kernels are normal with std init_scale / sqrt(fan_in); biases zero.
    """

    module: MLP = flax.struct.field(pytree_node=False)
    batch_size: int = flax.struct.field(pytree_node=False)
    init_scale: float = flax.struct.field(pytree_node=False)

    def init(self, key: jax.Array, cfg: tuple[()]) -> dict[str, Any]:
        del cfg
        point = jax.ShapeDtypeStruct((1, 2), jnp.float32)
        shapes = parameter_shapes(self.module, point)
        return scale_kernels(draw_kernels(key, shapes), self.init_scale)

    def loss(
        self, key: jax.Array, cfg: tuple[()], params: dict[str, Any], batch: dict[str, Array]
    ) -> tuple[Float[Array, ""], dict[str, Array]]:
        del key, cfg

        def u(x: Array, t: Array) -> Array:
            # Inputs of the size that networks are made for.
            points = 2 * jnp.stack([x, t], axis=-1) - 1
            output: Any = self.module.apply({"params": params}, points)
            return output[:, 0]

        x, t = batch["point"][:, 0], batch["point"][:, 1]
        ones = jnp.ones_like(x)

        def slope(x: Array) -> tuple[Array, Array]:
            return jax.jvp(lambda x: u(x, t), (x,), (ones,))

        (value, _), (_, u_xx) = jax.jvp(slope, (x,), (ones,))
        u_t = jax.jvp(lambda t: u(x, t), (t,), (ones,))[1]
        residual = u_t - u_xx / _FREQUENCY**2
        start = u(x, jnp.zeros_like(t)) - jnp.sin(_FREQUENCY * x)
        boundary = u(jnp.round(x), t)
        fixed = jnp.mean(jnp.square(start)) + jnp.mean(jnp.square(boundary))
        error = jnp.mean(jnp.square(value - jnp.exp(-t) * jnp.sin(_FREQUENCY * x)))
        return jnp.mean(jnp.square(residual)) + _WEIGHT * fixed, {"error": error}

    def batch(self, key: jax.Array, cfg: tuple[()], split: str) -> dict[str, Array]:
        """Points {"point": [B, 2]}, x and t; each split draws from a stream of its own."""
        del cfg
        check_choice("split", split, SPLITS)
        key = jax.random.fold_in(key, SPLITS.index(split))
        return {"point": jax.random.uniform(key, (self.batch_size, 2), jnp.float32)}


def heat_equation(
    hidden: Sequence[int] = (24, 24),
    activation: str = "tanh",
    batch_size: int = 32,
    init_scale: float = 1.0,
) -> HeatEquation:
    """Network that solves the heat equation in one dimension.

    Args:
        hidden: widths of the hidden layers.
        activation: a smooth one: "gelu", "sigmoid", "silu", "softplus" or "tanh".
        batch_size: points per batch.
        init_scale: initial kernels have std init_scale / sqrt(fan_in).

    Raises:
        ValueError: a value is out of range or a name unknown.
    """
    widths = check_ints("hidden", hidden, 1)
    check_choice("smooth activation", activation, SMOOTH)
    check_int("batch_size", batch_size, 1)
    init_scale = check_number("init_scale", init_scale, 0.0)
    return HeatEquation(MLP(widths, 1, activation), batch_size, init_scale)
