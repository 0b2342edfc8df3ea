"""The parameters to judge of an optimizer that keeps their average."""

from typing import Any

import jax
import jax.numpy as jnp
import optax

from lopt.schedule_free_mlp import ScheduleFreeMLPState

_STATES = (ScheduleFreeMLPState, optax.contrib.ScheduleFreeState)


def evaluation_params(opt_state: Any, params: Any) -> Any:
    """The average that a schedule-free optimizer keeps of the parameters, else the same.

    Gradients of such an optimizer, and so the training losses, are taken at other points than the
    average, which is what to validate, test and deploy.

    Args:
        opt_state: state of ``schedule_free_mlp`` or of ``optax.contrib.schedule_free``, also inside
            Optax wrappers of any depth that may leave parameters to other optimizers; or any
            other state. A factor that a wrapper puts on the steps is not in it, so that the
            average is only near; the field ``learning_rate`` does the same to the steps.
        params: the parameters.

    Returns:
        A tree like ``params``, of the same dtypes; ``params`` where no average is kept.
    """
    nodes = jax.tree.leaves(opt_state, is_leaf=lambda node: isinstance(node, _STATES))
    for node in nodes:
        if isinstance(node, _STATES):
            params = _average(node, params)
    return params


def _average(state: Any, params: Any) -> Any:
    own = isinstance(state, ScheduleFreeMLPState)

    def average(kept: Any, param: Any) -> Any:
        if _is_masked(kept):
            return param
        y = jnp.asarray(param).astype(jnp.float32)
        x = y - kept if own else (y - (1.0 - state.b1) * kept) / state.b1
        return x.astype(param.dtype)

    return jax.tree.map(average, state.lead if own else state.z, params, is_leaf=_is_masked)


def _is_masked(node: Any) -> bool:
    return isinstance(node, optax.MaskedNode)
