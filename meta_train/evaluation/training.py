"""One training run of a task, and what is recorded of it."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float

from meta_train.particles import map_particles
from tasks.base import Cfg, Params, Task

_VALIDATION = 1
"""Folded into the key of a run to get that of its validation batches."""


class Curves(NamedTuple):
    """What is recorded of a run; of several runs with a leading axis."""

    train_loss: Float[Array, "*runs T"]
    """Training loss of each batch, before the step taken on it."""
    valid_loss: Float[Array, "*runs points"]
    """Mean over the validation batches, after each recorded number of steps."""
    valid_accuracy: Float[Array, "*runs points"]
    """The same of the metric "accuracy"; NaN where the task has none."""


def train(
    task: Task,
    optimizer: optax.GradientTransformation,
    num_steps: int,
    key: jax.Array,
    recorded: tuple[int, ...] = (),
    valid_batches: int = 0,
) -> Curves:
    """Train a member of the task from scratch; traced.

    The key decides member, initial parameters, training batches and validation batches, so all
    optimizers meet the same problem.

    Args:
        task: the task.
        optimizer: gets the training loss as ``value``.
        num_steps: inner steps T.
        key: typed PRNG key of the run.
        recorded: after how many steps to validate, increasing, each from 1 to T.
        valid_batches: batches of the split "valid" of each validation; the same ones each time.
    """
    optimizer = optax.with_extra_args_support(optimizer)
    key_cfg, key_params, key_steps = jax.random.split(key, 3)
    keys_valid = jax.random.split(jax.random.fold_in(key, _VALIDATION), max(1, valid_batches))
    cfg = task.sample(key_cfg)
    params = task.init(key_params, cfg)
    loss_fn = jax.value_and_grad(task.loss, argnums=2, has_aux=True)
    is_recorded = jnp.asarray(np.isin(np.arange(1, num_steps + 1), recorded))

    def validate(params: Params, opt_state: Any) -> tuple[Array, Array]:
        return _validate(task, cfg, evaluation_params(opt_state, params), keys_valid)

    def skip(params: Params, opt_state: Any) -> tuple[Array, Array]:
        return jnp.zeros(()), jnp.zeros(())

    def step(carry: tuple, xs: tuple[jax.Array, Array]) -> tuple[tuple, tuple]:
        params, opt_state = carry
        key, record = xs
        key_batch, key_loss = jax.random.split(key)
        batch = task.batch(key_batch, cfg, "train")
        (loss, _), grads = loss_fn(key_loss, cfg, params, batch)
        updates, opt_state = optimizer.update(grads, opt_state, params, value=loss)
        params = optax.apply_updates(params, updates)
        valid = jax.lax.cond(record, validate, skip, params, opt_state) if recorded else ()
        return (params, opt_state), (loss, valid)

    start = (params, optimizer.init(params))
    xs = (jax.random.split(key_steps, num_steps), is_recorded)
    _, (losses, valid) = jax.lax.scan(step, start, xs)
    if not recorded:
        return Curves(losses, jnp.zeros((0,)), jnp.zeros((0,)))
    return Curves(losses, *(x[np.asarray(recorded) - 1] for x in valid))


def training_program(
    make_optimizer: Callable[[Any, Any], optax.GradientTransformation],
    num_steps: int,
    recorded: tuple[int, ...],
    valid_batches: int,
) -> Callable[[Task, Any, Any, jax.Array], Curves]:
    """Several runs as one function to be jitted, which compiles once for all hyperparameters.

    Args:
        make_optimizer: from what all runs share (theta) and what each has of its own
            (hyperparameters) to the optimizer.
        num_steps: see ``train``.
        recorded: see ``train``.
        valid_batches: see ``train``.

    Returns:
        ``(task, shared, own, keys) -> Curves``; ``own`` and ``keys`` have a leading axis of runs.
    """

    def runs(task: Task, shared: Any, own: Any, keys: jax.Array) -> Curves:
        def one(own: Any, key: jax.Array) -> Curves:
            optimizer = make_optimizer(shared, own)
            return train(task, optimizer, num_steps, key, recorded, valid_batches)

        return map_particles(one, own, keys)

    return runs


def evaluation_params(opt_state: Any, params: Params) -> Params:
    """The parameters to judge: the average that a schedule-free optimizer keeps, else the same.

    Gradients of such an optimizer, and so the training losses, are taken at other points, see
    ``optax.contrib.schedule_free_eval_params``.
    """

    def is_schedule_free(node: Any) -> bool:
        return isinstance(node, optax.contrib.ScheduleFreeState)

    for node in jax.tree.leaves(opt_state, is_leaf=is_schedule_free):
        if is_schedule_free(node):
            return optax.contrib.schedule_free_eval_params(node, params)
    return params


def _validate(task: Task, cfg: Cfg, params: Params, keys: jax.Array) -> tuple[Array, Array]:
    def of_batch(key: jax.Array) -> tuple[Array, Array]:
        key_batch, key_loss = jax.random.split(key)
        loss, metrics = task.loss(key_loss, cfg, params, task.batch(key_batch, cfg, "valid"))
        return loss, jnp.asarray(metrics.get("accuracy", jnp.nan), jnp.float32)

    return jax.tree.map(jnp.mean, map_particles(of_batch, keys))
