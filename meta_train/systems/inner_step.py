"""One step of training a task with any optimizer; meta-training and evaluations share it."""

from typing import Any

import jax
import optax
from jaxtyping import Array, Float

from lopt.blocks import block_size
from lopt.kernels import update_kernel
from meta_train.particles import execution
from tasks.base import Cfg, Params, Task


def inner_step(
    task: Task,
    optimizer: optax.GradientTransformation,
    cfg: Cfg,
    params: Params,
    opt_state: Any,
    key_batch: jax.Array,
    key_loss: jax.Array,
) -> tuple[Params, Any, Float[Array, ""]]:
    """Take one inner step on a training batch; traced.

    Args:
        task: the task.
        optimizer: gets the training loss as ``value``.
        cfg: member of the task.
        params: parameters.
        opt_state: the optimizer's state.
        key_batch: draws the batch.
        key_loss: for tasks whose loss is random.

    Returns:
        Parameters, state, and the loss of the batch before the step.
    """
    batch = task.batch(key_batch, cfg, "train")
    loss_fn = jax.value_and_grad(task.loss, argnums=2, has_aux=True)
    (loss, _), grads = loss_fn(key_loss, cfg, params, batch)
    update = optax.with_extra_args_support(optimizer).update
    chosen = execution()
    with block_size(chosen.block_size), update_kernel(chosen.update_kernel):
        updates, opt_state = update(grads, opt_state, params, value=loss)
    return optax.apply_updates(params, updates), opt_state, loss
