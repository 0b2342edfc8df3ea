"""Descent with one directional derivative.

[1] Baydin, Pearlmutter, Syme, Wood and Torr, "Gradients without Backpropagation", 2022,
    arXiv:2202.08587.
[2] Li, Harrison, Sohl-Dickstein, Smith and Metz, "Variance-Reduced Gradient Estimation via
    Noise-Reuse in Online Evolution Strategies", NeurIPS 2023, arXiv:2304.12180, which names it.
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


class Tangent(NamedTuple):
    """A system's state, and how it moves where theta moves along a direction."""

    state: State
    motion: Float[Array, " S"]
    """ds/dtheta direction; S floating-point numbers of the state."""
    direction: Float[Array, " P"]
    """That of the episode."""


@dataclasses.dataclass(frozen=True)
class DODGE(TruncatedEstimator):
    """Forward-mode differentiation along one random direction for the whole episode.

        g = C / K * mean over particles of v D,  C = K E[ceil(T/K)] / E[T]

    with v ~ N(0, I) drawn when the episode begins, and D the derivative along v of the sum of the
    truncation's live losses, at theta + eps with eps ~ N(0, sigma^2 I) of each truncation. With
    sigma = 0 it is what NRES tends to as its sigma goes to 0.

    Bias: none with respect to J; theta moving within an episode adds a lag.
    Variance: (P + 1) |g|^2 / N and that of the inner problem's draws; it explodes where the inner
    dynamics are chaotic.
    Cost per meta-step: N K system steps and one directional derivative of each; N (2 state + P)
    floats.
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
        return self.clocks.start(key, Tangent(state, jnp.zeros(num_floats(state)), 0 * flat))

    def estimate(
        self, system: UnrolledSystem, key: jax.Array, theta: Theta, state: Group
    ) -> tuple[Estimate, Group]:
        flat, unravel = ravel_pytree(theta)

        def truncation(keys: Keys, clock: Clock, carry: Tangent) -> tuple[Tangent, Array, Array]:
            key_eps = jax.random.fold_in(keys.perturbation, 1)
            at = flat + normal(key_eps, theta, self.std)

            def new() -> Tangent:
                direction = normal(keys.perturbation, theta, 1.0)
                first = begin(system, keys.init, unravel, clock)
                _, motion, state = jax.jvp(first, (at,), (direction,), has_aux=True)
                return Tangent(state, motion, direction)

            def step(key: jax.Array, carry: Tangent) -> tuple[Tangent, tuple[Array, Array]]:
                values, one = advance(system, key, unravel, carry.state)
                tangents = carry.motion, carry.direction
                _, moved, (state, loss) = jax.jvp(one, (values, at), tangents, has_aux=True)
                return carry._replace(state=state, motion=moved[:-1]), (loss, moved[-1])

            carry = jax.lax.cond(clock.starts, new, lambda: carry)
            carry, (loss, slope) = unroll(step, keys.unroll, carry, clock)
            return carry, slope * carry.direction, loss[None]

        return self.clocks.estimate(key, theta, state, truncation)
