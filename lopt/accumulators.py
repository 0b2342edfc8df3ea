"""Running averages of gradients as Adam and Adafactor keep them, and features made of them.

Per leaf: momenta m_1..3, a second moment v, and three factored second moments, each a row mean r_k
and a column mean c_k of the squared gradient. Leaves with two or more axes are factored over their
two longest ones; leaves with fewer have full second moments in place of r_k and c_k.

References:
    [1] Metz et al. 2022, "Practical tradeoffs between memory, compute, and performance in learned
        optimizers", https://arxiv.org/abs/2203.11860
    [2] Shazeer & Stern 2018, "Adafactor", https://arxiv.org/abs/1804.04235
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from lopt import sharding, transform
from lopt.kernels import Fields

MOMENTUM_DECAYS = (0.9, 0.99, 0.999)
RMS_DECAYS = (0.999,)
ADAFACTOR_DECAYS = (0.9, 0.99, 0.999)
NUM_FEATURES = 28


class Accumulators(NamedTuple):
    """Averages of one leaf, a tree of them in every field, or the rates at which they move."""

    momenta: Any
    """Leaves ``[3, *shape]``."""
    second_moment: Any
    """Leaves ``[1, *shape]``."""
    row: Any
    """Leaves ``[3, ...]``: squared gradients averaged over the longest axis, kept with length 1;
    for a leaf with fewer than two axes its full second moments ``[3, *shape]``."""
    col: Any
    """Leaves ``[3, ...]``: averaged over the second-longest axis; ``[3]`` zeros where unused."""


def _rates(decays: tuple[float, ...]) -> np.ndarray:
    return (1.0 - np.array(decays)).astype(np.float32)


RATES = Accumulators(*map(_rates, (MOMENTUM_DECAYS, RMS_DECAYS, *[ADAFACTOR_DECAYS] * 2)))
"""One minus the published decays."""


def init(params: Any) -> Accumulators:
    """Zeros for every leaf."""
    return Accumulators(
        momenta=transform.zeros_like(params, len(MOMENTUM_DECAYS)),
        second_moment=transform.zeros_like(params, len(RMS_DECAYS)),
        row=jax.tree.map(lambda p: _initial_factor(p, longest=True), params),
        col=jax.tree.map(lambda p: _initial_factor(p, longest=False), params),
    )


def update(grads: Any, old: Accumulators, rates: Accumulators) -> Any:
    """Take one gradient into every average.

    Args:
        grads: tree of float32 gradients.
        old: trees like ``grads``.
        rates: one minus the decays, ``[k]`` in every field.

    Returns:
        A tree like ``grads`` with one ``Accumulators`` for each leaf; ``by_field`` turns it around.
    """

    def update_leaf(grad: jax.Array, *fields: jax.Array) -> Accumulators:
        acc = update_factors(grad, Accumulators(*fields), rates)
        momenta, second_moment = move(grad[None], acc[:2], as_fields(rates, grad.ndim))
        return acc._replace(momenta=momenta, second_moment=second_moment)

    return jax.tree.map(update_leaf, grads, *old)


def update_factors(grad: jax.Array, old: Accumulators, rates: Accumulators) -> Accumulators:
    """Take one leaf's gradient into its factored second moments, and only into these."""
    if grad.size == 0:
        return old  # means over no elements would be NaN
    squares = jnp.square(grad)
    rates = as_fields(rates, grad.ndim)
    axes = _factored_axes(grad.shape)
    if axes is None:
        row = transform.moving_averages(old.row, squares[None] + 1e-30, rates.row)
        return old._replace(row=row)
    by_row, by_col = (jnp.mean(squares, axis=axis, keepdims=True)[None] for axis in axes)
    return old._replace(
        row=transform.moving_averages(old.row, by_row + 1e-30, rates.row),
        col=transform.moving_averages(old.col, by_col + 1e-30, rates.col),
    )


def move(grad: Fields, old: tuple[Fields, Fields], rates: Accumulators) -> tuple[Fields, Fields]:
    """The next momenta and second moment; all arguments are fields, see ``lopt.kernels``."""
    momenta, second_moment = old
    return (
        transform.moving_averages(momenta, grad, rates.momenta),
        transform.moving_averages(second_moment, jnp.square(grad), rates.second_moment),
    )


def as_fields(rates: Accumulators, ndim: int) -> Accumulators:
    """Rates ``[k]`` as fields of a leaf with so many axes."""
    return Accumulators(*(transform.constants(x, ndim) for x in rates))


def by_field(leaves: Any, like: Any) -> Accumulators:
    """A tree of ``Accumulators`` as ``Accumulators`` of trees like ``like``."""
    return Accumulators(*(jax.tree.map(lambda _, acc, i=i: acc[i], like, leaves) for i in range(4)))


def row_scale(row: jax.Array, shape: tuple[int, ...]) -> jax.Array | None:
    """What the row means of a leaf of this shape contribute to the scale of its gradients."""
    axes = _factored_axes(shape)
    if axes is None:
        return None
    mean = jnp.mean(row, axis=1 + axes[1], keepdims=True)
    return _safe_rsqrt(row / (mean + 1e-9))


def features(grad: Fields, param: Fields, acc: Accumulators, row_scale: Fields) -> list[Fields]:
    """The 28 features of one leaf in the published order.

    Arguments and results are fields, see ``lopt.kernels``; ``row_scale`` is what the function of
    this name returns.
    """
    each, rsqrt = jax.tree.map, second_moment_rsqrt(acc)
    if row_scale is None:
        row, col = acc.row, acc.row
        by_gradient = each(lambda x: _safe_rsqrt(x + 1e-9), row)
        by_momentum = each(lambda x: jax.lax.rsqrt(x + 1e-6), row)
    else:
        row, col = acc.row, acc.col
        by_gradient = by_momentum = each(lambda x, y: x * _safe_rsqrt(y), row_scale, col)
    return [
        grad,
        param,
        acc.momenta,
        acc.second_moment,
        each(lambda m: m * rsqrt, acc.momenta),
        rsqrt,
        each(lambda scale: grad * scale, by_gradient),
        row,
        col,
        each(lambda x: jax.lax.rsqrt(x + 1e-8), row),
        each(lambda x: jax.lax.rsqrt(x + 1e-8), col),
        each(jnp.multiply, acc.momenta, by_momentum),
    ]


def second_moment_rsqrt(acc: Accumulators) -> jax.Array:
    """One over the root of the second moment, at most 1000."""
    return jax.lax.rsqrt(acc.second_moment + 1e-6)


def _factored_axes(shape: tuple[int, ...]) -> tuple[int, int] | None:
    """The longest and the second-longest axis (of equals, the later counts as longer)."""
    if len(shape) < 2:
        return None
    order = np.argsort(shape, kind="stable")
    return int(order[-1]), int(order[-2])


def _initial_factor(param: Any, *, longest: bool) -> jax.Array:
    axes = _factored_axes(param.shape)
    if axes is None and not longest:
        return jnp.zeros((len(ADAFACTOR_DECAYS),), jnp.float32)
    averaged = None if axes is None else axes[0] if longest else axes[1]
    kept = (1 if axis == averaged else n for axis, n in enumerate(param.shape))
    return sharding.zeros((len(ADAFACTOR_DECAYS), *kept), param)


def _safe_rsqrt(x: jax.Array) -> jax.Array:
    return jax.lax.rsqrt(jnp.maximum(x, 1e-9))
