"""What an unroll at one theta costs."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from meta_train.types import Theta, UnrolledSystem


def unrolled(
    system: UnrolledSystem, theta: Theta, num_steps: int, key: jax.Array | None = None
) -> Float[Array, " T"]:
    """The losses of a whole unroll at one theta.

    Args:
        system: what is unrolled.
        theta: meta-parameters.
        num_steps: T.
        key: typed PRNG key of the episode; None takes that of seed 0.
    """
    key_init, key_steps = jax.random.split(jax.random.key(0) if key is None else key)

    def step(state: Any, key: jax.Array) -> tuple[Any, Array]:
        return system.step(key, theta, state)

    start = system.init(key_init, theta, jnp.int32(num_steps))
    return jax.lax.scan(step, start, jax.random.split(key_steps, num_steps))[1]


def episodes(
    system: UnrolledSystem, theta: Theta, num_steps: int, num_episodes: int
) -> Float[Array, "episodes T"]:
    """The losses of several unrolls at one theta, the same ones each time.

    Args:
        system: what is unrolled.
        theta: meta-parameters.
        num_steps: T.
        num_episodes: of different keys.
    """
    keys = jax.random.split(jax.random.key(0), num_episodes)
    return jax.vmap(lambda key: unrolled(system, theta, num_steps, key))(keys)
