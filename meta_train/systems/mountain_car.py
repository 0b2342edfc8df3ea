"""A car in a valley, too weak to drive straight up, with a linear policy.

[1] Moore, "Efficient Memory-based Learning for Robot Control", 1990; sizes as in gymnasium's
    MountainCarContinuous.
"""

import math
from typing import ClassVar

import flax.struct
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from meta_train.systems.control import Environment, LinearPolicy

_POWER = 0.0015
_GRAVITY = 0.0025
_LEFT, _RIGHT = -1.2, 0.6
_TOP_SPEED = 0.07
_VALLEY = -math.pi / 6

Physics = Float[Array, "2"]
"""Position and velocity."""


@flax.struct.dataclass
class MountainCar(Environment):
    """Reward: the height sin(3 x), from -1 in the valley to nearly 1 at the wall on the hill.

    The car must first drive back and gain speed. Observed are distance from the valley and speed,
    both scaled to about 1.
    """

    num_actions: ClassVar[int] = 1

    def reset(self, key: jax.Array) -> Physics:
        return jnp.stack([jax.random.uniform(key, minval=-0.6, maxval=-0.4), jnp.zeros(())])

    def observe(self, state: Physics) -> Float[Array, " observations"]:
        return jnp.stack([(state[0] - _VALLEY) / 0.5, state[1] / _TOP_SPEED])

    def step(
        self, state: Physics, action: Float[Array, " actions"]
    ) -> tuple[Physics, Float[Array, ""]]:
        x, v = state
        v += _POWER * jnp.clip(action[0], -1.0, 1.0) - _GRAVITY * jnp.cos(3.0 * x)
        v = jnp.clip(v, -_TOP_SPEED, _TOP_SPEED)
        moved = x + v
        x = jnp.clip(moved, _LEFT, _RIGHT)
        v = jnp.where(x == moved, v, 0.0)  # the walls at both ends stop it
        return jnp.stack([x, v]), jnp.sin(3.0 * x)


def mountain_car() -> LinearPolicy:
    """A linear policy with two parameters that drives a weak car up a hill."""
    return LinearPolicy(MountainCar())
