"""Noise-Reuse Evolution Strategies.

[1] Li, Harrison, Sohl-Dickstein, Smith and Metz, "Variance-Reduced Gradient Estimation via
    Noise-Reuse in Online Evolution Strategies", NeurIPS 2023, arXiv:2304.12180.
[2] Vicol, Kolter and Swersky, "Low-Variance Gradient Estimation in Unrolled Computation Graphs
    with ES-Single", ICML 2023, arXiv:2304.11153.
"""

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array

from meta_train.checks import check_sizes
from meta_train.estimators.clocks import Group, Keys, TruncatedEstimator
from meta_train.estimators.pairs import Pair, blank_pair, perturb, unroll_pair, variance
from meta_train.groups import Std
from meta_train.types import Estimate, Theta, UnrolledSystem
from meta_train.unroll import Clock


@dataclasses.dataclass(frozen=True)
class NRES(TruncatedEstimator):
    """Evolution strategies from truncations with one perturbation for the whole episode.

        g = C / K * mean over pairs of xi (L+ - L-) / (2 sigma^2),  C = K E[ceil(T/K)] / E[T]

    with xi ~ N(0, sigma^2 I) drawn when the episode begins, and L+ and L- the sums of the
    truncation's live losses at theta + xi and theta - xi.

    Bias: none with respect to E[J(theta + xi)], the objective of full ES; none with respect to
    J itself where J is quadratic. Theta moving within an episode adds a lag.
    Variance: that of full ES, (P + 1) |g|^2 / num_pairs for linear losses, whatever the number of
    truncations; with staggered clocks never above that of PES.
    Cost per meta-step: N K system steps, N = 2 num_pairs; N (state + P / 2) floats.
    """

    unbiased: ClassVar[bool] = True

    num_pairs: int = 8
    std: Std = 0.01
    perturbation: str = dataclasses.field(default="normal", kw_only=True)
    fitness_shaping: str = dataclasses.field(default="none", kw_only=True)

    def __post_init__(self) -> None:
        check_sizes(self)

    @property
    def num_groups(self) -> int:
        return self.num_pairs

    def init(self, system: UnrolledSystem, key: jax.Array, theta: Theta) -> Group:
        return self.clocks.start(key, blank_pair(system, theta))

    def estimate(
        self, system: UnrolledSystem, key: jax.Array, theta: Theta, state: Group
    ) -> tuple[Estimate, Group]:
        def truncation(keys: Keys, clock: Clock, pair: Pair) -> tuple[Pair, Array, Array]:
            fresh = perturb(self.perturbation, keys, theta, self.std, self.num_pairs)
            xi = jnp.where(clock.starts, fresh, pair.xi)
            pair, losses = unroll_pair(system, keys, theta, xi, clock, pair)
            above, below = losses
            grad = xi * (above - below) / (2 * variance(theta, self.std))
            return pair._replace(xi=xi), grad, losses

        return self.clocks.estimate(key, theta, state, truncation, self.fitness_shaping)
