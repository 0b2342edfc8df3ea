"""Clocks: when particles begin, continue and end their episodes.

Whatever shares a clock is a group: an antithetic pair, or a lone particle. An estimator says what
a group carries from truncation to truncation and what one truncation contributes; all else is here.

Clocks are staggered: at any meta-step the groups are spread evenly over the episode. With all of
them at the same inner step, one meta-step would see one part of the episode only and be a biased
sample of it. So the first episode of a group lies partly in the past: it is run through a random
number of truncations, like any other, before the first meta-step. T and the age follow the
stationary law of a renewal process, which makes the first meta-step, and each one after it, an
unbiased sample of the episode. It costs about as much as T / (2 K) meta-steps, once.
"""

import dataclasses
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from meta_train.estimators.reduction import Contribution, combine, shape_fitness
from meta_train.horizons import ENDLESS, Horizon
from meta_train.particles import map_particles
from meta_train.types import Estimate, GradientEstimator, Theta
from meta_train.unroll import Clock, start

Carry = Any
_NEAR = 200
"""Among so many numbers in a row one has no factor in common with any of 64 bits."""
_SHARED = 0x5A4E
"""Folded into the key of a meta-step in the place of a group's index."""


class Keys(NamedTuple):
    """Random keys of one group in one truncation, named by use."""

    perturbation: jax.Array
    init: jax.Array
    unroll: jax.Array
    horizon: jax.Array
    shared: jax.Array
    """The same for all groups that are in the same truncation of a meta-step."""
    group: Int[Array, ""] | int
    """Global index of the group."""


def group_keys(key: jax.Array, index: Int[Array, ""] | int, past: Int[Array, ""] | int = 0) -> Keys:
    """Keys that depend on the global index at most, never on where the group runs.

    Args:
        key: of the meta-step and system.
        index: global index of the group.
        past: truncations still to run after this one in the same meta-step.
    """
    key_group = jax.random.fold_in(jax.random.fold_in(key, index), past)
    shared = jax.random.fold_in(jax.random.fold_in(key, _SHARED), past)
    perturbation, init, unroll, horizon = jax.random.split(key_group, 4)
    return Keys(perturbation, init, unroll, horizon, shared, index)


class Group(NamedTuple):
    """What one group carries between two meta-steps."""

    global_index: Int[Array, ""]
    """Over all devices, the source of the group's keys."""
    meta_step: Int[Array, ""]
    clock: Clock
    past: Int[Array, ""]
    """Truncations of the first episode to run before the first estimate; 0 ever after."""
    carry: Carry
    """System states, accumulators: what the estimator needs."""


Truncation = Callable[
    [Keys, Clock, Carry], tuple[Carry, Float[Array, " P"], Float[Array, " particles"]]
]
"""One truncation of one group, from a new initial state where ``clock.starts``.

It returns what the group carries on, the gradient of the sum of its live losses, and that sum for
each of its particles.
"""


