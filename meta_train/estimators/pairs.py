"""Antithetic pairs: two particles at theta + eps and theta - eps.

Partners share everything else: keys, batches, sampled task, clock. Perturbations are flat vectors
over all of theta.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float

from meta_train.estimators.clocks import Keys
from meta_train.groups import Std, sigma
from meta_train.particles import map_partners
from meta_train.types import State, Theta, UnrolledSystem
from meta_train.unroll import Clock, at, empty_state, unroll


class Pair(NamedTuple):
    """What a pair carries from truncation to truncation."""

    states: State
    """System states with a leading axis of 2, + before -."""
    xi: Float[Array, " P"]
    """Accumulator of the particle at +; its partner's is minus this."""
    earlier: Any = ()
    """L+ - L- of the episode's truncations so far, a scalar, where losses are telescoped."""


def normal(key: jax.Array, theta: Theta, std: Std) -> Float[Array, " P"]:
    """One flat draw from N(0, sigma^2): drawing leaf by leaf compiles many times slower."""
    return sigma(theta, std) * jax.random.normal(key, ravel_pytree(theta)[0].shape)


def perturb(name: str, keys: Keys, theta: Theta, std: Std, num_pairs: int) -> Float[Array, " P"]:
    """What one pair adds to theta, of covariance sigma^2 I.

    Args:
        name: one of ``PERTURBATIONS``.
        keys: of the pair and truncation.
        theta: meta-parameters.
        std: sigma.
        num_pairs: of all devices.
    """
    return sigma(theta, std) * PERTURBATIONS[name](keys, len(ravel_pytree(theta)[0]), num_pairs)


def _normal(keys: Keys, size: int, num_pairs: int) -> Float[Array, " P"]:
    del num_pairs
    return jax.random.normal(keys.perturbation, (size,))


def _sign(keys: Keys, size: int, num_pairs: int) -> Float[Array, " P"]:
    del num_pairs
    return jax.random.rademacher(keys.perturbation, (size,), float)


def _orthogonal(keys: Keys, size: int, num_pairs: int) -> Float[Array, " P"]:
    """One row of a block that all its pairs make from the same key, with a length of its own."""
    block_size = min(num_pairs, size)
    block, place = keys.group // block_size, keys.group % block_size
    drawn = jax.random.normal(jax.random.fold_in(keys.shared, block), (size, block_size))
    basis, triangle = jnp.linalg.qr(drawn)
    # With the signs of the diagonal it is what Gram and Schmidt make: uniform on the sphere.
    direction = basis[:, place] * jnp.sign(triangle[place, place])
    return direction * jnp.linalg.norm(_normal(keys, size, num_pairs))


PERTURBATIONS: dict[str, Callable[[Keys, int, int], Float[Array, " P"]]] = {
    "normal": _normal,
    "sign": _sign,
    "orthogonal": _orthogonal,
}
"""By name: N(0, I); random signs; N(0, I) for each pair, but those that at most P pairs draw in the
same meta-step orthogonal to each other."""


def variance(theta: Theta, std: Std) -> float | Float[Array, " P"]:
    """sigma^2; 1 where sigma is 0, for there eps is 0 and may be divided by any number."""
    if isinstance(std, float | int):
        return std**2
    squares = jnp.square(sigma(theta, std))
    return jnp.where(squares > 0, squares, 1.0)


def antithetic(theta: Theta, eps: Float[Array, " P"]) -> Theta:
    """theta + eps and theta - eps, stacked along a leading axis of 2."""
    flat, unravel = ravel_pytree(theta)
    return jax.vmap(unravel)(jnp.stack([flat + eps, flat - eps]))


def blank_pair(system: UnrolledSystem, theta: Theta, telescoped: bool = False) -> Pair:
    """A pair of the right structure, whose states the first truncation replaces."""
    states = jax.tree.map(lambda x: jnp.stack([x, x]), empty_state(system, theta))
    earlier = jnp.zeros(()) if telescoped else ()
    return Pair(states, jnp.zeros(ravel_pytree(theta)[0].shape), earlier)


def telescope(pair: Pair, clock: Clock, losses: Float[Array, "2"]) -> tuple[Pair, Array]:
    """Add L+ - L- of a truncation to those of its episode.

    Returns:
        The pair with their sum, and the sum before.
    """
    earlier = jnp.where(clock.starts, 0.0, pair.earlier)
    return pair._replace(earlier=earlier + losses[0] - losses[1]), earlier


def unroll_pair(
    system: UnrolledSystem,
    keys: Keys,
    theta: Theta,
    eps: Float[Array, " P"],
    clock: Clock,
    pair: Pair,
) -> tuple[Pair, Float[Array, "2"]]:
    """One truncation of both partners, from a new initial state where ``clock.starts``.

    Returns:
        The pair with its next states, and the sums of live losses at theta + eps and theta - eps.
    """
    thetas = antithetic(theta, eps)

    def start() -> State:
        return map_partners(lambda theta: system.init(keys.init, theta, clock.horizon), thetas)

    def run(theta: Theta, state: State) -> tuple[State, Array]:
        return unroll(at(system, theta), keys.unroll, state, clock)

    states = jax.lax.cond(clock.starts, start, lambda: pair.states)
    states, losses = map_partners(run, thetas, states)
    return pair._replace(states=states), losses
