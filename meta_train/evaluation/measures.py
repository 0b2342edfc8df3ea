"""What is measured of one optimizer on one workload: how it is computed, and how it is shown.

A new measure is one entry of ``MEASURES``: every entry is in summary.json and, where it says so, a
column of the terminal's table or a table on the page. The smoothed loss at step t is the mean over
the last W losses up to t, with W a twentieth of the training: a single batch says little.
"""

import functools
import itertools
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from meta_train.evaluation.runner import Curves

Losses = Float[np.ndarray, "seeds T"]
"""Training loss of each batch, before the step taken on it."""


class Training:
    """The training runs of one optimizer on one workload, from several seeds.

    Attributes:
        curves: what was recorded.
        reference: the training that sets the target: of the reference baselines' the one with the
            lowest final loss. None where none of them has a finite one.
    """

    def __init__(self, curves: Curves) -> None:
        self.curves = curves
        self.reference: Training | None = None

    @functools.cached_property
    def mean_losses(self) -> Float[np.ndarray, " seeds"]:
        """Training loss of each seed averaged over its steps; infinite where it is not finite."""
        return mean_losses(self.curves.train_loss)

    @functools.cached_property
    def final_loss(self) -> float:
        """The smoothed loss at the end, averaged over seeds."""
        return float(smooth(self.curves.train_loss)[:, -1].mean())

    @functools.cached_property
    def steps(self) -> int | None:
        """Inner steps to the target, the final loss of the reference; None without or not at it."""
        if self.reference is None:
            return None
        return steps_to(self.curves.train_loss, self.reference.final_loss)

    @property
    def seconds(self) -> float | None:
        """Seconds of training to the target."""
        return None if self.steps is None else self.steps * float(self.curves.seconds_per_step)


class Measure(NamedTuple):
    """One number, of all seeds together. Losses are in the task's unit."""

    of: Callable[[Training], int | float | None]
    """Computes it; None and what is not finite stand for what is not known."""
    column: str = ""
    """Its heading in the terminal's table; "" leaves it out there."""
    spec: str = ".3g"
    """How a number is written in the terminal."""
    caption: str = ""
    """The caption of its table on the page; "" leaves it out. GOAL is the target in words."""
    page_spec: str = ".4g"
    """How a number is written on the page."""
    best: Callable[[Sequence[float]], float] | None = min
    """Which of a row is marked on the page: ``min``, ``max``, or None for none."""
    section: str = "losses"
    """Its section of the page is "losses", "speed" or "divergence"."""
    error: str = ""
    """The measure that is its standard error."""


MEASURES: dict[str, Measure] = {
    "mean_loss": Measure(
        lambda x: float(x.mean_losses.mean()),
        column="mean loss",
        spec=".4g",
        caption="Mean training loss, over all steps and seeds, with its standard error over seeds",
        page_spec=".3g",
        error="std_error",
    ),
    "std_error": Measure(lambda x: _std_error(x.mean_losses)),
    "final_loss": Measure(
        lambda x: x.final_loss,
        column="final",
        caption="Final training loss, over the last twentieth of the steps",
    ),
    "diverged": Measure(
        lambda x: float(has_diverged(x.curves.train_loss).mean()),
        caption="Fraction of runs that diverged, on the tasks where any did",
        page_spec=".0%",
        best=None,
        section="divergence",
    ),
    "final_valid_loss": Measure(
        lambda x: _mean(x.curves.valid_loss[:, -1]), column="valid", caption="Final validation loss"
    ),
    "final_valid_accuracy": Measure(
        lambda x: _mean(x.curves.valid_accuracy[:, -1]),
        column="acc.",
        spec=".3f",
        caption="Final validation accuracy",
        page_spec=".1%",
        best=max,
    ),
    "target": Measure(lambda x: None if x.reference is None else x.reference.final_loss),
    "steps_to_target": Measure(
        lambda x: x.steps, caption="Inner steps to GOAL", page_spec=",.0f", section="speed"
    ),
    "seconds_to_target": Measure(lambda x: x.seconds),
    "speedup": Measure(
        lambda x: _ratio(x.reference and x.reference.steps, x.steps),
        column="speed-up",
        spec=".2f",
        caption="Speed-up in steps: those of the baseline that sets the target over the "
        "optimizer's own",
        page_spec=".2f",
        best=max,
        section="speed",
    ),
    "speedup_seconds": Measure(
        lambda x: _ratio(x.reference and x.reference.seconds, x.seconds),
        column="in time",
        spec=".2f",
        caption="Speed-up in time, likewise",
        page_spec=".2f",
        best=max,
        section="speed",
    ),
    "microseconds_per_step": Measure(
        lambda x: 1e6 * float(x.curves.seconds_per_step),
        column="µs",
        spec=".0f",
        caption="Microseconds per inner step, gradient included",
        page_spec=",.0f",
        section="speed",
    ),
}
"""Every measure by its name in summary.json; tables have them in this order."""


BY_SEED = ("mean_loss", "final_valid_loss")
"""Losses that are kept of every seed too: optimizers are compared by them over all tasks."""


def measure(
    found: Mapping[str, Curves], reference: Collection[str] = ()
) -> dict[str, dict[str, Any]]:
    """Everything measured on one workload, by optimizer and name of the measure.

    Args:
        found: curves by optimizer.
        reference: optimizers whose final losses may be the target.

    Returns:
        Besides ``MEASURES`` the ``target_optimizer``, and losses ``by_seed``. Numbers have six
        digits; None stands for those that are not known or not finite.
    """
    trainings = {name: Training(curves) for name, curves in found.items()}
    final = {name: x.final_loss for name, x in trainings.items() if name in reference}
    finite = {name: loss for name, loss in final.items() if np.isfinite(loss)}
    best = min(finite, key=finite.__getitem__, default=None)
    for training in trainings.values():
        training.reference = None if best is None else trainings[best]
    rows = {}
    for name, training in trainings.items():
        rows[name] = {"target_optimizer": best}
        rows[name] |= {label: number(x.of(training)) for label, x in MEASURES.items()}
        by_seed = (training.mean_losses, training.curves.valid_loss[:, -1])
        rows[name]["by_seed"] = {
            label: [number(float(x)) for x in values]
            for label, values in zip(BY_SEED, by_seed, strict=True)
        }
    return rows


def number(value: int | float | None) -> int | float | None:
    """Six digits; None where JSON has no such number."""
    if value is None or not np.isfinite(value):
        return None
    return value if isinstance(value, int) else float(f"{value:.6g}")


def window(num_steps: int) -> int:
    """W, the number of steps that smoothed losses are means over."""
    return max(1, num_steps // 20)


def smooth(losses: Losses) -> Float[np.ndarray, "seeds points"]:
    """Smoothed losses at steps W, W + 1, ..., T; not finite where a loss in the window is not."""
    width = window(losses.shape[1])
    views = np.lib.stride_tricks.sliding_window_view(np.asarray(losses, np.float64), width, axis=1)
    return views.mean(axis=2)


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


def _std_error(means: Float[np.ndarray, " seeds"]) -> float:
    """The standard error of the mean over seeds; NaN where a seed diverged."""
    if not np.isfinite(means).all():
        return np.nan
    return float(means.std(ddof=1) / np.sqrt(len(means)))


def _mean(values: np.ndarray) -> float:
    return float(np.mean(values, dtype=np.float64))


def _ratio(one: int | float | None, other: int | float | None) -> float | None:
    return None if one is None or not other else one / other
