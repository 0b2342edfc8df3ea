"""Truncated evolution strategies.

[1] Metz et al., "Understanding and Correcting Pathologies in the Training of Learned
    Optimizers", ICML 2019, arXiv:1810.10180.
"""

import dataclasses
from typing import ClassVar

import jax
from jaxtyping import Array

from meta_train.checks import check_sizes
from meta_train.estimators.clocks import Group, Keys, TruncatedEstimator
from meta_train.estimators.pairs import antithetic, perturb, variance
from meta_train.groups import Std
from meta_train.particles import map_particles
from meta_train.types import Estimate, State, Theta, UnrolledSystem
from meta_train.unroll import Clock, at, empty_state, unroll


@dataclasses.dataclass(frozen=True)
class TruncatedES(TruncatedEstimator):
    """Evolution strategies that look no further back than one truncation.

        g = C / K * mean over pairs of eps (L+ - L-) / (2 sigma^2),  C = K E[ceil(T/K)] / E[T]

    with eps ~ N(0, sigma^2 I) drawn in each truncation. Each pair branches off a trajectory that
    runs at theta itself: both partners start from its state, then it advances K steps with theta.

    Bias: the influence of theta through earlier truncations, and through the initial state, is
    missing (short-horizon bias).
    Variance: (P + 1) |g|^2 / num_pairs for linear losses.
    Cost per meta-step: 3/2 N K system steps, N = 2 num_pairs, of which N K enter the estimate (and
    the metric "inner_steps"); N / 2 states kept, N at work.
    """

    unbiased: ClassVar[bool] = False

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
        return self.clocks.start(key, empty_state(system, theta))

    def estimate(
        self, system: UnrolledSystem, key: jax.Array, theta: Theta, state: Group
    ) -> tuple[Estimate, Group]:
        def truncation(keys: Keys, clock: Clock, mean: State) -> tuple[State, Array, Array]:
            def run(theta: Theta) -> tuple[State, Array]:
                return unroll(at(system, theta), keys.unroll, mean, clock)

            mean = jax.lax.cond(
                clock.starts,
                lambda: system.init(keys.init, theta, clock.horizon),
                lambda: mean,
            )
            eps = perturb(self.perturbation, keys, theta, self.std, self.num_pairs)
            _, losses = map_particles(run, antithetic(theta, eps))
            above, below = losses
            mean, _ = run(theta)
            return mean, eps * (above - below) / (2 * variance(theta, self.std)), losses

        return self.clocks.estimate(key, theta, state, truncation, self.fitness_shaping)
