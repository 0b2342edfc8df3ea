"""The meta-gradient of several systems: a weighted sum over all, or over some drawn at random."""

import dataclasses
import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Bool, Float

from meta_train.types import Estimate, EstimatorState, GradientEstimator, Theta, UnrolledSystem

Records = dict[str, Array]


def inclusion_probabilities(shares: tuple[float, ...], count: int) -> Float[np.ndarray, " systems"]:
    """With what probability each system takes part: in proportion to its share, at most 1.

    Args:
        shares: weights of the systems in the meta-loss.
        count: systems in each meta-step, the sum of the probabilities.

    Returns:
        Probabilities; systems of share 0 never take part.

    Raises:
        ValueError: there are not so many systems with a share.
    """
    weights = np.asarray(shares, np.float64)
    if not 1 <= count <= np.count_nonzero(weights):
        raise ValueError(
            f"systems_per_step = {count} must be between 1 and the "
            f"{np.count_nonzero(weights)} systems that have a weight."
        )
    certain = np.zeros(len(weights), bool)
    while True:
        left = np.where(certain, 0.0, weights)
        left = left / left.sum() if left.any() else left
        probabilities = np.where(certain, 1.0, (count - certain.sum()) * left)
        if not (too_large := (probabilities > 1.0)).any():
            return probabilities
        certain |= too_large


def sample_systems(
    key: jax.Array, probabilities: Float[np.ndarray, " systems"]
) -> Bool[Array, " systems"]:
    """Draw systems with the given inclusion probabilities, always the same number of them.

    Systematic sampling: one uniform offset, then every whole step along the cumulated
    probabilities (Madow 1949).
    """
    if (probabilities == 1.0).all():
        return jnp.ones(len(probabilities), bool)
    ends = np.cumsum(probabilities)
    ends[-1] = round(ends[-1])
    offset = jax.random.uniform(key)
    points = jnp.ceil(jnp.asarray([0.0, *ends], jnp.float32) - offset)
    return points[1:] > points[:-1]


@dataclasses.dataclass(frozen=True)
class Mixture:
    """The weights of several systems in one meta-gradient.

    Args:
        shares: weight of each system in the meta-loss; they sum to 1.
        probabilities: with which each takes part in a meta-step, see ``inclusion_probabilities``.
        clip_norm: largest norm of one system's meta-gradient; infinite for no limit.
    """

    shares: tuple[float, ...]
    probabilities: tuple[float, ...]
    clip_norm: float = math.inf

    def estimate(
        self,
        estimator: GradientEstimator,
        systems: Sequence[UnrolledSystem],
        key: jax.Array,
        theta: Theta,
        states: tuple[EstimatorState, ...],
    ) -> tuple[Theta, Records, tuple[EstimatorState, ...]]:
        """One meta-gradient of all systems together, of one device's particles.

        Args:
            estimator: estimates every system's meta-gradient.
            systems: unrolled systems that share theta.
            key: of the meta-step.
            theta: meta-parameters.
            states: the estimator's state of each system.

        Returns:
            The meta-gradient, records of it ("meta_loss", "grad_norm" and the estimator's
            metrics) and the next states; the state of a system that does not take part stays.
        """
        key_draw = jax.random.fold_in(key, len(systems))
        takes_part = sample_systems(key_draw, np.asarray(self.probabilities))
        estimates, next_states = [], []
        for i, (system, state) in enumerate(zip(systems, states, strict=True)):
            run = functools.partial(estimator.estimate, system, jax.random.fold_in(key, i), theta)
            certain = self.probabilities[i] == 1
            estimate, state = run(state) if certain else _where(takes_part[i], run, state)
            estimates.append(estimate)
            next_states.append(state)
        grad, records = self._combine(estimates, takes_part, estimator.summed_metrics)
        return grad, records, tuple(next_states)

    def _combine(
        self, estimates: list[Estimate], takes_part: Bool[Array, " systems"], summed: Sequence[str]
    ) -> tuple[Theta, Records]:
        present = jnp.asarray(self.shares) * takes_part

        def total(weights: Array, *values: Array) -> Array:
            return functools.reduce(jnp.add, [weights[i] * x for i, x in enumerate(values)])

        # Divided by its probability a system counts in the mean as if it always took part; what is
        # shown is the plain average over those that did, which fluctuates less.
        unbiased = functools.partial(total, present / np.maximum(self.probabilities, 1e-30))
        average = functools.partial(total, present / jnp.sum(present))
        grad = jax.tree.map(unbiased, *[self._clip(estimate.grad) for estimate in estimates])
        records = {
            "meta_loss": average(*[estimate.loss for estimate in estimates]),
            "grad_norm": optax.tree.norm(grad),
        }
        for name in estimates[0].metrics:
            values = [estimate.metrics[name] for estimate in estimates]
            adds_up = name in summed
            records[name] = functools.reduce(jnp.add, values) if adds_up else average(*values)
        return grad, records

    def _clip(self, grad: Theta) -> Theta:
        if math.isinf(self.clip_norm):
            return grad
        factor = jnp.minimum(1.0, self.clip_norm / optax.tree.norm(grad))
        return jax.tree.map(lambda leaf: factor * leaf, grad)


def _where(
    takes_part: Array, run: Callable[..., Any], state: EstimatorState
) -> tuple[Estimate, EstimatorState]:
    """``run(state)``; a system that does not take part adds nothing and stays as it is."""

    def stay(state: EstimatorState) -> tuple[Estimate, EstimatorState]:
        nothing = jax.eval_shape(run, state)[0]
        return jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), nothing), state

    return jax.lax.cond(takes_part, run, stay, state)
