"""Antithetic pairs: two particles at theta + perturbation and theta - perturbation.

Partners share everything else: keys, batches, sampled task, clock.
"""

import abc
import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Bool, Float

from meta_train.estimators.base import Contribution, ParticleKeys, contribution
from meta_train.estimators.truncated import TruncatedEstimator
from meta_train.particles import map_particles
from meta_train.types import State, Theta, UnrolledSystem
from meta_train.unroll import Clock, empty_state, unroll


def antithetic(theta: Theta, perturbation: Float[Array, " P"]) -> Theta:
    """theta + perturbation and theta - perturbation, stacked along a leading axis of 2."""
    flat, unravel = ravel_pytree(theta)
    return jax.vmap(unravel)(jnp.stack([flat + perturbation, flat - perturbation]))


def draw_perturbation(key: jax.Array, theta: Theta, std: float) -> Float[Array, " P"]:
    """One flat draw from N(0, std^2 I): drawing leaf by leaf compiles many times slower."""
    return std * jax.random.normal(key, ravel_pytree(theta)[0].shape)


def init_states(system: UnrolledSystem, key: jax.Array, thetas: Theta) -> State:
    """Initial states of both partners, from the same key."""
    return map_particles(lambda theta: system.init(key, theta), thetas)


def loss_difference(losses: Float[Array, "2"], std: float) -> Float[Array, ""]:
    """(L+ - L-) / (2 sigma^2), the antithetic coefficient."""
    return (losses[0] - losses[1]) / (2 * std**2)


class Pair(NamedTuple):
    """What a pair carries from truncation to truncation."""

    states: State
    """System states with a leading axis of 2, + before -."""
    accumulator: Float[Array, " P"]
    """What the loss difference multiplies, of the particle at +; its partner's is minus this."""


@dataclasses.dataclass(frozen=True)
class TruncatedEvolution(TruncatedEstimator):
    """Evolution strategies whose pairs keep their states, and an accumulator, for an episode."""

    @abc.abstractmethod
    def perturb(
        self, drawn: Float[Array, " P"], starts: Bool[Array, ""], accumulator: Float[Array, " P"]
    ) -> tuple[Float[Array, " P"], Float[Array, " P"]]:
        """The perturbation of this truncation, and the accumulator that goes with its losses.

        Args:
            drawn: a fresh draw from N(0, sigma^2 I).
            starts: whether the truncation is the first of its episode.
            accumulator: the accumulator after the truncation before.
        """

    @property
    def num_groups(self) -> int:
        return self.num_pairs

    def blank(self, system: UnrolledSystem, theta: Theta) -> Pair:
        states = jax.tree.map(lambda x: jnp.stack([x, x]), empty_state(system, theta))
        return Pair(states, jnp.zeros(ravel_pytree(theta)[0].shape))

    def truncation(
        self, system: UnrolledSystem, keys: ParticleKeys, theta: Theta, clock: Clock, carry: Pair
    ) -> tuple[Pair, Contribution]:
        starts = clock.t == 0
        drawn = draw_perturbation(keys.perturbation, theta, self.std)
        perturbation, accumulator = self.perturb(drawn, starts, carry.accumulator)
        thetas = antithetic(theta, perturbation)
        states = jax.lax.cond(
            starts, lambda: init_states(system, keys.init, thetas), lambda: carry.states
        )

        def run(theta: Theta, state: State) -> tuple[State, Array]:
            num_steps, ragged = self.steps_per_truncation, self.ragged
            return unroll(
                system, keys.unroll, theta, state, clock, num_steps=num_steps, ragged=ragged
            )

        states, losses = map_particles(run, thetas, states)
        live_steps = clock.advanced(self.steps_per_truncation).t - clock.t
        coefficient = loss_difference(losses, self.std)
        return Pair(states, accumulator), contribution(coefficient, accumulator, losses, live_steps)
