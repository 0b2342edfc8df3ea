"""The comparison that ends a run: theta against Adam and SGD over a grid of learning rates."""

import functools
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from lopt.base import LearnedOptimizer
from meta_train.evaluation.baselines import BASELINES
from meta_train.evaluation.seeds import map_seeds
from meta_train.evaluation.training import train
from meta_train.parallel import ONE_DEVICE, Devices
from meta_train.particles import map_particles
from meta_train.types import Theta
from tasks.base import Task

LEARNING_RATES: tuple[float, ...] = tuple(float(rate) for rate in np.logspace(-4, 0, 13))
"""The grid on which baselines are tuned: three rates per decade from 1e-4 to 1."""

LEARNED = "learned"
"""What the learned optimizer is called in the rows."""

COMPARED = ("adam", "sgd_momentum")
"""The baselines of the comparison."""


class Row(NamedTuple):
    """One optimizer, at one learning rate, on one task."""

    task: str
    optimizer: str
    learning_rate: float | None
    """None for the learned optimizer."""
    mean_loss: float
    """Training loss averaged over all inner steps and seeds; infinite where a seed diverged."""
    final_loss: float
    """Training loss averaged over the last twentieth of the inner steps and all seeds."""
    std_error: float
    """Standard error of ``mean_loss`` over seeds."""
    curve: Float[np.ndarray, " T"]
    """Training loss at each inner step, averaged over seeds."""
    best: bool
    """Whether this is the optimizer's best learning rate on the task, by ``mean_loss``."""


def compare(
    learned_optimizer: LearnedOptimizer,
    theta: Theta,
    tasks: Mapping[str, Task],
    num_steps: int,
    *,
    key: jax.Array,
    num_seeds: int = 8,
    learning_rates: Sequence[float] = LEARNING_RATES,
    devices: Devices = ONE_DEVICE,
) -> list[Row]:
    """Train every task with the learned optimizer, and with the baselines at every rate.

    All optimizers meet the same initial parameters and batches, seed by seed.

    Args:
        learned_optimizer: the learned optimizer.
        theta: its meta-parameters.
        tasks: tasks by the name they get in the rows.
        num_steps: inner steps T.
        key: typed PRNG key of initial parameters and batches.
        num_seeds: training runs of each optimizer, at least 2.
        learning_rates: the grid for each baseline.
        devices: over which the seeds are split.

    Returns:
        For each task one row of the learned optimizer, then one for each baseline and rate.
    """
    rates = jnp.asarray(learning_rates, jnp.float32)
    theta, rates, keys = devices.place((theta, rates, jax.random.split(key, num_seeds)))
    rows = []
    for name, task in tasks.items():
        task = devices.place(task)
        curves = _learned_curves(task, theta, keys, learned_optimizer, num_steps, devices)
        rows += _rows(name, LEARNED, [None], np.asarray(curves)[None])
        for baseline in COMPARED:
            curves = _baseline_curves(task, rates, keys, baseline, num_steps, devices)
            rows += _rows(name, baseline, learning_rates, np.asarray(curves).swapaxes(0, 1))
    return rows


def _rows(
    task: str,
    optimizer: str,
    learning_rates: Sequence[float | None],
    curves: Float[np.ndarray, "rates seeds T"],
) -> list[Row]:
    means = curves.mean(axis=2)
    scores = np.where(np.isfinite(means).all(axis=1), means.mean(axis=1), np.inf)
    tail = -max(1, curves.shape[2] // 20)
    with np.errstate(invalid="ignore", over="ignore"):
        errors = means.std(axis=1, ddof=1) / np.sqrt(means.shape[1])
    return [
        Row(
            task,
            optimizer,
            rate,
            mean_loss=float(scores[i]),
            final_loss=float(curves[i, :, tail:].mean()),
            std_error=float(errors[i]),
            curve=curves[i].mean(axis=0),
            best=bool(i == np.argmin(scores)),
        )
        for i, rate in enumerate(learning_rates)
    ]


@functools.partial(jax.jit, static_argnames=("learned_optimizer", "num_steps", "devices"))
def _learned_curves(
    task: Task,
    theta: Theta,
    keys: jax.Array,
    learned_optimizer: LearnedOptimizer,
    num_steps: int,
    devices: Devices,
) -> Float[Array, "seeds T"]:
    def losses(task: Task, theta: Theta, key: jax.Array) -> Array:
        return train(task, learned_optimizer.bind(theta, num_steps), num_steps, key)

    return map_seeds(losses, devices, task, theta, keys)


@functools.partial(jax.jit, static_argnames=("baseline", "num_steps", "devices"))
def _baseline_curves(
    task: Task,
    rates: Float[Array, " rates"],
    keys: jax.Array,
    baseline: str,
    num_steps: int,
    devices: Devices,
) -> Float[Array, "seeds rates T"]:
    """The whole grid as one program."""

    def losses(task: Task, rates: Array, key: jax.Array) -> Array:
        def at_rate(rate: Array) -> Array:
            optimizer = BASELINES[baseline].bind({"learning_rate": rate}, num_steps)
            return train(task, optimizer, num_steps, key)

        return map_particles(at_rate, rates)

    return map_seeds(losses, devices, task, rates, keys)
