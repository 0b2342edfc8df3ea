"""Estimators that carry their particles from one truncation to the next.

Clocks live here. Whatever shares a clock (an antithetic pair, or a single particle) is a group;
a subclass says only what a group carries and what one truncation of it contributes.

Clocks are staggered: at any meta-step the groups are spread evenly over the episode. With all of
them at the same inner step, one meta-step would see one part of the episode only and be a biased
sample of it. So the first episode of a group lies partly in the past: it is run through a random
number of truncations, like any other, before the first meta-step. T and the age follow the
stationary law of a renewal process, which makes the first meta-step, and each one after it, an
unbiased sample of the episode. It costs about as much as T / (2 K) meta-steps, once.
"""

import abc
import dataclasses
import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Int

from meta_train.estimators.base import (
    Contribution,
    EpisodicEstimator,
    ParticleKeys,
    combine,
    particle_keys,
)
from meta_train.particles import map_particles
from meta_train.types import Estimate, Theta, UnrolledSystem
from meta_train.unroll import Clock

Carry = Any


class Group(NamedTuple):
    """Particles that share a clock, between two meta-steps."""

    global_index: Int[Array, ""]
    """Over all devices, the source of the group's keys."""
    meta_step: Int[Array, ""]
    clock: Clock
    past: Int[Array, ""]
    """Truncations of the first episode to run before the first estimate; 0 ever after."""
    carry: Carry
    """System states, accumulators: what the estimator needs."""


@dataclasses.dataclass(frozen=True)
class TruncatedEstimator(EpisodicEstimator):
    """A gradient estimate from one truncation of every group."""

    @property
    @abc.abstractmethod
    def num_groups(self) -> int:
        """Number of clocks: pairs, or particles where each has its own."""

    @abc.abstractmethod
    def blank(self, system: UnrolledSystem, theta: Theta) -> Carry:
        """A carry of the right structure; the first truncation of an episode replaces it."""

    @abc.abstractmethod
    def truncation(
        self, system: UnrolledSystem, keys: ParticleKeys, theta: Theta, clock: Clock, carry: Carry
    ) -> tuple[Carry, Contribution]:
        """Run one group for K inner steps; where ``clock.t`` is 0, from a new initial state."""

    def init(self, system: UnrolledSystem, key: jax.Array, theta: Theta) -> Group:
        carry = self.blank(system, theta)

        def start(index: Array) -> Group:
            clock, past = self._first_clock(key, index)
            return Group(index, jnp.zeros((), jnp.int32), clock, past, carry)

        return jax.vmap(start)(jnp.arange(self.num_groups, dtype=jnp.int32))

    def estimate(
        self, system: UnrolledSystem, key: jax.Array, theta: Theta, state: Group
    ) -> tuple[Estimate, Group]:
        groups, contributions = map_particles(
            lambda group: self._advance(system, key, theta, group), state
        )
        return combine(contributions, theta), groups

    def _advance(
        self, system: UnrolledSystem, key: jax.Array, theta: Theta, group: Group
    ) -> tuple[Group, Contribution]:
        """Run what lies in the past, then the truncation that counts.

        One loop serves both, so that the inner steps are compiled once; after the first meta-step
        it is passed through once each time.
        """

        def truncation(carry: tuple[Group, Contribution]) -> tuple[Group, Contribution]:
            group, _ = carry
            keys = particle_keys(key, group.global_index, group.past)
            result, part = self.truncation(system, keys, theta, group.clock, group.carry)
            clock = self._next_clock(keys.horizon, group.meta_step, group.clock, part.healthy)
            return group._replace(clock=clock, past=group.past - 1, carry=result), part

        shapes = jax.eval_shape(
            self.truncation,
            system,
            particle_keys(key, group.global_index),
            theta,
            group.clock,
            group.carry,
        )[1]
        nothing = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)
        group, part = jax.lax.while_loop(
            lambda carry: carry[0].past >= 0, truncation, (group, nothing)
        )
        coefficient = part.coefficient * self._scale(group.meta_step)
        group = group._replace(meta_step=group.meta_step + 1, past=jnp.zeros((), jnp.int32))
        return group, part._replace(coefficient=coefficient)

    def _scale(self, meta_step: Array) -> Array | float:
        """Sum of losses / K, times K E[ceil(T / K)] / E[T]: the unit of J, loss per inner step."""
        truncations = self.episodes.mean_truncations(self.steps_per_truncation, meta_step)
        return truncations / self.episodes.mean(meta_step)

    def _first_clock(self, key: jax.Array, index: Int[Array, ""]) -> tuple[Clock, Int[Array, ""]]:
        """The clock at the start of the first episode, and its age in truncations.

        Ages are drawn by systematic sampling, with one random offset for all groups: each is
        uniform over the episode's truncations, together they cover it evenly. Neighbours are far
        apart in age, so that every device has about as much past to run.
        """
        key_horizon, key_offset = jax.random.split(key)
        length = self.steps_per_truncation
        horizon = self.episodes.sample_running(jax.random.fold_in(key_horizon, index), length)
        place = index * _stride(self.num_groups) % self.num_groups
        phase = (place + jax.random.uniform(key_offset)) / self.num_groups
        truncations = -(-horizon // length)
        age = jnp.minimum((phase * truncations).astype(jnp.int32), truncations - 1)
        return Clock(jnp.zeros((), jnp.int32), horizon), age

    def _next_clock(
        self, key: jax.Array, meta_step: Array, clock: Clock, healthy: Bool[Array, ""]
    ) -> Clock:
        """The clock after a truncation; a new episode where it ended or diverged."""
        moved = clock.advanced(self.steps_per_truncation)
        fresh = Clock(jnp.zeros((), jnp.int32), self.episodes.sample(key, meta_step + 1))
        ended = (moved.t >= moved.horizon) | ~healthy
        return jax.tree.map(lambda new, old: jnp.where(ended, new, old), fresh, moved)


def _stride(size: int) -> int:
    """A step that visits all of range(size) in turn, near the golden section of it."""
    coprime = [step for step in range(1, size + 1) if math.gcd(step, size) == 1]
    return min(coprime, key=lambda step: abs(step - 0.618 * size))
