"""Judging theta: the meta-loss on fresh seeds, and the comparison with tuned optimizers."""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float

from lopt.base import LearnedOptimizer
from meta_train.horizons import Horizon
from meta_train.parallel import ONE_DEVICE, REPLICATED, SPLIT, Devices, map_over_devices
from meta_train.particles import map_particles
from meta_train.types import Theta, UnrolledSystem
from meta_train.unroll import Clock, unroll
from tasks.base import Task

LEARNING_RATES: tuple[float, ...] = tuple(float(rate) for rate in np.logspace(-4, 0, 13))
"""The grid on which baselines are tuned: three rates per decade from 1e-4 to 1."""

LEARNED = "learned"
"""What the learned optimizer is called in the rows."""

BASELINES: dict[str, Callable[[float | Array], optax.GradientTransformation]] = {
    "adam": lambda learning_rate: optax.adam(learning_rate),
    "sgd_momentum": lambda learning_rate: optax.sgd(learning_rate, momentum=0.9),
}
"""Optimizers to compare with, each as a function of the learning rate that is tuned."""


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


def meta_validate(
    systems: Sequence[UnrolledSystem],
    weights: Sequence[float],
    horizon: Horizon,
    theta: Theta,
    key: jax.Array,
    num_seeds: int,
    devices: Devices = ONE_DEVICE,
) -> float:
    """J(theta) without perturbation: loss per inner step over whole episodes.

    Args:
        systems: what theta is trained on.
        weights: weight of each system; they sum to 1.
        horizon: distribution of T.
        theta: meta-parameters.
        key: the same key gives the same episodes, so that the values of two thetas differ by the
            thetas alone.
        num_seeds: episodes per system.
        devices: over which the episodes are split.

    Returns:
        The weighted mean over systems; not finite where an episode diverged.
    """
    arrays = devices.place((tuple(systems), theta, key))
    return float(_meta_validate(*arrays, tuple(weights), horizon, num_seeds, devices))


@functools.partial(jax.jit, static_argnames=("weights", "horizon", "num_seeds", "devices"))
def _meta_validate(
    systems: tuple[UnrolledSystem, ...],
    theta: Theta,
    key: jax.Array,
    weights: tuple[float, ...],
    horizon: Horizon,
    num_seeds: int,
    devices: Devices,
) -> Array:
    def episode(system: UnrolledSystem, theta: Theta, key: jax.Array) -> tuple[Array, Array]:
        key_init, key_unroll, key_horizon = jax.random.split(key, 3)
        length = horizon.sample(key_horizon, jnp.zeros((), jnp.int32))
        clock = Clock(jnp.zeros((), jnp.int32), length)
        state = system.init(key_init, theta)
        ragged = horizon.is_ragged(horizon.max)
        _, total = unroll(
            system, key_unroll, theta, state, clock, num_steps=horizon.max, ragged=ragged
        )
        return total, length

    value = jnp.zeros(())
    for i, (system, weight) in enumerate(zip(systems, weights, strict=True)):
        keys = jax.random.split(jax.random.fold_in(key, i), num_seeds)
        totals, lengths = _map_seeds(episode, devices, system, theta, keys)
        value += weight * jnp.sum(totals) / jnp.sum(lengths)
    return value


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
    """Train every task with the learned optimizer, and with every baseline at every rate.

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
        for baseline in BASELINES:
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
    def train(task: Task, theta: Theta, key: jax.Array) -> Array:
        return _train(task, learned_optimizer.bind(theta, num_steps), num_steps, key)

    return _map_seeds(train, devices, task, theta, keys)


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

    def train(task: Task, rates: Array, key: jax.Array) -> Array:
        return map_particles(
            lambda rate: _train(task, BASELINES[baseline](rate), num_steps, key), rates
        )

    return _map_seeds(train, devices, task, rates, keys)


def _map_seeds(
    fn: Callable[[Any, Any, jax.Array], Any],
    devices: Devices,
    subject: Any,
    parameters: Any,
    keys: jax.Array,
) -> Any:
    """``fn(subject, parameters, key)`` for every key, split over devices.

    Where the keys do not divide evenly the last ones run more than once.
    """
    extra = -len(keys) % devices.count
    padded = jnp.concatenate([keys, jnp.repeat(keys[-1:], extra)])

    def of_device(subject: Any, parameters: Any, keys: jax.Array) -> Any:
        return map_particles(lambda key: fn(subject, parameters, key), keys)

    specs = (REPLICATED, REPLICATED, SPLIT)
    results = map_over_devices(of_device, devices, specs, SPLIT)(subject, parameters, padded)
    return devices.constrain(jax.tree.map(lambda x: x[: len(keys)], results), REPLICATED)


def _train(
    task: Task, optimizer: optax.GradientTransformation, num_steps: int, key: jax.Array
) -> Float[Array, " T"]:
    """Training loss of each batch, before the step taken on it."""
    optimizer = optax.with_extra_args_support(optimizer)
    key_cfg, key_params, key_steps = jax.random.split(key, 3)
    cfg = task.sample(key_cfg)
    params = task.init(key_params, cfg)
    loss_fn = jax.value_and_grad(task.loss, argnums=2, has_aux=True)

    def step(carry: tuple, key: jax.Array) -> tuple[tuple, Array]:
        params, opt_state = carry
        key_batch, key_loss = jax.random.split(key)
        batch = task.batch(key_batch, cfg, "train")
        (loss, _), grads = loss_fn(key_loss, cfg, params, batch)
        updates, opt_state = optimizer.update(grads, opt_state, params, value=loss)
        return (optax.apply_updates(params, updates), opt_state), loss

    start = (params, optimizer.init(params))
    return jax.lax.scan(step, start, jax.random.split(key_steps, num_steps))[1]
