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

from meta_train.checks import check_sizes
from meta_train.estimators.clocks import Clocks, Group, Keys
from meta_train.estimators.pairs import normal
from meta_train.groups import Std
from meta_train.types import Estimate, GradientEstimator, State, Theta, UnrolledSystem
from meta_train.unroll import Clock, Step, at, unroll


@dataclasses.dataclass(frozen=True)
class BPTT(GradientEstimator):
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

    num_pairs: int = 8
    std: Std = 0.0
    num_particles: int | None = dataclasses.field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        check_sizes(self, takes_zero_std=True, endless=False)

    @property
    def num_groups(self) -> int:
        return self.num_particles or 2 * self.num_pairs

    @property
    def clocks(self) -> Clocks:
        longest = self.episodes.max
        return Clocks(self.episodes, longest, self.num_groups, self.mean_over, staggered=False)

    def init(self, system: UnrolledSystem, key: jax.Array, theta: Theta) -> Group:
        del system, theta
        return self.clocks.start(key, ())

    def estimate(
        self, system: UnrolledSystem, key: jax.Array, theta: Theta, state: Group
    ) -> tuple[Estimate, Group]:
        flat, unravel = ravel_pytree(theta)

        def episode(keys: Keys, clock: Clock, carry: tuple[()]) -> tuple[tuple[()], Array, Array]:
            def loss(flat: Array) -> Array:
                theta = unravel(flat)
                first = system.init(keys.init, theta, clock.horizon)
                return self._total(at(system, theta), keys.unroll, first, clock)

            eps = normal(keys.perturbation, theta, self.std)
            total, grad = jax.value_and_grad(loss)(flat + eps)
            return carry, grad, total[None]

        return self.clocks.estimate(key, theta, state, episode)

    def _total(self, step: Step, key: jax.Array, state: State, clock: Clock) -> Array:
        """Sum of an episode's losses, storing states at two levels of the unroll only."""
        longest = self.episodes.max
        length = self.truncation_length or math.isqrt(longest - 1) + 1
        stretches = -(-longest // length)
        inner = math.isqrt(stretches - 1) + 1
        outer = -(-stretches // inner)
        # Past the end of the longest episode the padding is frozen like any other finished one.
        ragged = self.episodes.is_ragged(length) or outer * inner * length > longest
        clock = Clock(clock.t, clock.horizon, length, ragged)

        def stretch(carry: tuple[Clock, State], _: None) -> tuple[tuple[Clock, State], Array]:
            clock, state = carry
            state, total = unroll(step, key, state, clock)
            return (clock.advanced(), state), total

        def block(carry: tuple[Clock, State], _: None) -> tuple[tuple[Clock, State], Array]:
            return jax.lax.scan(jax.checkpoint(stretch), carry, length=inner)

        _, totals = jax.lax.scan(jax.checkpoint(block), (clock, state), length=outer)
        return jnp.sum(totals)
