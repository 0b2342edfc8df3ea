"""Unrolling: a run of inner steps of one particle, frozen after the end of its episode."""

import dataclasses
from collections.abc import Callable
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Int

from meta_train.horizons import Horizon
from meta_train.types import State, Theta, UnrolledSystem

Step = Callable[[jax.Array, State], tuple[State, Any]]
"""One inner step: (key, state) -> (next state, what is summed)."""


@flax.struct.dataclass
class Clock:
    """Where a particle stands in its episode, before it takes its next truncation.

    Args:
        t: inner steps taken, an int32 scalar; 0 asks for a new initial state.
        horizon: episode length T in inner steps, an int32 scalar.
        length: K, inner steps of the truncation.
        ragged: whether the episode can end within the truncation.
    """

    t: Any  # of whatever JAX puts into a pytree's leaves, so not checked
    horizon: Any
    length: int = flax.struct.field(pytree_node=False)
    ragged: bool = flax.struct.field(pytree_node=False)

    @property
    def starts(self) -> Bool[Array, ""]:
        """Whether the truncation is the first of its episode."""
        return self.t == 0

    @property
    def live_steps(self) -> Int[Array, ""]:
        """Inner steps of the truncation that belong to the episode."""
        return jnp.minimum(self.horizon - self.t, self.length)

    def advanced(self) -> "Clock":
        """The clock after the truncation, stopped at T."""
        return dataclasses.replace(self, t=self.t + self.live_steps)


def start(horizon: Int[Array, ""], episodes: Horizon, length: int) -> Clock:
    """The clock at the start of an episode of T = ``horizon``, drawn from ``episodes``."""
    return Clock(jnp.zeros((), jnp.int32), horizon, length, episodes.is_ragged(length))


def unroll(step: Step, key: jax.Array, state: State, clock: Clock) -> tuple[State, Any]:
    """Take one truncation of inner steps, none past the end of the episode.

    Step t draws from ``fold_in(key, t)``, so that the same key gives the same inner problem
    however an episode is cut into truncations. Steps after the end of the episode leave the state
    as it is and add nothing.

    Args:
        step: one inner step. What it returns besides the next state, a pytree of numbers such as
            the loss, a tangent or a derivative, is summed.
        key: typed PRNG key of this run of steps.
        state: before inner step ``clock.t``.
        clock: position in the episode before the first step.

    Returns:
        The state after the last live step, and the sums over the live steps.
    """
    steps = clock.t + jnp.arange(clock.length, dtype=jnp.int32)
    keys = jax.vmap(jax.random.fold_in, in_axes=(None, 0))(key, steps)

    def take_step(state: State, inputs: tuple[jax.Array, Array]) -> tuple[State, Any]:
        key_step, t = inputs
        next_state, terms = step(key_step, state)
        if clock.ragged:
            live = t < clock.horizon
            next_state = jax.tree.map(lambda new, old: jnp.where(live, new, old), next_state, state)
            terms = jax.tree.map(lambda x: jnp.where(live, x, jnp.zeros_like(x)), terms)
        return next_state, terms

    state, terms = jax.lax.scan(take_step, state, (keys, steps))
    return state, jax.tree.map(lambda x: jnp.sum(x, axis=0), terms)


def at(system: UnrolledSystem, theta: Theta) -> Step:
    """The inner step of ``system`` with its meta-parameters fixed."""
    return lambda key, state: system.step(key, theta, state)


def empty_state(system: UnrolledSystem, theta: Theta) -> State:
    """A state of the right structure, to be replaced by ``system.init`` before it is used."""
    horizon = jax.ShapeDtypeStruct((), jnp.int32)
    shapes = jax.eval_shape(system.init, jax.random.key(0), theta, horizon)
    return jax.tree.map(_zeros, shapes)


def differentiable(state: State) -> tuple[list[Array], Callable[[list[Array]], State]]:
    """The part of a state that has derivatives, apart from its keys, integers and booleans.

    Returns:
        The floating-point leaves, and the function that puts others like them in their place.
    """
    leaves, structure = jax.tree.flatten(state)
    places = [i for i, leaf in enumerate(leaves) if jnp.issubdtype(leaf.dtype, jnp.floating)]

    def rebuild(floats: list[Array]) -> State:
        whole = list(leaves)
        for place, leaf in zip(places, floats, strict=True):
            whole[place] = leaf
        return structure.unflatten(whole)

    return [leaves[place] for place in places], rebuild


def _zeros(leaf: jax.ShapeDtypeStruct) -> Array:
    if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        return jnp.broadcast_to(jax.random.key(0), leaf.shape)
    return jnp.zeros(leaf.shape, leaf.dtype)
