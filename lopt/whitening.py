"""Gradients of a tensor whose slices along its short axes are made nearly uncorrelated.

For a gradient G of shape [m, n] averages over the last steps are kept of

    L = G G' / n  of shape [m, m],   R = G' G / m  of shape [n, n],

and P G Q is returned, where P is near (L / l + damping I)^(-1/2), l the mean of the diagonal of L,
and Q likewise of R [1]. A small damping whitens the gradient along rare directions too; a large one
leaves it as it is, but for a factor. A tensor of more axes has one such matrix for each of them;
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

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from lopt import sharding

DECAY = 0.99
MAX_SIDE = 64
"""Longer axes are not whitened, because that would cost more than the gradient itself."""
MAX_TURN = 0.7
"""Bound on the sum of a vector's turns in one step, below which Newton's iteration converges."""
SMALLEST = 1e-30
"""A mean square below this counts as zero."""


class Side(NamedTuple):
    """What is kept for one axis of a tensor."""

    covariance: Float[Array, "n n"]
    """L; it starts at zero."""
    basis: Float[Array, "n n"]
    """Orthonormal columns; those of the identity at first."""


Sides = dict[str, Side]
"""By the axis of the folded shape, as far as axes are whitened."""


def init(param: Any) -> Sides:
    """The state for one tensor."""
    shape = _folded_shape(param)
    return {
        str(axis): Side(jnp.zeros((n, n), jnp.float32), jnp.eye(n, dtype=jnp.float32))
        for axis, n in enumerate(shape)
        if len(shape) > 1 and 1 < n <= MAX_SIDE
    }


def whiten(
    grad: Float[Array, "..."],
    sides: Sides,
    damping: Float[Array, ""],
    correction: Float[Array, ""],
) -> tuple[Float[Array, "..."], Sides]:
    """The whitened gradient, of the same shape, and the next state.

    Args:
        grad: of one tensor, finite.
        sides: its state.
        damping: positive, relative to the mean square of the gradient.
        correction: one over the sum of the weights in the averages, for their start at zero.
    """
    if not sides:
        return grad, sides
    folded = sharding.whole(grad).reshape(_folded_shape(grad))
    whitened, new = folded, {}
    for name, side in sides.items():
        rows = jnp.moveaxis(folded, int(name), 0).reshape(len(side.basis), -1)
        root, new[name] = _follow(side, rows @ rows.T / rows.shape[1], damping, correction)
        turned = jnp.tensordot(root, whitened, axes=(1, int(name)))
        whitened = jnp.moveaxis(turned, 0, int(name))
    return sharding.split_like(whitened.reshape(grad.shape), grad), new


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


def _follow(
    side: Side, gram: Float[Array, "n n"], damping: Float[Array, ""], correction: Float[Array, ""]
) -> tuple[Float[Array, "n n"], Side]:
    """P, and the state after one more gradient, whose G G' / n is given."""
    covariance, basis = side.covariance + (1.0 - DECAY) * (gram - side.covariance), side.basis
    mean = correction * jnp.trace(covariance) / len(gram)
    turned = basis.T @ (covariance * (correction / jnp.where(mean > SMALLEST, mean, 1.0))) @ basis
    diagonal = jnp.diagonal(turned)
    inverse = jax.lax.rsqrt(jnp.maximum(diagonal, 0.0) + damping)
    root = (basis * inverse[None, :]) @ basis.T
    gaps = diagonal[None, :] - diagonal[:, None]
    turns = turned * gaps / (jnp.square(gaps) + 2.0 * jnp.square(turned) + SMALLEST)
    most = jnp.max(jnp.sum(jnp.abs(turns), axis=1))
    basis = basis + basis @ (turns * (MAX_TURN / jnp.maximum(most, MAX_TURN)))
    return root, Side(covariance, 1.5 * basis - 0.5 * basis @ (basis.T @ basis))
