"""Gradient descent in two dimensions, with a learning-rate schedule of two parameters.

[1] Vicol, Metz and Sohl-Dickstein, "Unbiased Gradient Estimation in Unrolled Computation Graphs
    with Persistent Evolution Strategies", ICML 2021, arXiv:2112.13835.
"""

from typing import NamedTuple

import flax.struct
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from meta_train.types import Theta, UnrolledSystem


class Descent(NamedTuple):
    """A point on its way down."""

    x: Float[Array, "2"]
    t: Int[Array, ""]
    """Inner steps taken."""
    horizon: Int[Array, ""]
    """T of the episode."""


@flax.struct.dataclass
class ToyRegression(UnrolledSystem):
    """x <- x - lr_t df/dx from (1, 1), with the loss f of the new point.

        f(x) = sqrt(x_0^2 + 5) - sqrt(5) + sin(x_1)^2 exp(-5 x_0^2) + |x_1 - 100| / 4
        lr_t = (1 - t / T) exp(theta_0) + t / T exp(theta_1)

    Large learning rates are good in the end, but at first they lead into a landscape whose
    derivatives are chaotic; small truncations see only what harms at once.

    Args:
        first_theta: both parameters of the schedule, that meta-training starts at.
    """

    first_theta: float = flax.struct.field(pytree_node=False, default=-4.0)

    def init_theta(self, key: jax.Array) -> Theta:
        del key
        return {"log_learning_rates": jnp.full(2, self.first_theta, jnp.float32)}

    def init(self, key: jax.Array, theta: Theta, horizon: Int[Array, ""]) -> Descent:
        del key, theta
        return Descent(jnp.ones(2), jnp.zeros((), jnp.int32), horizon)

    def step(
        self, key: jax.Array, theta: Theta, state: Descent
    ) -> tuple[Descent, Float[Array, ""]]:
        del key
        progress = state.t / state.horizon
        first, last = jnp.exp(theta["log_learning_rates"])
        rate = (1.0 - progress) * first + progress * last
        x = state.x - rate * jax.grad(objective)(state.x)
        return Descent(x, state.t + 1, state.horizon), objective(x)


def objective(x: Float[Array, "2"]) -> Float[Array, ""]:
    """f."""
    bowl = jnp.sqrt(jnp.square(x[0]) + 5.0) - jnp.sqrt(5.0)
    ripple = jnp.square(jnp.sin(x[1])) * jnp.exp(-5.0 * jnp.square(x[0]))
    return bowl + ripple + 0.25 * jnp.abs(x[1] - 100.0)
