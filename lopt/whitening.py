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
from lopt.products import transposed

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
    grads: Any, states: Any, damping: Float[Array, ""], correction: Float[Array, ""]
) -> tuple[Any, Any]:
    """The whitened gradients, of the same shapes, and the next states.

    All axes of one length, whosever they are, go through the same products, side by side.

    Args:
        grads: tree of gradients, finite.
        states: the state of every tensor, a tree like the gradients.
        damping: positive, relative to the mean square of the gradient.
        correction: one over the sum of the weights in the averages, for their start at zero.
    """
    leaves, structure = jax.tree.flatten(grads)
    shapes = [_folded_shape(leaf) for leaf in leaves]
    sides = [(i, axis, n) for i, shape in enumerate(shapes) for axis, n in _short_axes(shape)]
    folded = {i: sharding.whole(leaves[i]).reshape(shapes[i]) for i, _, _ in sides}
    old = dict(zip(sides, _unpack(structure.flatten_up_to(states), sides), strict=True))
    roots, new = {}, {}
    for length in dict.fromkeys(n for _, _, n in sides):
        alike = [side for side in sides if side[2] == length]
        kept = jnp.stack([old[side] for side in alike], axis=1)
        grams = jnp.stack([_gram(folded[i], axis) for i, axis, _ in alike])
        root, kept = _follow(kept, grams, damping, correction)
        roots |= {side: root[k] for k, side in enumerate(alike)}
        new |= {side: kept[:, k] for k, side in enumerate(alike)}
    whitened, states = list(leaves), structure.flatten_up_to(states)
    for i, white in folded.items():
        own = [side for side in sides if side[0] == i]
        for side in own:
            white = _multiply(roots[side], white, side[1])
        whitened[i] = sharding.split_like(white.reshape(leaves[i].shape), leaves[i])
        states[i] = jnp.concatenate([new[side].reshape(2, -1) for side in own], axis=1)
    return structure.unflatten(whitened), structure.unflatten(states)


def _unpack(states: list[Array], sides: list[tuple[int, int, int]]) -> list[Array]:
    """Covariance and basis ``[2, n, n]`` of every side, one after the other in a tensor's state."""
    unpacked, start = [], dict.fromkeys(range(len(states)), 0)
    for i, _, n in sides:
        part = states[i][:, start[i] : start[i] + n * n]
        unpacked.append(part.reshape(2, n, n))
        start[i] += n * n
    return unpacked


def _gram(x: Float[Array, "..."], axis: int) -> Float[Array, "n n"]:
    """Mean products of the slices along an axis; n or more elements of each are enough.

    Nothing is transposed, which would cost more than the products.
    """
    n, after = x.shape[axis], math.prod(x.shape[axis + 1 :])
    stride = max(x.size // (n * n), 1)
    if after == 1:
        some = x.reshape(-1, n)[::stride]
        return transposed(some) @ some / len(some)
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
    state: Float[Array, "2 sides n n"],
    grams: Float[Array, "sides n n"],
    damping: Float[Array, ""],
    correction: Float[Array, ""],
) -> tuple[Float[Array, "sides n n"], Float[Array, "2 sides n n"]]:
    """P of some sides, and their L and basis after one more gradient, whose G G' / n are given."""
    covariance, basis = state
    covariance = covariance + (1.0 - DECAY) * (grams - covariance)
    mean = jnp.mean(_diagonal(covariance), axis=1)[:, None, None] * correction
    scaled = covariance * (correction / jnp.where(mean > SMALLEST, mean, 1.0))
    basis_transposed = transposed(basis)
    turned = basis_transposed @ scaled @ basis
    diagonal = _diagonal(turned)
    inverse = jax.lax.rsqrt(jnp.maximum(diagonal, 0.0) + damping)
    root = (basis * inverse[:, None, :]) @ basis_transposed
    gaps = diagonal[:, None, :] - diagonal[:, :, None]
    turns = turned * gaps / (jnp.square(gaps) + 2.0 * jnp.square(turned) + SMALLEST)
    most = jnp.max(jnp.sum(jnp.abs(turns), axis=2), axis=1)[:, None, None]
    basis = basis + basis @ (turns * (MAX_TURN / jnp.maximum(most, MAX_TURN)))
    basis = 1.5 * basis - 0.5 * basis @ (transposed(basis) @ basis)
    return root, jnp.stack([covariance, basis])


def _diagonal(matrices: Float[Array, "sides n n"]) -> Float[Array, "sides n"]:
    """By a mask, because a gather is slow on CPU."""
    mask = np.eye(matrices.shape[1], dtype=bool)[None]
    return jnp.sum(jnp.where(mask, matrices, 0.0), axis=1)
