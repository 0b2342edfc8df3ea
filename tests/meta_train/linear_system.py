"""A linear system with quadratic loss, whose meta-gradient is known."""

import functools
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

from meta_train import Horizon, UnrolledSystem

THETA = {"drift": np.array([0.3, -0.2], np.float32), "start": {"scale": np.float32(0.5)}}
NOISE = 0.1
MATRIX = np.array([[0.9, 0.2], [-0.1, 0.8]], np.float32)


@flax.struct.dataclass
class LinearSystem(UnrolledSystem):
    """s <- A s + drift + noise; loss |s|^2 / 2. The noise has mean zero and, entering linearly,
    moves the expected loss by a constant: the meta-gradient is that of the noiseless system."""

    matrix: Any

    def init(self, key, theta, horizon):
        del horizon
        return theta["start"]["scale"] + NOISE * jax.random.normal(key, (2,))

    def step(self, key, theta, state):
        state = self.matrix @ state + theta["drift"] + NOISE * jax.random.normal(key, (2,))
        return state, 0.5 * jnp.sum(state**2)


@flax.struct.dataclass
class ProgressSystem(UnrolledSystem):
    """The linear system, whose loss after step t is weighed by (t / T)^2.

    Args:
        told: T as the system is told it, from the episode's own.
    """

    inner: LinearSystem
    told: Any = flax.struct.field(pytree_node=False, default=lambda horizon: horizon)

    def init(self, key, theta, horizon):
        return self.inner.init(key, theta, horizon), jnp.zeros((), jnp.int32), self.told(horizon)

    def step(self, key, theta, state):
        inner, t, horizon = state
        inner, loss = self.inner.step(key, theta, inner)
        return (inner, t + 1, horizon), ((t + 1) / horizon) ** 2 * loss


SYSTEM = LinearSystem(MATRIX)
PROGRESS = ProgressSystem(SYSTEM)


def constant(progress):
    """The weight of a loss, whatever t / T."""
    return 1.0


@functools.cache
def true_gradient(horizon: Horizon, mean_over: str = "steps", weigh: Any = constant) -> np.ndarray:
    """Flat dJ/dtheta at THETA, by autodiff through every T.

    Args:
        horizon: distribution of T.
        mean_over: J = E[sum of losses] / E[T] for "steps", E[sum of losses / T] for "episodes".
        weigh: weight of a loss by t / T.
    """
    lengths, probabilities = lengths_of(horizon)
    mean_length = float(np.dot(lengths, probabilities))
    weights = np.zeros(max(lengths))  # what the loss after each step weighs in J
    for length, probability in zip(lengths, probabilities, strict=True):
        share = probability / (length if mean_over == "episodes" else mean_length)
        weights[:length] += [share * weigh((t + 1) / length) for t in range(length)]

    def mean_loss(theta):
        def step(state, weight):
            state = SYSTEM.matrix @ state + theta["drift"]
            return state, weight * 0.5 * jnp.sum(state**2)

        start = jnp.full((2,), theta["start"]["scale"])
        return jnp.sum(jax.lax.scan(step, start, jnp.asarray(weights, jnp.float32))[1])

    return np.asarray(ravel_pytree(jax.jit(jax.grad(mean_loss))(THETA))[0])


def lengths_of(horizon: Horizon) -> tuple[list[int], list[float]]:
    """Support and probabilities of T, by nothing but the definition."""
    low = getattr(horizon, "low", horizon.max)
    lengths = list(range(low, horizon.max + 1))
    if len(lengths) == 1:
        return lengths, [1.0]
    span = np.log(horizon.max + 1) - np.log(low)
    return lengths, [(np.log(t + 1) - np.log(t)) / span for t in lengths]
