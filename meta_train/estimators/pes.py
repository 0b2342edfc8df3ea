"""Persistent Evolution Strategies.

[1] Vicol, Metz and Sohl-Dickstein, "Unbiased Gradient Estimation in Unrolled Computation Graphs
    with Persistent Evolution Strategies", ICML 2021, arXiv:2112.13835.
"""

import dataclasses
from typing import ClassVar

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from meta_train.estimators.antithetic import TruncatedEvolution


@dataclasses.dataclass(frozen=True)
class PES(TruncatedEvolution):
    """Unbiased evolution strategies from truncations, by accumulating perturbations.

    Each truncation of each pair has its own eps ~ N(0, sigma^2 I), and xi is the sum of the eps
    of its episode so far, the present one included:

        g = C / K * mean over pairs of xi (L+ - L-) / (2 sigma^2),  C = K E[ceil(T/K)] / E[T]

    with L+ and L- the sums of the truncation's live losses at theta + eps and theta - eps.

    Bias: none with respect to E[J(theta + eps_1, ..., theta + eps_W)], one eps per truncation;
    none with respect to J itself where J is quadratic. Theta moving within an episode adds a lag.
    Variance: between constant and linear in the number of truncations of an episode, the worse
    the less the gradients of different truncations agree; times P / num_pairs.
    Cost per meta-step: N K system steps; N (state + P / 2) floats.
    """

    unbiased: ClassVar[bool] = True

    def perturb(
        self, drawn: Float[Array, " P"], starts: Bool[Array, ""], accumulator: Float[Array, " P"]
    ) -> tuple[Float[Array, " P"], Float[Array, " P"]]:
        return drawn, jnp.where(starts, 0.0, accumulator) + drawn
