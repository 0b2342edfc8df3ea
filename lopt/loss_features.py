"""What a rule is told about the training loss: how it has moved, whatever its unit.

The loss is averaged over its last 1, 10, 100 and 1000 values (with exponentially falling weights;
over all values where there are fewer), and so is its distance from each average. A feature compares
one average with the next longer one, in units of the latter's distance.

Without a loss, or where it is not finite, the averages stay as they are; before the first loss all
features are zero, and that is what a rule sees which is never told the loss.
"""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from lopt import transform

RATES = np.array([1.0, 0.1, 0.01, 0.001], np.float32)
NUM_FEATURES = len(RATES) - 1
MAX_LOSS = 1e30
MAX_FEATURE = 3.0
RELATIVE_FLOOR = 1e-3
"""A distance below this part of the average counts as this part: it may be rounding."""


class LossAverages(NamedTuple):
    """Averages of the training loss."""

    seen: Int[Array, ""]
    """Losses so far."""
    means: Float[Array, " 4"]
    distances: Float[Array, " 4"]


def init() -> LossAverages:
    """Before the first loss."""
    # Two arrays, because what is donated may not be the same twice.
    means, distances = (jnp.zeros(len(RATES), jnp.float32) for _ in range(2))
    return LossAverages(transform.zero_count(), means, distances)


def update(old: LossAverages, value: Float[Array, ""] | None) -> LossAverages:
    """Take one loss into the averages, if there is one and it is finite."""
    if value is None:
        return old
    known = jnp.isfinite(value)
    seen = jnp.where(known, transform.increment(old.seen), old.seen)
    # Rates of 1/n first: the plain average of the n losses so far.
    rates = jnp.maximum(RATES, 1.0 / jnp.maximum(seen, 1).astype(jnp.float32))
    rates = jnp.where(known, rates, 0.0)
    loss = jnp.clip(jnp.where(known, value, 0.0), -MAX_LOSS, MAX_LOSS)
    means = old.means + rates * (loss - old.means)
    distances = old.distances + rates * (jnp.abs(loss - means) - old.distances)
    return LossAverages(seen, means, distances)


def features(averages: LossAverages) -> Float[Array, " 3"]:
    """Short averages against longer ones: negative while the loss falls; within +-3."""
    shorter, longer = averages.means[:-1], averages.means[1:]
    unit = averages.distances[1:] + RELATIVE_FLOOR * jnp.abs(longer) + 1e-30
    return jnp.clip((shorter - longer) / unit, -MAX_FEATURE, MAX_FEATURE)
