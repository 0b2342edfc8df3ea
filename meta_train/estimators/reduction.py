"""From what every pair or particle contributes to one estimate of the meta-gradient."""

from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Bool, Float, Int

from meta_train.parallel import sum_over_devices
from meta_train.types import Estimate, Theta


class Contribution(NamedTuple):
    """What one group, a pair or a lone particle, adds to an estimate; stacked: of all groups."""

    grad: Float[Array, "*groups P"]
    losses: Float[Array, "*groups particles"]
    """Sum of the live losses of each of its particles."""
    live_steps: Int[Array, "*groups"]
    """Live inner steps of each particle."""
    weight: Float[Array, "*groups"]
    """What one inner step weighs in J."""

    @property
    def healthy(self) -> Bool[Array, "*groups"]:
        """Whether every particle's loss, and the gradient, is finite."""
        finite = jnp.all(jnp.isfinite(self.losses), axis=-1)
        return finite & jnp.all(jnp.isfinite(self.grad), axis=-1)


class _Sums(NamedTuple):
    """Sums over all groups of a run."""

    healthy: Int[Array, ""]
    grad: Float[Array, " P"]
    squared_norm: Float[Array, ""]
    loss: Float[Array, ""]
    weight: Float[Array, ""]
    inner_steps: Int[Array, ""]
    diverged: Int[Array, ""]


def combine(contributions: Contribution, theta: Theta) -> Estimate:
    """Average the healthy contributions of all devices into an estimate.

    Unhealthy ones are left out of numerator and denominator alike. Metrics: "diverged", the
    number of particles whose loss (or derivative) is not finite; "snr", the squared norm of the
    mean over its squared standard error (about 1 when the estimate is noise alone, NaN when fewer
    than two healthy contributions leave no spread to measure); "inner_steps", the live steps of
    all particles.

    Args:
        contributions: stacked contributions of this device's groups.
        theta: gives the gradient its structure.
    """
    sums = sum_over_devices(_sums(contributions))
    mean = sums.grad / jnp.maximum(sums.healthy, 1)
    squared_norm = jnp.sum(mean**2)
    squared_error = (sums.squared_norm - sums.healthy * squared_norm) / (
        sums.healthy * (sums.healthy - 1.0)
    )
    metrics = {
        "diverged": sums.diverged,
        "snr": squared_norm / squared_error,
        "inner_steps": sums.inner_steps,
    }
    return Estimate(ravel_pytree(theta)[1](mean), sums.loss / sums.weight, metrics)


def shape_fitness(
    name: str, contributions: Contribution, indices: Int[Array, " groups"], num_groups: int
) -> Contribution:
    """Let something else stand in the place of the difference of each pair's two losses.

    Args:
        name: one of ``FITNESS_SHAPINGS``, or "none".
        contributions: of this device's pairs, in proportion to L+ - L-.
        indices: their global indices.
        num_groups: pairs of all devices.
    """
    if name == "none":
        return contributions
    difference = contributions.losses[:, 0] - contributions.losses[:, 1]
    # A pair that is dropped counts as one without a difference.
    difference = jnp.where(contributions.healthy, difference, 0.0)
    everywhere = sum_over_devices(jnp.zeros(num_groups).at[indices].set(difference))
    shaped = FITNESS_SHAPINGS[name](difference, everywhere)
    factor = shaped / jnp.where(difference == 0, 1.0, difference)
    return contributions._replace(grad=factor[:, None] * contributions.grad)


def _sign(difference: Array, everywhere: Array) -> Array:
    del everywhere
    return jnp.sign(difference)


def _centred_ranks(difference: Array, everywhere: Array) -> Array:
    """The rank of d among d and -d of all pairs, from -1/2 to 1/2; equal ones share theirs."""
    size, sizes = jnp.abs(difference)[:, None], jnp.abs(everywhere)[None]
    rank = 0.5 * (jnp.sum(sizes < size, axis=1) + jnp.sum(sizes <= size, axis=1))
    return jnp.sign(difference) * rank / (2 * len(everywhere) - 1)


FITNESS_SHAPINGS: dict[str, Callable[[Array, Array], Array]] = {
    "sign": _sign,
    "centred_ranks": _centred_ranks,
}
"""By name, what stands in the place of the differences d = L+ - L-, given those of this device's
pairs and of all: robust against outliers, and biased."""


def _sums(contributions: Contribution) -> _Sums:
    _, losses, live_steps, weight = contributions
    healthy = contributions.healthy
    grads = jnp.where(healthy[:, None], contributions.grad, 0.0)
    losses = jnp.where(healthy[:, None], losses, 0.0)
    num_particles = losses.shape[1]
    not_finite = jnp.sum(~jnp.isfinite(contributions.losses), axis=1)
    return _Sums(
        healthy=jnp.sum(healthy),
        grad=jnp.sum(grads, axis=0),
        squared_norm=jnp.sum(grads**2),
        loss=jnp.sum(weight * jnp.sum(losses, axis=1)),
        weight=jnp.sum(jnp.where(healthy, weight * live_steps, 0.0)) * num_particles,
        inner_steps=jnp.sum(live_steps) * num_particles,
        diverged=jnp.sum(jnp.where(healthy, 0, jnp.maximum(not_finite, 1))),
    )
