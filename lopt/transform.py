"""Small pieces that every learned optimizer's ``init`` and ``update`` need."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int


def zero_count() -> Int[Array, ""]:
    """The step counter before the first step."""
    return jnp.zeros((), jnp.int32)


def zeros_like(params: Any, *leading: int) -> Any:
    """Float32 zeros ``[*leading, *shape]`` for every leaf, whatever the leaves' own dtype."""
    return jax.tree.map(lambda p: jnp.zeros((*leading, *p.shape), jnp.float32), params)


def to_float32(tree: Any) -> Any:
    """Every leaf as float32."""
    return jax.tree.map(lambda x: jnp.asarray(x).astype(jnp.float32), tree)


def moving_averages(old: jax.Array, new: jax.Array, rates: Any) -> jax.Array:
    """Averages of one leaf over several time scales: ``(1 - rates) * old + rates * new``.

    Args:
        old: ``[k, *shape]``.
        new: ``[*shape]``.
        rates: ``[k]``, one minus the decays.
    """
    rates = rates.reshape(-1, *[1] * new.ndim)
    return (1.0 - rates) * old + rates * new[None]


def require_params(name: str, params: Any) -> None:
    """Raise a clear error where ``update`` was called without the parameters."""
    if params is None:
        raise ValueError(
            f"{name} looks at the parameters, but update() was called with params=None; call "
            "update(grads, state, params)."
        )


def check_widths(field: str, widths: Sequence[int]) -> tuple[int, ...]:
    """Layer widths as a tuple, or a clear error."""
    checked = tuple(widths)
    if not checked or any(not isinstance(w, int) or w < 1 for w in checked):
        raise ValueError(
            f"{field} = {widths!r} must hold one positive integer per hidden layer, such as "
            "(32, 32)."
        )
    return checked