@dataclasses.dataclass(frozen=True)
class Clocks:
    """The clocks of all groups of an estimator.

    Args:
        episodes: distribution of T.
        length: K, inner steps of one truncation.
        num_groups: number of clocks.
        mean_over: "steps" or "episodes", see ``GradientEstimator``.
        staggered: whether they are spread over the episode from the start; False starts all at 0.
            Episodes that never end have no ages to be spread over.
    """

    episodes: Horizon
    length: int
    num_groups: int
    mean_over: str = "steps"
    staggered: bool = True

    def start(self, key: jax.Array, carry: Carry) -> Group:
        """All groups before the first meta-step, with a leading axis.

        Args:
            key: typed PRNG key.
            carry: of the right structure; the first truncation of an episode replaces it.
        """

        def group(index: Array) -> Group:
            clock, past = self.first(key, index)
            return Group(index, jnp.zeros((), jnp.int32), clock, past, carry)

        return jax.vmap(group)(jnp.arange(self.num_groups, dtype=jnp.int32))

    def estimate(
        self,
        key: jax.Array,
        theta: Theta,
        groups: Group,
        truncation: Truncation,
        fitness_shaping: str = "none",
    ) -> tuple[Estimate, Group]:
        """Run one truncation of every group, and average what they contribute."""
        groups, contributions = map_particles(
            lambda group: self.contribution(key, group, truncation), groups
        )
        shaped = shape_fitness(fitness_shaping, contributions, groups.global_index, self.num_groups)
        return combine(shaped, theta), groups

    def contribution(
        self, key: jax.Array, group: Group, truncation: Truncation
    ) -> tuple[Group, Contribution]:
        """Run what lies in the past, then the truncation that counts.

        One loop serves both, so that the inner steps are compiled once; after the first meta-step
        it is passed through once each time.
        """

        def run(loop: tuple[Group, Any]) -> tuple[Group, Contribution]:
            group, _ = loop
            keys = group_keys(key, group.global_index, group.past)
            carry, grad, losses = truncation(keys, group.clock, group.carry)
            # A group is inside an episode in proportion to its truncations; so the mean over
            # truncations, times their mean number, is the mean over episodes of their sums.
            truncations = self.episodes.mean_truncations(self.length, group.meta_step)
            weight = self.weight(group.clock, group.meta_step)
            part = Contribution(truncations * weight * grad, losses, group.clock.live_steps, weight)
            clock = self.next(keys.horizon, group.meta_step, group.clock, part.healthy)
            return group._replace(clock=clock, past=group.past - 1, carry=carry), part

        nothing = jax.tree.map(
            lambda leaf: jnp.zeros(leaf.shape, leaf.dtype),
            jax.eval_shape(lambda group: run((group, None))[1], group),
        )
        group, part = jax.lax.while_loop(lambda loop: loop[0].past >= 0, run, (group, nothing))
        return group._replace(meta_step=group.meta_step + 1, past=jnp.zeros((), jnp.int32)), part

    def weight(self, clock: Clock, meta_step: Int[Array, ""]) -> Float[Array, ""]:
        """What one inner step of the episode weighs in J: 1 / E[T], or 1 / T of this episode."""
        if self.mean_over == "episodes":
            return 1.0 / clock.horizon.astype(jnp.float32)
        return jnp.asarray(1.0 / self.episodes.mean(meta_step), jnp.float32)

    def first(self, key: jax.Array, index: Int[Array, ""]) -> tuple[Clock, Int[Array, ""]]:
        """The clock at the start of the first episode, and its age in truncations.

        Ages are drawn by systematic sampling, with one random offset for all groups: each is
        uniform over the episode's truncations, together they cover it evenly. Neighbours are far
        apart in age, so that every device has about as much past to run.
        """
        key_horizon, key_offset = jax.random.split(key)
        key_group = jax.random.fold_in(key_horizon, index)
        zero = jnp.zeros((), jnp.int32)
        if not self.staggered or self.episodes.max == ENDLESS:
            return start(self.episodes.sample(key_group, zero), self.episodes, self.length), zero
        horizon = self.episodes.sample_running(key_group, self.length)
        place = index * _stride(self.num_groups) % self.num_groups
        phase = (place + jax.random.uniform(key_offset)) / self.num_groups
        truncations = -(-horizon // self.length)
        age = jnp.minimum((phase * truncations).astype(jnp.int32), truncations - 1)
        return start(horizon, self.episodes, self.length), age

    def next(
        self, key: jax.Array, meta_step: Int[Array, ""], clock: Clock, healthy: Bool[Array, ""]
    ) -> Clock:
        """The clock after a truncation; that of a new episode where it ended or diverged."""
        moved = clock.advanced()
        fresh = start(self.episodes.sample(key, meta_step + 1), self.episodes, self.length)
        ended = (moved.t >= moved.horizon) | ~healthy
        return jax.tree.map(lambda new, old: jnp.where(ended, new, old), fresh, moved)


@dataclasses.dataclass(frozen=True)
class TruncatedEstimator(GradientEstimator):
    """An estimator that goes on, in every meta-step, where the last truncation has ended."""

    staggered: bool = dataclasses.field(default=True, kw_only=True)

    @property
    def clocks(self) -> Clocks:
        """When its groups begin, continue and end their episodes."""
        length, count = self.steps_per_truncation, self.num_groups
        return Clocks(self.episodes, length, count, self.mean_over, self.staggered)


def run_in(states: Any) -> float:
    """Truncations that the groups in a tree of states have yet to run in the past, on average.

    In the first meta-step they come on top of the one that counts.
    """
    leaves = jax.tree.leaves(states, is_leaf=lambda x: isinstance(x, Group))
    past = [jnp.mean(x.past) for x in leaves if isinstance(x, Group)]
    return float(sum(past) / len(past)) if past else 0.0


def _stride(size: int) -> int:
    """A step that visits all of range(size) in turn, near the golden section of it."""
    middle = round(0.618 * size)
    near = range(max(1, middle - _NEAR), min(size, middle + _NEAR) + 1)
    near = sorted(near, key=lambda step: abs(step - 0.618 * size))
    return next(step for step in near if math.gcd(step, size) == 1)
