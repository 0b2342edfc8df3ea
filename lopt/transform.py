"""What every learned optimizer shares on its way to being an Optax optimizer."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int

from lopt import sharding


def make_transformation(
    name: str,
    init_state: Callable[[Any], Any],
    step: Callable[..., tuple[Any, Any]],
    *,
    needs_params: bool,
    uses_value: bool = False,
) -> optax.GradientTransformationExtraArgs:
    """Wrap a rule that thinks in float32 into Optax's interface.

    Args:
        name: the rule's name, for error messages.
        init_state: parameters -> state.
        step: (float32 gradients, state, parameters) -> (float32 step to add, next state). Where
            the caller passes no parameters, the gradients take their place.
        needs_params: whether to refuse ``params=None``.
        uses_value: whether ``step`` takes the training loss as a fourth argument: a float32
            scalar, or None where the caller passes no ``value``.

    Returns:
        The optimizer. It ignores all extra arguments but ``value``, and returns steps in the
        parameters' dtype, rounded once.
    """

    def init(params: Any) -> Any:
        return sharding.join(init_state(params), params)

    def update(
        updates: Any, state: Any, params: Any = None, *, value: Any = None, **extra_args: Any
    ) -> tuple[Any, Any]:
        del extra_args
        if params is None and needs_params:
            raise ValueError(
                f"{name} looks at the parameters, but update() was called with params=None; call "
                "update(grads, state, params)."
            )
        like = updates if params is None else params
        grads = jax.tree.map(lambda g: jnp.asarray(g).astype(jnp.float32), updates)
        inputs = (grads, state, like)
        steps, state = step(*inputs, _read_value(value)) if uses_value else step(*inputs)
        return jax.tree.map(lambda s, p: s.astype(p.dtype), steps, like), state

    return optax.GradientTransformationExtraArgs(init, update)


def _read_value(value: Any) -> Float[Array, ""] | None:
    """The training loss in float32."""
    if value is not None and jnp.shape(value) != ():
        raise ValueError(
            f"value has shape {jnp.shape(value)}, but must be the training loss, a scalar; leave "
            "it out where there is none."
        )
    return None if value is None else jnp.asarray(value).astype(jnp.float32)


def zero_count() -> Int[Array, ""]:
    """The step counter before the first step."""
    return jnp.zeros((), jnp.int32)


def increment(count: Int[Array, ""]) -> Int[Array, ""]:
    """The next count, which stays at the largest integer instead of overflowing."""
    return jnp.asarray(optax.safe_increment(count))


def zeros_like(params: Any, *leading: int) -> Any:
    """Float32 zeros ``[*leading, *shape]`` for every leaf, whatever the leaves' own dtype.

    They are split over devices like the leaf.
    """
    return jax.tree.map(lambda p: sharding.zeros((*leading, *p.shape), p), params)


def moving_averages(old: jax.Array, new: jax.Array, rates: Any) -> jax.Array:
    """Averages of one leaf over several time scales: ``(1 - rates) * old + rates * new``.

    Args:
        old: ``[k, *shape]``.
        new: ``[*shape]``.
        rates: ``[k]``, one minus the decays.
    """
    rates = rates.reshape(-1, *[1] * new.ndim)
    return (1.0 - rates) * old + rates * new[None]


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
