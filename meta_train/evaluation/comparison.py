"""The comparison that ends a run: theta against baselines over a grid of learning rates."""

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float

from lopt import LearnedOptimizer, evaluation_params
from meta_train.evaluation.baselines import BASELINES, LEARNING_RATE
from meta_train.evaluation.seeds import map_seeds
from meta_train.evaluation.training import advance, make_problem, validate
from meta_train.parallel import ONE_DEVICE, Devices
from meta_train.types import Theta
from tasks.base import Task

LEARNING_RATES: tuple[float, ...] = tuple(float(rate) for rate in np.logspace(-4, 0, 13))
"""The grid on which baselines are tuned: three rates per decade from 1e-4 to 1."""

LEARNED = "learned"
"""What the learned optimizer is called in the rows."""

COMPARED = ("adam", "adamw_cosine", "schedule_free")
"""The baselines of the comparison, where no others are named."""

_BLOCKS = 100
"""Most points of a band."""
_VALID_BATCHES = 16


class Band(NamedTuple):
    """A curve in few points: of blocks of consecutive inner steps, with the spread over seeds.

    Minibatch noise is averaged out within a block, so that ``low`` and ``high`` are of whole runs.
    Not finite where a seed's loss is not.
    """

    steps: Float[np.ndarray, " blocks"]
    """The middle of each block; inner steps count from 1."""
    mean: Float[np.ndarray, " blocks"]
    """Training loss averaged over the block and all seeds."""
    low: Float[np.ndarray, " blocks"]
    """The lowest seed's average over the block."""
    high: Float[np.ndarray, " blocks"]
    """The highest seed's."""


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
    """Whether this is the learned optimizer, or the baseline's chosen learning rate: the one with
    the lowest ``mean_loss`` on the seeds for tuning. Its numbers are of the seeds for judging,
    those of other rates are of the seeds for tuning."""
    final_valid_loss: float = math.nan
    """Validation loss after the last step, averaged over seeds: that of the average of parameters
    where the optimizer keeps one (``lopt.evaluation_params``)."""
    band: Band | None = None
    """None unless ``best``."""


def compare(
    learned_optimizer: LearnedOptimizer,
    theta: Theta,
    tasks: Mapping[str, Task],
    num_steps: int,
    *,
    key: jax.Array,
    num_seeds: int = 8,
    baselines: Sequence[str] = COMPARED,
    learning_rates: Sequence[float] = LEARNING_RATES,
    devices: Devices = ONE_DEVICE,
) -> list[Row]:
    """Train every task with the learned optimizer, and with baselines at their best rates.

    A baseline's rate is chosen on seeds of its own. Then all optimizers meet the same initial
    parameters and batches, seed by seed.

    Args:
        learned_optimizer: the learned optimizer.
        theta: its meta-parameters.
        tasks: tasks by the name they get in the rows.
        num_steps: inner steps T.
        key: typed PRNG key of initial parameters and batches.
        num_seeds: training runs of each optimizer, at least 2, and of each baseline and rate
            before.
        baselines: names from ``BASELINES``.
        learning_rates: the grid for each baseline.
        devices: over which the seeds are split.

    Returns:
        For each task one row of the learned optimizer, then one for each baseline and rate.
    """
    tuning, judging = devices.place([jax.random.split(x, num_seeds) for x in jax.random.split(key)])
    theta = devices.place(theta)
    rates = devices.place([{LEARNING_RATE: jnp.float32(rate)} for rate in learning_rates])
    rows = []
    for name, task in tasks.items():
        run = functools.partial(_run, devices.place(task), num_steps=num_steps, devices=devices)
        found = run(theta, judging, learned_optimizer.bind)
        rows.append(_row(name, LEARNED, None, found, best=True))
        for baseline in baselines:
            bind = BASELINES[baseline].bind
            tried = [
                _row(name, baseline, rate, found, best=False)
                for rate, found in zip(
                    learning_rates, [run(rate, tuning, bind) for rate in rates], strict=True
                )
            ]
            best = int(np.argmin([row.mean_loss for row in tried]))
            found = run(rates[best], judging, bind)
            tried[best] = _row(name, baseline, learning_rates[best], found, best=True)
            rows += tried
    return rows


@functools.partial(jax.jit, static_argnames=("bind", "num_steps", "devices"))
def _run(
    task: Task,
    parameters: Any,
    keys: jax.Array,
    bind: Callable[[Any, int], optax.GradientTransformation],
    *,
    num_steps: int,
    devices: Devices,
) -> tuple[Float[Array, "seeds T"], Float[Array, " seeds"]]:
    """Training losses, and the validation loss after the last step.

    A learning rate is an argument, so that the grid and the judging share a compiled program: for
    small tasks compilation takes longer than all else.
    """

    def of_seed(task: Task, parameters: Any, key: jax.Array) -> tuple[Array, Array]:
        optimizer = bind(parameters, num_steps)
        cfg, params, step_keys, valid_key = make_problem(task, key, num_steps)
        state = optimizer.init(params)
        params, state, losses = advance(task, optimizer, cfg, params, state, step_keys)
        judged = evaluation_params(state, params)
        return losses, validate(task, cfg, judged, valid_key, _VALID_BATCHES)[0]

    return map_seeds(of_seed, devices, task, parameters, keys)


def _row(
    task: str,
    optimizer: str,
    learning_rate: float | None,
    found: tuple[jax.Array, jax.Array],
    best: bool,
) -> Row:
    losses, valid_losses = (np.asarray(x, np.float64) for x in found)
    tail = -max(1, losses.shape[1] // 20)
    with np.errstate(invalid="ignore", over="ignore"):
        means = losses.mean(axis=1)
        return Row(
            task,
            optimizer,
            learning_rate,
            mean_loss=float(means.mean()) if np.isfinite(means).all() else math.inf,
            final_loss=float(losses[:, tail:].mean()),
            std_error=float(means.std(ddof=1) / math.sqrt(len(means))),
            curve=losses.mean(axis=0),
            best=best,
            final_valid_loss=float(valid_losses.mean()),
            band=_band(losses) if best else None,
        )


def _band(losses: Float[np.ndarray, "seeds T"]) -> Band:
    num_steps = losses.shape[1]
    starts = np.arange(0, num_steps, math.ceil(num_steps / _BLOCKS))
    sizes = np.diff(starts, append=num_steps)
    means = np.add.reduceat(losses, starts, axis=1) / sizes
    return Band(starts + (1 + sizes) / 2, means.mean(axis=0), means.min(axis=0), means.max(axis=0))
