"""Backpropagation through time over whole episodes.

[1] Werbos, "Backpropagation Through Time: What It Does and How to Do It", 1990.
[2] Chen, Xu, Zhang and Guestrin, "Training Deep Nets with Sublinear Memory Cost", 2016,
    arXiv:1604.06174.
"""

import dataclasses
import math
from typing import ClassVar

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array

from meta_train.estimators.antithetic import draw_perturbation
from meta_train.estimators.base import (
    Contribution,
    EpisodeState,
    EpisodicEstimator,
    combine,
    contribution,
    episode_states,
    particle_keys,
)
from meta_train.particles import map_particles
from meta_train.types import Estimate, State, Theta, UnrolledSystem
from meta_train.unroll import Clock, unroll

Carry = tuple[Clock, State]


@dataclasses.dataclass(frozen=True)
class BPTT(EpisodicEstimator):
    """Automatic differentiation through whole episodes, with rematerialisation.

        g = mean over particles of dL(theta + eps) / dtheta / E[T]

    with L the sum of the episode's losses and eps ~ N(0, sigma^2 I) of the episode; sigma = 0
    differentiates at theta itself, sigma > 0 is the reparameterisation gradient of the smoothed
    objective that full ES estimates.

    ``truncation_length`` K does not change the estimate: it is the length of the stretches whose
    states are recomputed, sqrt(T) where it is None.

    Bias: none.
    Variance: of the inner problem's batches alone where sigma = 0; it explodes where the inner
    dynamics are chaotic.
    Cost per meta-step: N T system steps forward, three times, and their derivative;
    K + 2 sqrt(T / K) states for the particle at work.
    """

    unbiased: ClassVar[bool] = True
    needs_std: ClassVar[bool] = False

    std: float = 0.0

    @property
    def steps_per_truncation(self) -> int:
        return self.truncation_length or math.isqrt(self.episodes.max - 1) + 1

    @property
    def num_groups(self) -> int:
        return 2 * self.num_pairs

    def init(self, system: UnrolledSystem, key: jax.Array, theta: Theta) -> EpisodeState:
        del system, key, theta
        return episode_states(self.num_groups)

    def estimate(
        self, system: UnrolledSystem, key: jax.Array, theta: Theta, state: EpisodeState
    ) -> tuple[Estimate, EpisodeState]:
        contributions = map_particles(lambda group: self._episode(system, key, theta, group), state)
        return combine(contributions, theta), state._replace(meta_step=state.meta_step + 1)

    def _episode(
        self, system: UnrolledSystem, key: jax.Array, theta: Theta, group: EpisodeState
    ) -> Contribution:
        keys = particle_keys(key, group.global_index)
        flat, unravel = ravel_pytree(theta)
        eps = draw_perturbation(keys.perturbation, theta, self.std)
        start = Clock(jnp.zeros((), jnp.int32), self.episodes.sample(keys.horizon, group.meta_step))

        def loss(flat: Array) -> Array:
            theta = unravel(flat)
            state = system.init(keys.init, theta)
            return self._unroll(system, keys.unroll, theta, state, start)

        total, grad = jax.value_and_grad(loss)(flat + eps)
        scale = jnp.asarray(1.0 / self.episodes.mean(group.meta_step))
        return contribution(scale, grad, total[None], start.horizon)

    def _unroll(
        self, system: UnrolledSystem, key: jax.Array, theta: Theta, state: State, start: Clock
    ) -> Array:
        """Sum of an episode's losses, storing states at two levels of the unroll only."""
        length = self.steps_per_truncation
        stretches = -(-self.episodes.max // length)
        inner = math.isqrt(stretches - 1) + 1 if stretches > 1 else 1
        outer = -(-stretches // inner)
        # Past the end of the longest episode the padding is frozen like any other finished one.
        ragged = self.ragged or outer * inner * length > self.episodes.max

        def stretch(carry: Carry, _: None) -> tuple[Carry, Array]:
            clock, state = carry
            state, total = unroll(system, key, theta, state, clock, num_steps=length, ragged=ragged)
            return (clock.advanced(length), state), total

        def block(carry: Carry, _: None) -> tuple[Carry, Array]:
            return jax.lax.scan(jax.checkpoint(stretch), carry, length=inner)

        _, totals = jax.lax.scan(jax.checkpoint(block), (start, state), length=outer)
        return jnp.sum(totals)
