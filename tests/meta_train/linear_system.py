"""A linear system with quadratic loss, whose meta-gradient is known."""

from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

from meta_train import Horizon, UnrolledSystem

THETA = {"drift": np.array([0.3, -0.2], np.float32), "start": {"scale": np.float32(0.5)}}
NOISE = 0.1


@flax.struct.dataclass
class LinearSystem(UnrolledSystem):
    """s <- A s + drift + noise; loss |s|^2 / 2. The noise has mean zero and, entering linearly,
    moves the expected loss by a constant: the meta-gradient is that of the noiseless system."""

    matrix: Any

    def init(self, key, theta):
        return theta["start"]["scale"] + NOISE * jax.random.normal(key, (2,))

    def step(self, key, theta, state):
        state = self.matrix @ state + theta["drift"] + NOISE * jax.random.normal(key, (2,))
        return state, 0.5 * jnp.sum(state**2)


SYSTEM = LinearSystem(np.array([[0.9, 0.2], [-0.1, 0.8]], np.float32))


def true_gradient(horizon: Horizon) -> np.ndarray:
    """Flat dJ/dtheta at THETA, J = E[sum of losses] / E[T], by autodiff through every T."""
    lengths, probabilities = lengths_of(horizon)

    def mean_loss(theta):
        state = jnp.full((2,), theta["start"]["scale"])
        sums, total = [], 0.0
        for _ in range(max(lengths)):
            state = SYSTEM.matrix @ state + theta["drift"]
            total = total + 0.5 * jnp.sum(state**2)
            sums.append(total)
        expected = sum(p * sums[t - 1] for t, p in zip(lengths, probabilities, strict=True))
        return expected / float(np.dot(lengths, probabilities))

    return np.asarray(ravel_pytree(jax.grad(mean_loss)(THETA))[0])


def lengths_of(horizon: Horizon) -> tuple[list[int], list[float]]:
    """Support and probabilities of T, estimated by nothing but the definition."""
    low = getattr(horizon, "low", horizon.max)
    lengths = list(range(low, horizon.max + 1))
    if len(lengths) == 1:
        return lengths, [1.0]
    span = np.log(horizon.max + 1) - np.log(low)
    return lengths, [(np.log(t + 1) - np.log(t)) / span for t in lengths]
