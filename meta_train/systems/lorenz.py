"""The Lorenz system, whose parameters are learned from a trajectory: chaotic in the long run.

[1] Lorenz, "Deterministic Nonperiodic Flow", 1963.
[2] Li, Harrison, Sohl-Dickstein, Smith and Metz, "Variance-Reduced Gradient Estimation via
    Noise-Reuse in Online Evolution Strategies", NeurIPS 2023, arXiv:2304.12180.
"""

from typing import NamedTuple

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from meta_train.types import Theta, UnrolledSystem

_START = (1.2, 1.3, 1.6)
_BETA = 8.0 / 3.0
_TRUE = {"log_prandtl": np.log(10.0), "log_rayleigh": np.log(28.0)}


class Trajectories(NamedTuple):
    """Where the system that is observed is, and the one with theta; both start alike."""

    observed: Float[Array, "3"]
    predicted: Float[Array, "3"]


@flax.struct.dataclass
class Lorenz(UnrolledSystem):
    """dx/dt = a (y - x), dy/dt = x (r - z) - y, dz/dt = x y - 8/3 z, in steps of Euler's.

    The loss is the squared distance of z to that of the trajectory of a = 10 and r = 28; theta are
    the logarithms of a and r.

    Args:
        time_step: of the integration.
        first_offset: of both parameters of theta from the true ones, at which meta-training starts.
    """

    time_step: float = flax.struct.field(pytree_node=False, default=0.005)
    first_offset: float = flax.struct.field(pytree_node=False, default=-0.2)

    def init_theta(self, key: jax.Array) -> Theta:
        del key
        return {name: jnp.float32(value + self.first_offset) for name, value in _TRUE.items()}

    def init(self, key: jax.Array, theta: Theta, horizon: Int[Array, ""]) -> Trajectories:
        del key, theta, horizon
        return Trajectories(jnp.asarray(_START), jnp.asarray(_START))

    def step(
        self, key: jax.Array, theta: Theta, state: Trajectories
    ) -> tuple[Trajectories, Float[Array, ""]]:
        del key
        observed = self._advance(_TRUE, state.observed)
        predicted = self._advance(theta, state.predicted)
        return Trajectories(observed, predicted), jnp.square(predicted[2] - observed[2])

    def _advance(self, theta: Theta, place: Float[Array, "3"]) -> Float[Array, "3"]:
        x, y, z = place
        prandtl, rayleigh = jnp.exp(theta["log_prandtl"]), jnp.exp(theta["log_rayleigh"])
        slope = jnp.stack([prandtl * (y - x), x * (rayleigh - z) - y, x * y - _BETA * z])
        return place + self.time_step * slope
