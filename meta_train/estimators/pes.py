"""Persistent Evolution Strategies.

[1] Vicol, Metz and Sohl-Dickstein, "Unbiased Gradient Estimation in Unrolled Computation Graphs
    with Persistent Evolution Strategies", ICML 2021, arXiv:2112.13835.
"""

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array

from meta_train.checks import check_sizes
from meta_train.estimators.clocks import Group, Keys, TruncatedEstimator
from meta_train.estimators.pairs import Pair, blank_pair, perturb, telescope, unroll_pair, variance
from meta_train.groups import Std
from meta_train.types import Estimate, Theta, UnrolledSystem
from meta_train.unroll import Clock


@dataclasses.dataclass(frozen=True)
class PES(TruncatedEstimator):
    """Unbiased evolution strategies from truncations, by accumulating perturbations.

    Each truncation of each pair has its own eps ~ N(0, sigma^2 I), and xi is the sum of the eps
    of its episode so far, the present one included:

        g = C / K * mean over pairs of xi (L+ - L-) / (2 sigma^2),  C = K E[ceil(T/K)] / E[T]

    with L+ and L- the sums of the truncation's live losses at theta + eps and theta - eps.

    Bias: none with respect to E[J(theta + eps_1, ..., theta + eps_W)], one eps per truncation;
    none with respect to J itself where J is quadratic. Theta moving within an episode adds a lag.
    Variance: between constant and linear in the number of truncations of an episode, the worse
    the less the gradients of different truncations agree; times P / num_pairs.
    Cost per meta-step: N K system steps, N = 2 num_pairs; N (state + P / 2) floats.
    """

    unbiased: ClassVar[bool] = True

    num_pairs: int = 8
    std: Std = 0.01
    perturbation: str = dataclasses.field(default="normal", kw_only=True)
    fitness_shaping: str = dataclasses.field(default="none", kw_only=True)
    telescoped: bool = dataclasses.field(default=False, kw_only=True)

    def __post_init__(self) -> None:
        check_sizes(self)

    @property
    def num_groups(self) -> int:
        return self.num_pairs

    def init(self, system: UnrolledSystem, key: jax.Array, theta: Theta) -> Group:
        return self.clocks.start(key, blank_pair(system, theta, self.telescoped))

    def estimate(
        self, system: UnrolledSystem, key: jax.Array, theta: Theta, state: Group
    ) -> tuple[Estimate, Group]:
        def truncation(keys: Keys, clock: Clock, pair: Pair) -> tuple[Pair, Array, Array]:
            eps = perturb(self.perturbation, keys, theta, self.std, self.num_pairs)
            xi = jnp.where(clock.starts, 0.0, pair.xi) + eps
            pair, losses = unroll_pair(system, keys, theta, eps, clock, pair)
            above, below = losses
            slope = xi * (above - below)
            if self.telescoped:
                pair, earlier = telescope(pair, clock, losses)
                slope += eps * earlier
            grad = slope / (2 * variance(theta, self.std))
            return pair._replace(xi=xi), grad, losses

        return self.clocks.estimate(key, theta, state, truncation, self.fitness_shaping)
