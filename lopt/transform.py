"""Small parts that many rules share: counters, moving averages, checks of fields."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int

from lopt import sharding
from lopt.base import NumSteps


def zero_count() -> Int[Array, ""]:
    """The step counter before the first step."""
    return jnp.zeros((), jnp.int32)


def increment(count: Int[Array, ""]) -> Int[Array, ""]:
    """The next count, which stays at the largest integer instead of overflowing."""
    return jnp.asarray(optax.safe_increment(count))


def progress(count: Int[Array, ""], num_steps: NumSteps) -> Float[Array, ""]:
    """The fraction t / T, which is exactly 1 at t = T, of a rule with ``needs_num_steps``."""
    assert num_steps is not None  # bind refuses it
    t, end = count.astype(jnp.float32), jnp.asarray(num_steps, jnp.float32)
    # Compilers turn the division by a constant into a product with its rounded inverse.
    return jnp.where(t == end, 1.0, t / end)


def zeros_like(params: Any, *leading: int) -> Any:
    """Float32 zeros ``[*leading, *shape]`` for every leaf, whatever the leaves' own dtype.

    They are split over devices like the leaf.
    """
    return jax.tree.map(lambda p: sharding.zeros((*leading, *p.shape), p), params)


def moving_averages(old: Any, new: jax.Array, rates: Any) -> Any:
    """Averages over k time scales, ``(1 - rates) * old + rates * new``, for ``lopt.kernels`` too.

    Args:
        old: a field of k numbers per parameter.
        new: a field of one.
        rates: one minus the decays, a field like ``constants`` makes.
    """
    return jax.tree.map(lambda x, rate: (1.0 - rate) * x + rate * new, old, rates)


def constants(values: Any, ndim: int) -> Any:
    """Numbers ``[k]`` as a field of a tensor with so many axes, on none of which they depend."""
    return values.reshape(-1, *[1] * ndim)


def check_widths(field: str, widths: Sequence[int], smallest: int = 1) -> tuple[int, ...]:
    """Layer widths as a tuple, or a clear error."""
    checked = tuple(widths)
    if not checked or any(not isinstance(w, int) or w < smallest for w in checked):
        kind = "positive integer" if smallest == 1 else f"integer of at least {smallest}"
        raise ValueError(
            f"{field} = {widths!r} must hold one {kind} per hidden layer, such as (32, 32)."
        )
    return checked


def check_positive(field: str, number: int) -> None:
    """A clear error for what is no positive integer."""
    if not isinstance(number, int) or number < 1:
        raise ValueError(f"{field} = {number!r} must be a positive integer.")
