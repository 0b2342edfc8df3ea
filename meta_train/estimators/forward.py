"""What estimators share that carry derivatives forward with the state.

The floating-point numbers of a state as one vector, [S], and one inner step as a function of that
vector and of flattened theta. Keys, integers and booleans of a state have no derivatives.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float

from meta_train.types import State, Theta, UnrolledSystem
from meta_train.unroll import Clock, differentiable

Unravel = Callable[[Float[Array, " P"]], Theta]


def floats(state: State) -> Float[Array, " S"]:
    """The floating-point numbers of a state."""
    return ravel_pytree(differentiable(state)[0])[0]


def num_floats(state: State) -> int:
    """S."""
    return len(floats(state))


def begin(
    system: UnrolledSystem, key: jax.Array, unravel: Unravel, clock: Clock
) -> Callable[[Float[Array, " P"]], tuple[Float[Array, " S"], State]]:
    """The first state of an episode as a function of theta: its numbers, and the state itself."""

    def first(flat: Array) -> tuple[Array, State]:
        state = system.init(key, unravel(flat), clock.horizon)
        return floats(state), state

    return first


def advance(
    system: UnrolledSystem, key: jax.Array, unravel: Unravel, state: State
) -> tuple[Float[Array, " S"], Callable[[Array, Array], tuple[Float[Array, " S+1"], tuple]]]:
    """One inner step from a state.

    Returns:
        The state's numbers, and the function of them and of theta that gives the next state's
        numbers followed by the loss, and besides both as they are: (next state, loss).
    """
    leaves, rebuild = differentiable(state)
    values, restore = ravel_pytree(leaves)

    def one(values: Array, flat: Array) -> tuple[Array, tuple[State, Array]]:
        after, loss = system.step(key, unravel(flat), rebuild(restore(values)))
        return jnp.append(floats(after), loss), (after, loss)

    return values, one
