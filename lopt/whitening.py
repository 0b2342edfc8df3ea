"""Gradients of a tensor whose slices along its short axes are made nearly uncorrelated.

For a gradient G of shape [m, n] averages over the last steps are kept of

    L = G G' / n  of shape [m, m],   R = G' G / m  of shape [n, n],

and P G Q is returned, where P is near (L / l + damping I)^(-1/2), l the mean of the diagonal of L,
and Q likewise of R [1]. A small damping whitens the gradient along rare directions too; a large one
leaves it as it is, but for a factor. Where a gradient has many more columns than rows, every k-th
of them serves for L, about m in all. A tensor of more axes has one such matrix for each of them;
leading axes whose product is short, such as those of a kernel's window, count as one. Vectors are
left as they are.

P is made of an orthonormal basis, in which L becomes nearly diagonal, and of that diagonal. The
basis follows L from step to step by matrix products alone, without a decomposition: every pair of
its vectors turns towards the two directions in which they are uncorrelated, as in Jacobi's method,
all pairs at once, and one step of Newton's iteration keeps it orthonormal [2].

References:
    [1] Gupta, Koren and Singer 2018, "Shampoo", https://arxiv.org/abs/1802.09568
    [2] Higham 2008, "Functions of Matrices", section 8.3
"""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from lopt import sharding

DECAY = 0.99
MAX_SIDE = 64
"""Longer axes are not whitened, because that would cost more than the gradient itself."""
MAX_TURN = 0.7
"""Bound on the sum of a vector's turns in one step, below which Newton's iteration converges."""
SMALLEST = 1e-30
"""A mean square below this counts as zero."""


def init(param: Any) -> Float[Array, "2 numbers"]:
    """The state for one tensor: L of every short axis, then the bases, all of them flattened.

    Without a short axis it is two numbers that mean nothing, because Orbax stores no empty arrays.
    """
    lengths = [n for _, n in _short_axes(_folded_shape(param))]
    bases = np.concatenate([np.zeros(0 if lengths else 1), *(np.eye(n).ravel() for n in lengths)])
    return jnp.asarray(np.stack([np.zeros_like(bases), bases]), jnp.float32)


def whiten(
    grad: Float[Array, "..."],
    state: Float[Array, "2 numbers"],
    damping: Float[Array, ""],
    correction: Float[Array, ""],
) -> tuple[Float[Array, "..."], Float[Array, "2 numbers"]]:
    """The whitened gradient, of the same shape, and the next state.

    Args:
        grad: of one tensor, finite.
        state: its state.
        damping: positive, relative to the mean square of the gradient.
        correction: one over the sum of the weights in the averages, for their start at zero.
    """
    shape = _folded_shape(grad)
    axes = _short_axes(shape)
    if not axes:
        return grad, state
    folded = sharding.whole(grad).reshape(shape)
    ends = np.cumsum([n * n for _, n in axes])
    whitened, new = folded, []
    for (axis, n), kept in zip(axes, jnp.split(state, ends[:-1], axis=1), strict=True):
        covariance, basis = kept.reshape(2, n, n)
        gram = _gram(folded, axis)
        root, covariance, basis = _follow(covariance, basis, gram, damping, correction)
        whitened = _multiply(root, whitened, axis)
        new.append(jnp.stack([covariance, basis]).reshape(2, -1))
    whitened = sharding.split_like(whitened.reshape(grad.shape), grad)
    return whitened, jnp.concatenate(new, axis=1)


def _gram(x: Float[Array, "..."], axis: int) -> Float[Array, "n n"]:
    """Mean products of the slices along an axis; n or more elements of each are enough.

    Nothing is transposed, which would cost more than the products.
    """
    n, after = x.shape[axis], math.prod(x.shape[axis + 1 :])
    stride = max(x.size // (n * n), 1)
    if after == 1:
        some = x.reshape(-1, n)[::stride]
        return some.T @ some / len(some)
    slices = x.reshape(-1, n, after)[:, :, ::stride]
    return jnp.sum(slices @ jnp.matrix_transpose(slices), axis=0) / (slices.size // n)


def _multiply(matrix: Float[Array, "n n"], x: Float[Array, "..."], axis: int) -> Array:
    """A symmetric matrix times the tensor along an axis, likewise."""
    n, after = x.shape[axis], math.prod(x.shape[axis + 1 :])
    if after == 1:
        return (x.reshape(-1, n) @ matrix).reshape(x.shape)
    slices = x.reshape(-1, n, after)
    return (jnp.broadcast_to(matrix, (len(slices), n, n)) @ slices).reshape(x.shape)


def _folded_shape(x: Any) -> tuple[int, ...]:
    """The shape with leading axes multiplied as long as they make a short one."""
    *leading, last = x.shape or (1,)
    folded = [1]
    for n in leading:
        if folded[-1] * n <= MAX_SIDE:
            folded[-1] *= n
        else:
            folded.append(n)
    return (*(n for n in folded if n > 1), last)


def _short_axes(shape: tuple[int, ...]) -> list[tuple[int, int]]:
    """The axes to whiten, and their lengths."""
    axes = [(axis, n) for axis, n in enumerate(shape) if 1 < n <= MAX_SIDE]
    return axes if len(shape) > 1 else []


def _follow(
    covariance: Float[Array, "n n"],
    basis: Float[Array, "n n"],
    gram: Float[Array, "n n"],
    damping: Float[Array, ""],
    correction: Float[Array, ""],
) -> tuple[Float[Array, "n n"], ...]:
    """P, L and the orthonormal basis after one more gradient, whose G G' / n is given."""
    covariance = covariance + (1.0 - DECAY) * (gram - covariance)
    mean = correction * jnp.trace(covariance) / len(gram)
    turned = basis.T @ (covariance * (correction / jnp.where(mean > SMALLEST, mean, 1.0))) @ basis
    diagonal = jnp.diagonal(turned)
    inverse = jax.lax.rsqrt(jnp.maximum(diagonal, 0.0) + damping)
    root = (basis * inverse[None, :]) @ basis.T
    gaps = diagonal[None, :] - diagonal[:, None]
    turns = turned * gaps / (jnp.square(gaps) + 2.0 * jnp.square(turned) + SMALLEST)
    most = jnp.max(jnp.sum(jnp.abs(turns), axis=1))
    basis = basis + basis @ (turns * (MAX_TURN / jnp.maximum(most, MAX_TURN)))
    return root, covariance, 1.5 * basis - 0.5 * basis @ (basis.T @ basis)
