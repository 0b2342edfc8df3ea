"""What users put on top of a learned optimizer: weight decay, a factor on the step, a kernel.

    p <- p + m_t (step - weight_decay * p)

with the learning-rate multiplier m_t, a number or an Optax schedule. Gradients are clipped by
putting Optax's clipping before: ``optax.chain(optax.clip_by_global_norm(1.0), with_options(tx))``.
"""

import math
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
import optax

from lopt import kernels


def with_options(
    tx: Any,
    *,
    learning_rate_multiplier: float | int | jax.Array | optax.Schedule = 1.0,
    weight_decay: float | int | jax.Array = 0.0,
    weight_decay_mask: Any | Callable[[Any], Any] | None = None,
    update_kernel: str = "auto",
) -> optax.GradientTransformationExtraArgs:
    """Add decoupled weight decay and a learning-rate multiplier to an optimizer.

    Args:
        tx: a learned optimizer, or any other that returns the step to add.
        learning_rate_multiplier: factor on the step and on the decay, or an Optax schedule that
            gives it for the number of steps taken.
        weight_decay: fraction of each parameter that one step takes away where the multiplier is
            1. A learned optimizer has no learning rate that would scale it, so it is the product
            of what AdamW calls learning rate and weight decay, mostly below 1e-4.
        weight_decay_mask: tree of booleans like the parameters, or a prefix of it, or a function
            from the parameters to one; true where the decay applies. By default everywhere.
        update_kernel: what updates large tensors, "jnp" or "pallas"; "auto" leaves the choice to
            ``lopt.kernels``, whose notes say what a kernel takes.

    Returns:
        The optimizer, which passes extra arguments such as ``value`` on to ``tx``; ``tx`` as it is
        where no option says otherwise.

    Raises:
        TypeError: ``tx`` is no Optax optimizer.
        ValueError: a multiplier or a decay that is negative or not finite, a mask without a decay,
            or an unknown kernel.
    """
    if not isinstance(tx, optax.GradientTransformation):
        raise TypeError(
            f"tx is of type {type(tx).__name__}, but must be an Optax optimizer; a rule of "
            "lopt.LOPTS becomes one by rule.bind(theta), a bundle by lopt.load(path)."
        )
    if not callable(learning_rate_multiplier):
        _check_number("learning_rate_multiplier", learning_rate_multiplier)
    _check_number("weight_decay", weight_decay)
    without_decay = _is(weight_decay, 0.0)
    if without_decay and weight_decay_mask is not None:
        raise ValueError(
            "weight_decay_mask is given, but weight_decay = 0; give a weight_decay above 0."
        )
    pieces = [tx]
    if not without_decay:
        pieces.append(optax.add_decayed_weights(-weight_decay, weight_decay_mask))
    if callable(learning_rate_multiplier):
        pieces.append(optax.scale_by_schedule(learning_rate_multiplier))
    elif not _is(learning_rate_multiplier, 1.0):
        pieces.append(optax.scale(learning_rate_multiplier))
    if update_kernel != "auto":
        pieces[0] = _with_kernel(tx, update_kernel)
    if len(pieces) == 1:
        return optax.with_extra_args_support(pieces[0])
    return optax.chain(*pieces)


def _with_kernel(
    tx: optax.GradientTransformation, name: str
) -> optax.GradientTransformationExtraArgs:
    kernels.check(name)
    tx = optax.with_extra_args_support(tx)

    def update(updates: Any, state: Any, params: Any = None, **extra_args: Any) -> tuple[Any, Any]:
        with kernels.update_kernel(name):
            return tx.update(updates, state, params, **extra_args)

    return optax.GradientTransformationExtraArgs(tx.init, update)


def _is(value: Any, number: float) -> bool:
    """Whether a value is this number; arrays, whose value may not be known yet, never are."""
    return isinstance(value, int | float | np.number) and value == number


def _check_number(name: str, value: Any) -> None:
    if isinstance(value, jax.Array):
        return
    number = isinstance(value, int | float | np.number) and not isinstance(value, bool)
    if not number or not 0 <= value < math.inf:
        raise ValueError(f"{name} = {value!r} must be a finite number of at least 0.")
