"""What the training curves of one optimizer on one task say; in NumPy.

The smoothed loss at step t is the mean over the last W losses up to t, with W a twentieth of the
training: a single batch says little.
"""

import itertools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

Losses = Float[np.ndarray, "seeds T"]
"""Training loss of each batch, before the step taken on it."""


class Measures(NamedTuple):
    """One optimizer on one task; losses are means over seeds, in the task's unit."""

    mean_loss: float
    """Training loss averaged over all steps and seeds; infinite where a seed diverged to it."""
    std_error: float
    """Of ``mean_loss`` over seeds."""
    final_loss: float
    """The smoothed loss at the end."""
    diverged: float
    """Fraction of the seeds that diverged."""


def window(num_steps: int) -> int:
    """W, the number of steps that smoothed losses are means over."""
    return max(1, num_steps // 20)


def smooth(losses: Losses) -> Float[np.ndarray, "seeds points"]:
    """Smoothed losses at steps W, W + 1, ..., T; not finite where a loss in the window is not."""
    width = window(losses.shape[1])
    views = np.lib.stride_tricks.sliding_window_view(np.asarray(losses, np.float64), width, axis=1)
    return views.mean(axis=2)


def measure(losses: Losses) -> Measures:
    """Mean and final loss, and how many seeds diverged."""
    means = mean_losses(losses)
    finite = bool(np.isfinite(means).all())
    return Measures(
        mean_loss=float(means.mean()),
        std_error=float(means.std(ddof=1) / np.sqrt(len(means))) if finite else np.nan,
        final_loss=float(smooth(losses)[:, -1].mean()),
        diverged=float(has_diverged(losses).mean()),
    )


def mean_losses(losses: Losses) -> Float[np.ndarray, " seeds"]:
    """Training loss of each seed averaged over its steps; infinite where it is not finite."""
    means = np.asarray(losses, np.float64).mean(axis=1)
    return np.where(np.isfinite(means), means, np.inf)


def has_diverged(losses: Losses) -> np.ndarray:
    """Which seeds [seeds] met a loss that is not finite, or end above the mean first loss."""
    with np.errstate(invalid="ignore"):
        worse = smooth(losses)[:, -1] > np.mean(losses[:, 0], dtype=np.float64)
    return worse | ~np.isfinite(losses).all(axis=1)


def steps_to(losses: Losses, target: float) -> int | None:
    """First step at which the smoothed loss, averaged over seeds, is at most ``target``.

    Returns:
        Inner steps taken, from W to T; None where it is never reached.
    """
    reached = smooth(losses).mean(axis=0) <= target
    return int(np.argmax(reached)) + window(losses.shape[1]) if reached.any() else None


def at_points(losses: Losses, points: Sequence[int]) -> Float[np.ndarray, "seeds points"]:
    """Mean training loss of the steps between one point and the next, at the latter.

    Args:
        losses: training losses.
        points: numbers of inner steps, increasing, from 1 to T.
    """
    spans = itertools.pairwise([0, *points])
    return np.stack([losses[:, a:b].mean(axis=1, dtype=np.float64) for a, b in spans], axis=1)
