"""Evolution strategies over whole episodes.

[1] Rechenberg, "Evolutionsstrategie", 1973.
[2] Salimans et al., "Evolution Strategies as a Scalable Alternative to Reinforcement Learning",
    2017, arXiv:1703.03864.
"""

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array

from meta_train.checks import check_sizes
from meta_train.estimators.clocks import Clocks, Group, Keys
from meta_train.estimators.pairs import Pair, blank_pair, perturb, unroll_pair, variance
from meta_train.groups import Std
from meta_train.types import Estimate, GradientEstimator, Theta, UnrolledSystem
from meta_train.unroll import Clock, start


@dataclasses.dataclass(frozen=True)
class ES(GradientEstimator):
    """Antithetic evolution strategies: NRES with truncations as long as the episode.

        g = mean over pairs of eps (L+ - L-) / (2 sigma^2) / E[T]

    with eps ~ N(0, sigma^2 I), L+ and L- the sums of the episode's losses at theta +- eps.

    ``truncation_length`` does not change the estimate: it is the number of steps after which a
    pair looks whether its episode is over, which saves steps where T is random.

    Bias: none with respect to E[J(theta + eps)]; none with respect to J where J is quadratic.
    Variance: (P + 1) |g|^2 / num_pairs for linear losses.
    Cost per meta-step: N T system steps, N = 2 num_pairs; N states.
    """

    unbiased: ClassVar[bool] = True

    num_pairs: int = 8
    std: Std = 0.01
    perturbation: str = dataclasses.field(default="normal", kw_only=True)
    fitness_shaping: str = dataclasses.field(default="none", kw_only=True)

    def __post_init__(self) -> None:
        check_sizes(self, endless=False)

    @property
    def num_groups(self) -> int:
        return self.num_pairs

    @property
    def clocks(self) -> Clocks:
        longest = self.episodes.max
        return Clocks(self.episodes, longest, self.num_pairs, self.mean_over, staggered=False)

    def init(self, system: UnrolledSystem, key: jax.Array, theta: Theta) -> Group:
        del system, theta
        return self.clocks.start(key, ())

    def estimate(
        self, system: UnrolledSystem, key: jax.Array, theta: Theta, state: Group
    ) -> tuple[Estimate, Group]:

        def episode(keys: Keys, clock: Clock, carry: tuple[()]) -> tuple[tuple[()], Array, Array]:
            eps = perturb(self.perturbation, keys, theta, self.std, self.num_pairs)

            def truncation(loop: tuple[Clock, Pair, Array]) -> tuple[Clock, Pair, Array]:
                clock, pair, total = loop
                pair, losses = unroll_pair(system, keys, theta, eps, clock, pair)
                return clock.advanced(), pair, total + losses

            first = start(clock.horizon, self.episodes, self.steps_per_truncation)
            loop = first, blank_pair(system, theta), jnp.zeros(2)
            _, _, losses = jax.lax.while_loop(
                lambda loop: loop[0].t < loop[0].horizon, truncation, loop
            )
            above, below = losses
            return carry, eps * (above - below) / (2 * variance(theta, self.std)), losses

        return self.clocks.estimate(key, theta, state, episode, self.fitness_shaping)
