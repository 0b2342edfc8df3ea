"""What all estimators share: their hyperparameters, the keys of a particle, and the reduction."""

import dataclasses
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Bool, Float, Int

from meta_train.horizons import Horizon, make_horizon
from meta_train.parallel import sum_over_devices
from meta_train.types import Estimate, GradientEstimator, Theta


@dataclasses.dataclass(frozen=True)
class EpisodicEstimator(GradientEstimator):
    """Hyperparameters of every estimator.

    Args:
        horizon: episode length T in inner steps, or a ``Horizon``.
        truncation_length: K, inner steps of one truncation; None is the longest T.
        num_pairs: number of antithetic pairs, N = 2 * num_pairs particles.
        std: standard deviation sigma of the perturbations, in units of theta.

    Raises:
        ValueError: for sizes that make no sense, before anything is compiled.
    """

    needs_std: ClassVar[bool] = True
    """Whether sigma = 0 has no meaning, as where the gradient is seen through losses alone."""

    horizon: Any
    truncation_length: int | None = None
    num_pairs: int = 8
    std: float = 0.01

    def __post_init__(self) -> None:
        longest = self.episodes.max
        if self.truncation_length is not None and not 1 <= self.truncation_length <= longest:
            raise ValueError(
                f"truncation_length = {self.truncation_length} (K) must lie between 1 and the "
                f"horizon T = {longest}, in inner steps."
            )
        if self.num_pairs < 1:
            raise ValueError(
                f"num_pairs = {self.num_pairs} must be at least 1 (2 * num_pairs particles)."
            )
        if not 0 <= self.std < float("inf") or (self.std == 0 and self.needs_std):
            bound = "above 0" if self.needs_std else "at least 0"
            raise ValueError(
                f"std = {self.std} must be a finite number {bound}: it is the standard deviation "
                "of the perturbations, in units of theta."
            )

    @property
    def episodes(self) -> Horizon:
        """The distribution of T."""
        return make_horizon(self.horizon)

    @property
    def steps_per_truncation(self) -> int:
        """K, resolved."""
        return self.truncation_length or self.episodes.max

    @property
    def ragged(self) -> bool:
        """Whether an episode can end inside a truncation."""
        return self.episodes.is_ragged(self.steps_per_truncation)


class EpisodeState(NamedTuple):
    """What a group carries between meta-steps where every estimate is a whole episode."""

    global_index: Int[Array, ""]
    """Over all devices, the source of the group's keys."""
    meta_step: Int[Array, ""]


def episode_states(num_groups: int) -> EpisodeState:
    """The states of all groups before the first meta-step, with a leading axis."""
    indices = jnp.arange(num_groups, dtype=jnp.int32)
    return EpisodeState(indices, jnp.zeros_like(indices))


class ParticleKeys(NamedTuple):
    """Random keys of one particle, or pair, in one meta-step, named by use."""

    perturbation: jax.Array
    init: jax.Array
    unroll: jax.Array
    horizon: jax.Array


def particle_keys(
    key: jax.Array, index: Int[Array, ""] | int, past: Int[Array, ""] | int = 0
) -> ParticleKeys:
    """Keys that depend on the global index alone, never on where the particle runs.

    Args:
        key: of the meta-step and system.
        index: global index of the particle, or pair.
        past: truncations still to run after this one in the same meta-step.
    """
    key_particle = jax.random.fold_in(jax.random.fold_in(key, index), past)
    return ParticleKeys(*jax.random.split(key_particle, 4))


class Contribution(NamedTuple):
    """What one pair (or particle) adds to an estimate: ``coefficient * direction``."""

    coefficient: Float[Array, ""]
    direction: Float[Array, " P"]
    losses: Float[Array, " partners"]
    """Sum of live losses of each particle."""
    live_steps: Int[Array, ""]
    """Live inner steps of each particle."""
    healthy: Bool[Array, ""]
    """Whether every particle's loss, and the direction, is finite."""


def contribution(
    coefficient: Array, direction: Array, losses: Array, live_steps: Array
) -> Contribution:
    """Mark as unhealthy what is not finite."""
    healthy = jnp.all(jnp.isfinite(losses)) & jnp.all(jnp.isfinite(direction))
    return Contribution(coefficient, direction, losses, live_steps, healthy)


class _Sums(NamedTuple):
    """Sums over all groups of a run."""

    healthy: Int[Array, ""]
    grad: Float[Array, " P"]
    squared_norm: Float[Array, ""]
    loss: Float[Array, ""]
    loss_steps: Int[Array, ""]
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
    return Estimate(ravel_pytree(theta)[1](mean), sums.loss / sums.loss_steps, metrics)


def _sums(contributions: Contribution) -> _Sums:
    healthy = contributions.healthy
    coefficients = jnp.where(healthy, contributions.coefficient, 0.0)
    directions = jnp.where(healthy[:, None], contributions.direction, 0.0)
    losses = contributions.losses
    partners = losses.shape[1]
    not_finite = jnp.sum(~jnp.isfinite(losses), axis=1)
    return _Sums(
        healthy=jnp.sum(healthy),
        grad=coefficients @ directions,
        squared_norm=jnp.sum(coefficients**2 * jnp.sum(directions**2, axis=1)),
        loss=jnp.sum(jnp.where(healthy[:, None], losses, 0.0)),
        loss_steps=jnp.sum(jnp.where(healthy, contributions.live_steps, 0)) * partners,
        inner_steps=jnp.sum(contributions.live_steps) * partners,
        diverged=jnp.sum(jnp.where(healthy, 0, jnp.maximum(not_finite, 1))),
    )
