"""Training a task from scratch with any optimizer.

A key decides the member of the task, its initial parameters and all batches, so that optimizers
that are given the same key meet the same problem.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float

from meta_train.particles import map_particles
from meta_train.systems.inner_step import inner_step
from tasks.base import Cfg, Params, Task

_VALIDATION = 1
"""Folded into the key of a run to get that of its validation batches."""


class Problem(NamedTuple):
    """A training problem before its first step; of several runs with a leading axis."""

    cfg: Cfg
    """Member of the task."""
    params: Params
    """Initial parameters."""
    step_keys: jax.Array
    """A key for every inner step [T]."""
    valid_key: jax.Array
    """The key of the batches on which parameters are validated."""


def make_problem(task: Task, key: jax.Array, num_steps: int) -> Problem:
    """The problem that belongs to a key; traced."""
    key_cfg, key_params, key_steps = jax.random.split(key, 3)
    cfg = task.sample(key_cfg)
    params = task.init(key_params, cfg)
    valid_key = jax.random.fold_in(key, _VALIDATION)
    return Problem(cfg, params, jax.random.split(key_steps, num_steps), valid_key)


def advance(
    task: Task,
    optimizer: optax.GradientTransformation,
    cfg: Cfg,
    params: Params,
    opt_state: Any,
    step_keys: jax.Array,
) -> tuple[Params, Any, Float[Array, " K"]]:
    """Take some inner steps; traced.

    Args:
        task: the task.
        optimizer: gets the training loss as ``value``.
        cfg: member of the task.
        params: parameters.
        opt_state: the optimizer's state.
        step_keys: a key for every step [K].

    Returns:
        Parameters, state, and the training loss of each batch before the step taken on it.
    """

    def step(carry: tuple, key: jax.Array) -> tuple[tuple, Array]:
        params, opt_state = carry
        key_batch, key_loss = jax.random.split(key)
        params, opt_state, loss = inner_step(
            task, optimizer, cfg, params, opt_state, key_batch, key_loss
        )
        return (params, opt_state), loss

    (params, opt_state), losses = jax.lax.scan(step, (params, opt_state), step_keys)
    return params, opt_state, losses


def train(
    task: Task, optimizer: optax.GradientTransformation, num_steps: int, key: jax.Array
) -> Float[Array, " T"]:
    """The training losses of a whole run; traced."""
    cfg, params, step_keys, _ = make_problem(task, key, num_steps)
    return advance(task, optimizer, cfg, params, optimizer.init(params), step_keys)[2]


def validate(
    task: Task, cfg: Cfg, params: Params, key: jax.Array, num_batches: int
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """Mean loss and accuracy on batches of the split "valid"; traced.

    Returns:
        The accuracy is NaN where the task has no metric of that name.
    """

    def of_batch(key: jax.Array) -> tuple[Array, Array]:
        key_batch, key_loss = jax.random.split(key)
        loss, metrics = task.loss(key_loss, cfg, params, task.batch(key_batch, cfg, "valid"))
        return loss, jnp.asarray(metrics.get("accuracy", jnp.nan), jnp.float32)

    loss, accuracy = map_particles(of_batch, jax.random.split(key, num_batches))
    return jnp.mean(loss), jnp.mean(accuracy)


MakeOptimizer = Callable[[Any, Any], optax.GradientTransformation]
"""From what all runs share (theta) and what each has of its own (hyperparameters)."""
