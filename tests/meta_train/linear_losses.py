"""A system whose losses are linear in theta, with any influence of each step on each later loss."""

from typing import Any

import flax.struct
import jax.numpy as jnp
import numpy as np

from meta_train import UnrolledSystem


@flax.struct.dataclass
class LinearLosses(UnrolledSystem):
    """The loss of step t is the sum over tau <= t of influences[t, tau] . theta_tau.

    Args:
        influences: [T, T, P], zero where tau > t.
    """

    influences: Any

    def init(self, key, theta, horizon):
        return jnp.zeros((), jnp.int32), jnp.zeros(len(self.influences))

    def step(self, key, theta, state):
        t, losses = state
        losses = losses + self.influences[:, t] @ theta["w"]
        return (t + 1, losses), losses[t]

    @property
    def theta(self):
        return {"w": np.zeros(self.influences.shape[2], np.float32)}

    @property
    def gradient(self):
        """Of the mean loss of an episode."""
        return np.sum(self.influences, axis=(0, 1), dtype=np.float64) / len(self.influences)


def make(kind, num_steps, size, seed=0):
    """Influences [T, T, P] of one kind.

    "identical": one for all t and tau; "independent": one for each; "present": of the loss's own
    step alone, one for each; "final": those of a step on all later losses are one.
    """
    drawn = np.random.default_rng(seed).normal(size=(num_steps, num_steps, size))
    same = {"identical": drawn[:1, :1], "final": drawn[:1]}.get(kind, drawn)
    causal = np.eye(num_steps) if kind == "present" else np.tri(num_steps)
    return LinearLosses(np.asarray(np.broadcast_to(same, drawn.shape) * causal[:, :, None], "f4"))
