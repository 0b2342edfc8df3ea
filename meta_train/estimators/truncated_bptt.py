"""Truncated backpropagation through time.

[1] Williams and Peng, "An Efficient Gradient-Based Algorithm for On-Line Training of Recurrent
    Network Trajectories", Neural Computation, 1990.
"""

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array

from meta_train.estimators.antithetic import draw_perturbation
from meta_train.estimators.base import Contribution, ParticleKeys, contribution
from meta_train.estimators.truncated import TruncatedEstimator
from meta_train.types import State, Theta, UnrolledSystem
from meta_train.unroll import Clock, empty_state, unroll


@dataclasses.dataclass(frozen=True)
class TruncatedBPTT(TruncatedEstimator):
    """Automatic differentiation through one truncation, its first state held constant.

        g = C / K * mean over particles of dL(theta + eps) / dtheta,  C = K E[ceil(T/K)] / E[T]

    with L the sum of the truncation's live losses and eps ~ N(0, sigma^2 I) of the truncation;
    sigma = 0 differentiates at theta itself, sigma > 0 is the reparameterisation gradient of
    the smoothed objective that evolution strategies see.

    Bias: the influence of theta through earlier truncations is missing (short-horizon bias).
    Variance: of the inner problem's batches alone where sigma = 0; it explodes where the inner
    dynamics are chaotic.
    Cost per meta-step: N K system steps forward, and their derivative; N K states.
    """

    unbiased: ClassVar[bool] = False
    needs_std: ClassVar[bool] = False

    std: float = 0.0

    @property
    def num_groups(self) -> int:
        return 2 * self.num_pairs

    def blank(self, system: UnrolledSystem, theta: Theta) -> State:
        return empty_state(system, theta)

    def truncation(
        self, system: UnrolledSystem, keys: ParticleKeys, theta: Theta, clock: Clock, carry: State
    ) -> tuple[State, Contribution]:
        flat, unravel = ravel_pytree(theta)
        eps = draw_perturbation(keys.perturbation, theta, self.std)

        def loss(flat: Array) -> tuple[Array, State]:
            theta = unravel(flat)
            state = jax.lax.cond(clock.t == 0, lambda: system.init(keys.init, theta), lambda: carry)
            num_steps, ragged = self.steps_per_truncation, self.ragged
            state, total = unroll(
                system, keys.unroll, theta, state, clock, num_steps=num_steps, ragged=ragged
            )
            return total, state

        (total, state), grad = jax.value_and_grad(loss, has_aux=True)(flat + eps)
        live_steps = clock.advanced(self.steps_per_truncation).t - clock.t
        return state, contribution(jnp.ones(()), grad, total[None], live_steps)
