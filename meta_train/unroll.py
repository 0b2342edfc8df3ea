"""Unrolling a system: a run of inner steps of one particle, frozen after the episode's end."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from meta_train.types import State, Theta, UnrolledSystem


class Clock(NamedTuple):
    """Where a particle stands in its episode."""

    t: Int[Array, ""]
    """Inner steps taken; 0 asks for a new initial state before the next step."""
    horizon: Int[Array, ""]
    """Episode length T, in inner steps."""

    def advanced(self, num_steps: int) -> "Clock":
        """The clock after ``num_steps`` further steps, stopped at T."""
        return Clock(jnp.minimum(self.t + num_steps, self.horizon), self.horizon)


def unroll(
    system: UnrolledSystem,
    key: jax.Array,
    theta: Theta,
    state: State,
    clock: Clock,
    *,
    num_steps: int,
    ragged: bool,
) -> tuple[State, Float[Array, ""]]:
    """Take up to ``num_steps`` inner steps, none past the end of the episode.

    Step t draws from ``fold_in(key, t)``, so that the same key gives the same inner problem
    however an episode is cut into truncations.

    Args:
        system: the computation graph.
        key: typed PRNG key of this run of steps.
        theta: meta-parameters.
        state: the system's state before inner step ``clock.t``.
        clock: position in the episode before the first step.
        num_steps: steps to take, static.
        ragged: whether the episode can end before ``num_steps`` steps are done; the steps after
            it leave the state as it is and have zero loss.

    Returns:
        The state after the last live step, and the sum of the live steps' losses.
    """
    steps = clock.t + jnp.arange(num_steps, dtype=jnp.int32)
    keys = jax.vmap(jax.random.fold_in, in_axes=(None, 0))(key, steps)

    def take_step(state: State, inputs: tuple[jax.Array, Array]) -> tuple[State, Array]:
        key_step, t = inputs
        next_state, loss = system.step(key_step, theta, state)
        if ragged:
            live = t < clock.horizon
            next_state = jax.tree.map(lambda new, old: jnp.where(live, new, old), next_state, state)
            loss = jnp.where(live, loss, 0.0)
        return next_state, loss

    state, losses = jax.lax.scan(take_step, state, (keys, steps))
    return state, jnp.sum(losses)


def empty_state(system: UnrolledSystem, theta: Theta) -> State:
    """A state of the right structure, to be replaced by ``system.init`` before it is used."""
    shapes = jax.eval_shape(system.init, jax.random.key(0), theta)
    return jax.tree.map(_zeros, shapes)


def _zeros(leaf: jax.ShapeDtypeStruct) -> Array:
    if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        return jnp.broadcast_to(jax.random.key(0), leaf.shape)
    return jnp.zeros(leaf.shape, leaf.dtype)
