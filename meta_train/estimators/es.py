"""Evolution strategies over whole episodes.

[1] Rechenberg, "Evolutionsstrategie", 1973.
[2] Salimans et al., "Evolution Strategies as a Scalable Alternative to Reinforcement Learning",
    2017, arXiv:1703.03864.
"""

import dataclasses
import functools
from typing import ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from meta_train.estimators.antithetic import (
    antithetic,
    draw_perturbation,
    init_states,
    loss_difference,
)
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

Carry = tuple[Clock, State, Float[Array, "2"]]


@dataclasses.dataclass(frozen=True)
class ES(EpisodicEstimator):
    """Antithetic evolution strategies; one estimate is one whole episode of every pair.

        g = mean over pairs of eps (L+ - L-) / (2 sigma^2) / E[T]

    with eps ~ N(0, sigma^2 I), L+ and L- the sums of the episode's losses at theta +- eps.

    ``truncation_length`` does not change the estimate: it is the number of steps after which a
    pair looks whether its episode is over, which saves steps where T is random.

    Bias: none with respect to E[J(theta + eps)]; none with respect to J where J is quadratic.
    Variance: (P + 1) |g|^2 / num_pairs for linear losses.
    Cost per meta-step: N T system steps; N states.
    """

    unbiased: ClassVar[bool] = True

    @property
    def num_groups(self) -> int:
        return self.num_pairs

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
        eps = draw_perturbation(keys.perturbation, theta, self.std)
        thetas = antithetic(theta, eps)
        horizon = self.episodes.sample(keys.horizon, group.meta_step)
        length = self.steps_per_truncation

        def truncation(carry: Carry) -> Carry:
            clock, states, total = carry
            run = functools.partial(
                unroll,
                system,
                keys.unroll,
                clock=clock,
                num_steps=length,
                ragged=self.episodes.is_ragged(length),
            )
            states, losses = map_particles(run, thetas, states)
            return clock.advanced(length), states, total + losses

        start = Clock(jnp.zeros((), jnp.int32), horizon)
        states = init_states(system, keys.init, thetas)
        clock, _, losses = jax.lax.while_loop(
            lambda carry: carry[0].t < carry[0].horizon,
            truncation,
            (start, states, jnp.zeros((2,))),
        )
        coefficient = loss_difference(losses, self.std) / self.episodes.mean(group.meta_step)
        return contribution(coefficient, eps, losses, clock.t)
