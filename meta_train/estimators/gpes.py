"""Generalized Persistent Evolution Strategies.

[1] Li, Harrison, Sohl-Dickstein, Smith and Metz, "Variance-Reduced Gradient Estimation via
    Noise-Reuse in Online Evolution Strategies", NeurIPS 2023, arXiv:2304.12180.
"""

import dataclasses
from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from meta_train.checks import check_sizes
from meta_train.estimators.clocks import Group, Keys, TruncatedEstimator
from meta_train.estimators.pairs import Pair, blank_pair, perturb, telescope, unroll_pair, variance
from meta_train.groups import Std
from meta_train.types import Estimate, Theta, UnrolledSystem
from meta_train.unroll import Clock


class Reused(NamedTuple):
    """A pair with the perturbation that it has at present."""

    pair: Pair
    eps: Float[Array, " P"]


@dataclasses.dataclass(frozen=True)
class GPES(TruncatedEstimator):
    """Evolution strategies from truncations, with a new perturbation every so many inner steps.

    Each pair draws eps ~ N(0, sigma^2 I) at every ``perturbation_length``-th inner step of its
    episode and keeps it until the next, and xi is the sum of the eps of its episode so far:

        g = C / K * mean over pairs of xi (L+ - L-) / (2 sigma^2),  C = K E[ceil(T/K)] / E[T]

    with L+ and L- the sums of the truncation's live losses at theta + eps and theta - eps. A new
    one in each truncation is PES, one for the whole episode NRES.

    Args:
        perturbation_length: inner steps, a multiple of K; None is K.

    Bias: none with respect to E[J(theta + eps_1, ...)], one eps per ``perturbation_length`` steps;
    none with respect to J itself where J is quadratic. Theta moving within an episode adds a lag.
    Variance: between those of NRES and PES; with staggered clocks it falls with
    ``perturbation_length``.
    Cost per meta-step: N K system steps, N = 2 num_pairs; N (state + P) floats.
    """

    unbiased: ClassVar[bool] = True

    num_pairs: int = 8
    std: Std = 0.01
    perturbation_length: int | None = None
    perturbation: str = dataclasses.field(default="normal", kw_only=True)
    fitness_shaping: str = dataclasses.field(default="none", kw_only=True)
    telescoped: bool = dataclasses.field(default=False, kw_only=True)

    def __post_init__(self) -> None:
        check_sizes(self)
        length, given = self.steps_per_truncation, self.perturbation_length
        if given is not None and (given < length or given % length):
            raise ValueError(
                f"perturbation_length = {given} must be a multiple of truncation_length = {length} "
                "(K), in inner steps, or None for K."
            )

    @property
    def num_groups(self) -> int:
        return self.num_pairs

    def init(self, system: UnrolledSystem, key: jax.Array, theta: Theta) -> Group:
        pair = blank_pair(system, theta, self.telescoped)
        return self.clocks.start(key, Reused(pair, pair.xi))

    def estimate(
        self, system: UnrolledSystem, key: jax.Array, theta: Theta, state: Group
    ) -> tuple[Estimate, Group]:
        every = self.perturbation_length or self.steps_per_truncation

        def truncation(keys: Keys, clock: Clock, carry: Reused) -> tuple[Reused, Array, Array]:
            drawn = clock.t % every == 0
            fresh = perturb(self.perturbation, keys, theta, self.std, self.num_pairs)
            eps = jnp.where(drawn, fresh, carry.eps)
            fresh = jnp.where(drawn, fresh, 0.0)
            xi = jnp.where(clock.starts, 0.0, carry.pair.xi) + fresh
            pair, losses = unroll_pair(system, keys, theta, eps, clock, carry.pair)
            above, below = losses
            slope = xi * (above - below)
            if self.telescoped:
                pair, earlier = telescope(pair, clock, losses)
                slope += fresh * earlier
            grad = slope / (2 * variance(theta, self.std))
            return Reused(pair._replace(xi=xi), eps), grad, losses

        return self.clocks.estimate(key, theta, state, truncation, self.fitness_shaping)
