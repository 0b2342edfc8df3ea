"""Real-time recurrent learning.

[1] Williams and Zipser, "A Learning Algorithm for Continually Running Fully Recurrent Neural
    Networks", Neural Computation, 1989.
"""

import dataclasses
from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float

from meta_train.checks import check_sizes
from meta_train.estimators.clocks import Group, Keys, TruncatedEstimator
from meta_train.estimators.forward import advance, begin, num_floats
from meta_train.estimators.pairs import normal
from meta_train.groups import Std
from meta_train.types import Estimate, State, Theta, UnrolledSystem
from meta_train.unroll import Clock, empty_state, unroll


class Influence(NamedTuple):
    """A system's state, and its derivative by theta."""

    state: State
    matrix: Float[Array, "S P"]
    """ds/dtheta; S floating-point numbers of the state."""


@dataclasses.dataclass(frozen=True)
class RTRL(TruncatedEstimator):
    """Forward-mode differentiation that continues from truncation to truncation.

        J_t = ds_t/ds_{t-1} J_{t-1} + ds_t/dtheta
        g = C / K * mean over particles of the sum of live dl_t/ds_{t-1} J_{t-1} + dl_t/dtheta,
        C = K E[ceil(T/K)] / E[T]

    at theta + eps with eps ~ N(0, sigma^2 I) of each truncation; sigma = 0 differentiates at theta
    itself, sigma > 0 is the reparameterisation gradient of the smoothed objective of PES.

    Bias: none with respect to J; theta moving within an episode adds a lag.
    Variance: of the inner problem's own draws alone where sigma = 0; it explodes where the inner
    dynamics are chaotic.
    Cost per meta-step: N K system steps and their derivatives in P + S directions; N S P floats.
    """

    unbiased: ClassVar[bool] = True

    num_pairs: int = 8
    std: Std = 0.0
    num_particles: int | None = dataclasses.field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        check_sizes(self, takes_zero_std=True)

    @property
    def num_groups(self) -> int:
        return self.num_particles or 2 * self.num_pairs

    def init(self, system: UnrolledSystem, key: jax.Array, theta: Theta) -> Group:
        state, flat = empty_state(system, theta), ravel_pytree(theta)[0]
        return self.clocks.start(key, Influence(state, jnp.zeros((num_floats(state), len(flat)))))

    def estimate(
        self, system: UnrolledSystem, key: jax.Array, theta: Theta, state: Group
    ) -> tuple[Estimate, Group]:
        flat, unravel = ravel_pytree(theta)

        def truncation(
            keys: Keys, clock: Clock, carry: Influence
        ) -> tuple[Influence, Array, Array]:
            at = flat + normal(keys.perturbation, theta, self.std)

            def new() -> Influence:
                first = begin(system, keys.init, unravel, clock)
                matrix, state = jax.jacfwd(first, has_aux=True)(at)
                return Influence(state, matrix)

            def step(key: jax.Array, carry: Influence) -> tuple[Influence, tuple[Array, Array]]:
                values, one = advance(system, key, unravel, carry.state)
                derivatives, (state, loss) = jax.jacfwd(one, (0, 1), has_aux=True)(values, at)
                by_state, by_theta = derivatives
                total = by_state @ carry.matrix + by_theta
                return Influence(state, total[:-1]), (loss, total[-1])

            carry = jax.lax.cond(clock.starts, new, lambda: carry)
            carry, (loss, grad) = unroll(step, keys.unroll, carry, clock)
            return carry, grad, loss[None]

        return self.clocks.estimate(key, theta, state, truncation)
