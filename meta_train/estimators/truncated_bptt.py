"""Truncated backpropagation through time.

[1] Williams and Peng, "An Efficient Gradient-Based Algorithm for On-Line Training of Recurrent
    Network Trajectories", Neural Computation, 1990.
"""

import dataclasses
from typing import ClassVar

import jax
from jax.flatten_util import ravel_pytree
from jaxtyping import Array

from meta_train.checks import check_sizes
from meta_train.estimators.clocks import Group, Keys, TruncatedEstimator
from meta_train.estimators.pairs import normal
from meta_train.groups import Std
from meta_train.types import Estimate, State, Theta, UnrolledSystem
from meta_train.unroll import Clock, at, empty_state, unroll


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

    num_pairs: int = 8
    std: Std = 0.0
    num_particles: int | None = dataclasses.field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        check_sizes(self, takes_zero_std=True)

    @property
    def num_groups(self) -> int:
        return self.num_particles or 2 * self.num_pairs

    def init(self, system: UnrolledSystem, key: jax.Array, theta: Theta) -> Group:
        return self.clocks.start(key, empty_state(system, theta))

    def estimate(
        self, system: UnrolledSystem, key: jax.Array, theta: Theta, state: Group
    ) -> tuple[Estimate, Group]:
        flat, unravel = ravel_pytree(theta)

        def truncation(keys: Keys, clock: Clock, state: State) -> tuple[State, Array, Array]:
            def loss(flat: Array) -> tuple[Array, State]:
                theta = unravel(flat)
                first = jax.lax.cond(
                    clock.starts,
                    lambda: system.init(keys.init, theta, clock.horizon),
                    lambda: state,
                )
                last, total = unroll(at(system, theta), keys.unroll, first, clock)
                return total, last

            eps = normal(keys.perturbation, theta, self.std)
            (total, last), grad = jax.value_and_grad(loss, has_aux=True)(flat + eps)
            return last, grad, total[None]

        return self.clocks.estimate(key, theta, state, truncation)
