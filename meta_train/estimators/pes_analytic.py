"""Persistent Evolution Strategies with the analytic gradient of the present truncation.

[1] Vicol, Metz and Sohl-Dickstein, "Unbiased Gradient Estimation in Unrolled Computation Graphs
    with Persistent Evolution Strategies", ICML 2021, arXiv:2112.13835.
"""

import dataclasses
from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array

from meta_train.checks import check_sizes
from meta_train.estimators.clocks import Group, Keys, TruncatedEstimator
from meta_train.estimators.pairs import Pair, blank_pair, perturb, unroll_pair, variance
from meta_train.groups import Std, sigma
from meta_train.types import Estimate, State, Theta, UnrolledSystem
from meta_train.unroll import Clock, at, empty_state, unroll


class Accompanied(NamedTuple):
    """A pair, and the state of a trajectory at theta itself that goes along with it."""

    pair: Pair
    mean: State


@dataclasses.dataclass(frozen=True)
class PESAnalytic(TruncatedEstimator):
    """PES, with what backpropagation through the present truncation knows taken out of its noise.

    With p the derivative by theta of the truncation's live losses, of a trajectory at theta itself
    whose state before the truncation is held constant, and eps and xi those of ``PES``,

        g = C / K * mean over pairs of p + xi ((L+ - L-) / 2 - eps' p) / sigma^2,
        C = K E[ceil(T/K)] / E[T]

    Because xi holds the present eps, the mean of xi eps' p is sigma^2 p whatever p is. (Without it,
    as the authors' code has it, the estimate is unbiased only where p is the gradient of the
    smoothed loss.)

    Bias: as that of PES.
    Variance: that of PES, less what the present eps contributes; it explodes where one truncation
    is chaotic already.
    Cost per meta-step: 3/2 N K system steps, N = 2 num_pairs, of which N / 2 K are differentiated
    and N K enter the metric "inner_steps"; N (3/2 state + P / 2) floats, and K states at work.
    """

    unbiased: ClassVar[bool] = True

    num_pairs: int = 8
    std: Std = 0.01
    perturbation: str = dataclasses.field(default="normal", kw_only=True)

    def __post_init__(self) -> None:
        check_sizes(self)

    @property
    def num_groups(self) -> int:
        return self.num_pairs

    def init(self, system: UnrolledSystem, key: jax.Array, theta: Theta) -> Group:
        carry = Accompanied(blank_pair(system, theta), empty_state(system, theta))
        return self.clocks.start(key, carry)

    def estimate(
        self, system: UnrolledSystem, key: jax.Array, theta: Theta, state: Group
    ) -> tuple[Estimate, Group]:
        flat, unravel = ravel_pytree(theta)

        def truncation(
            keys: Keys, clock: Clock, carry: Accompanied
        ) -> tuple[Accompanied, Array, Array]:
            def loss(flat: Array) -> tuple[Array, State]:
                theta = unravel(flat)
                first = jax.lax.cond(
                    clock.starts,
                    lambda: system.init(keys.init, theta, clock.horizon),
                    lambda: carry.mean,
                )
                last, total = unroll(at(system, theta), keys.unroll, first, clock)
                return total, last

            analytic, mean = jax.grad(loss, has_aux=True)(flat)
            eps = perturb(self.perturbation, keys, theta, self.std, self.num_pairs)
            xi = jnp.where(clock.starts, 0.0, carry.pair.xi) + eps
            pair, losses = unroll_pair(system, keys, theta, eps, clock, carry.pair)
            above, below = losses
            unknown = (above - below) / 2 - eps @ analytic
            trained = jnp.where(sigma(theta, self.std) > 0, analytic, 0.0)
            grad = trained + xi * unknown / variance(theta, self.std)
            return Accompanied(pair._replace(xi=xi), mean), grad, losses

        return self.clocks.estimate(key, theta, state, truncation)
