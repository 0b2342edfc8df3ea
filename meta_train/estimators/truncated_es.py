"""Truncated evolution strategies.

[1] Metz et al., "Understanding and Correcting Pathologies in the Training of Learned
    Optimizers", ICML 2019, arXiv:1810.10180.
"""

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array

from meta_train.estimators.antithetic import antithetic, draw_perturbation, loss_difference
from meta_train.estimators.base import Contribution, ParticleKeys, contribution
from meta_train.estimators.truncated import TruncatedEstimator
from meta_train.particles import map_particles
from meta_train.types import State, Theta, UnrolledSystem
from meta_train.unroll import Clock, empty_state, unroll


@dataclasses.dataclass(frozen=True)
class TruncatedES(TruncatedEstimator):
    """Evolution strategies that look no further back than one truncation.

        g = C / K * mean over pairs of eps (L+ - L-) / (2 sigma^2),  C = K E[ceil(T/K)] / E[T]

    with eps ~ N(0, sigma^2 I) drawn in each truncation. Each pair branches off a trajectory that
    runs at theta itself: both partners start from its state, then it advances K steps with theta.

    Bias: the influence of theta through earlier truncations, and through the initial state, is
    missing (short-horizon bias).
    Variance: (P + 1) |g|^2 / num_pairs for linear losses.
    Cost per meta-step: 3/2 N K system steps, of which N K enter the estimate (and the metric
    "inner_steps"); N / 2 states kept, N at work.
    """

    unbiased: ClassVar[bool] = False

    @property
    def num_groups(self) -> int:
        return self.num_pairs

    def blank(self, system: UnrolledSystem, theta: Theta) -> State:
        return empty_state(system, theta)

    def truncation(
        self, system: UnrolledSystem, keys: ParticleKeys, theta: Theta, clock: Clock, carry: State
    ) -> tuple[State, Contribution]:
        state = jax.lax.cond(clock.t == 0, lambda: system.init(keys.init, theta), lambda: carry)

        def run(theta: Theta) -> tuple[State, Array]:
            num_steps, ragged = self.steps_per_truncation, self.ragged
            return unroll(
                system, keys.unroll, theta, state, clock, num_steps=num_steps, ragged=ragged
            )

        eps = draw_perturbation(keys.perturbation, theta, self.std)
        _, losses = map_particles(run, antithetic(theta, eps))
        state, loss = run(theta)
        live_steps = clock.advanced(self.steps_per_truncation).t - clock.t
        result = contribution(loss_difference(losses, self.std), eps, losses, live_steps)
        return state, result._replace(healthy=result.healthy & jnp.isfinite(loss))
