"""Noise-Reuse Evolution Strategies.

[1] Li, Harrison, Sohl-Dickstein, Smith and Metz, "Variance-Reduced Gradient Estimation via
    Noise-Reuse in Online Evolution Strategies", NeurIPS 2023, arXiv:2304.12180.
[2] Vicol, Kolter and Swersky, "Low-Variance Gradient Estimation in Unrolled Computation Graphs
    with ES-Single", ICML 2023, arXiv:2304.11153.
"""

import dataclasses
from typing import ClassVar

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from meta_train.estimators.antithetic import TruncatedEvolution


@dataclasses.dataclass(frozen=True)
class NRES(TruncatedEvolution):
    """Evolution strategies from truncations with one perturbation for the whole episode.

        g = C / K * mean over pairs of eps (L+ - L-) / (2 sigma^2),  C = K E[ceil(T/K)] / E[T]

    with eps ~ N(0, sigma^2 I) drawn when the episode begins, and L+ and L- the sums of the
    truncation's live losses at theta + eps and theta - eps.

    Bias: none with respect to E[J(theta + eps)], the objective of full ES; none with respect to
    J itself where J is quadratic. Theta moving within an episode adds a lag.
    Variance: that of full ES, (P + 1) |g|^2 / num_pairs for linear losses, whatever the number of
    truncations; with staggered clocks never above that of PES.
    Cost per meta-step: N K system steps; N (state + P / 2) floats.
    """

    unbiased: ClassVar[bool] = True

    def perturb(
        self, drawn: Float[Array, " P"], starts: Bool[Array, ""], accumulator: Float[Array, " P"]
    ) -> tuple[Float[Array, " P"], Float[Array, " P"]]:
        eps = jnp.where(starts, drawn, accumulator)
        return eps, eps
