"""Optimal low-rank approximation of real-time recurrent learning.

[1] Benzing, Gauy, Mujika, Martinsson and Steger, "Optimal Kronecker-Sum Approximation of Real Time
    Recurrent Learning", ICML 2019, arXiv:1902.03993.
[2] Tallec and Ollivier, "Unbiased Online Recurrent Optimization", ICLR 2018, arXiv:1702.05043.
"""

import dataclasses
from collections.abc import Callable
from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, Int

from meta_train.checks import check_sizes
from meta_train.estimators.clocks import Group, Keys, TruncatedEstimator
from meta_train.estimators.forward import advance, begin, num_floats
from meta_train.estimators.pairs import normal
from meta_train.groups import Std
from meta_train.types import Estimate, State, Theta, UnrolledSystem
from meta_train.unroll import Clock, empty_state, unroll

_SKETCH, _REDUCTION = 0x0C5E, 0x0C5F
"""Folded into the key of an inner step, whose other uses are the system's."""

Factors = tuple[Float[Array, "S r"], Float[Array, "P r"]]
"""Of a matrix left right'."""


class LowRank(NamedTuple):
    """A system's state, and a random matrix whose expectation is ds/dtheta."""

    state: State
    left: Float[Array, "S r"]
    right: Float[Array, "P r"]
    """The matrix is left right'."""


@dataclasses.dataclass(frozen=True)
class OK(TruncatedEstimator):
    """RTRL with an approximation of rank r, the best unbiased one, in the place of its matrix.

    With J_t ~ left right' of r columns, F_t = ds_t/dtheta at a given s_{t-1}, and r random
    orthogonal directions W of theta, scaled so that E[W W'] = I, drawn anew at each inner step,

        left right' <- reduce([ds_t/ds_{t-1} left, F_t W] [right, W]')
        g = C / K * mean over particles of the sum of live right left' dl_t/ds_{t-1} + dl_t/dtheta,
        C = K E[ceil(T/K)] / E[T]

    where theta has more numbers than the state, W are directions of the state, and F_t' W and W
    take the places of W and F_t W. ``reduce`` makes r products of 2 r: of the singular value
    decomposition it keeps product j with probability p_j = min(1, c d_j), sum p_j = r, and divides
    it by p_j. That is unbiased, and no unbiased matrix of rank r has a smaller variance: (sum of
    d)^2 / k - sum of d^2 over the singular values d that are not certain to stay, k of which do.
    At theta + eps with eps ~ N(0, sigma^2 I) of each truncation, see ``RTRL``.

    In [1] the sum is one of Kronecker products, and F_t, which is such a product for the weights of
    a recurrent layer, enters exactly. F_t of any other system is none, so here products are outer
    ones and F_t is seen through W; [1] mixes singular values by signs and rotations, which has the
    variance of drawing them. With r = 1 it is close to UORO [2], with r = min(S, P) it is RTRL.

    Args:
        rank: r, at most min(S, P) is used; S floating-point numbers of the state.

    Bias: none with respect to J; theta moving within an episode adds a lag.
    Variance: below that of UORO with as many derivatives in all, and gone where r is min(S, P).
    Cost per meta-step: N K system steps and derivatives of each in 2 r + 1 directions, and
    4 (S + P) r^2 multiplications; N (state + (S + P) r) floats.
    """

    unbiased: ClassVar[bool] = True

    num_pairs: int = 8
    std: Std = 0.0
    rank: int = 4
    num_particles: int | None = dataclasses.field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        check_sizes(self, takes_zero_std=True)
        if self.rank < 1:
            raise ValueError(f"rank = {self.rank} must be at least 1.")

    @property
    def num_groups(self) -> int:
        return self.num_particles or 2 * self.num_pairs

    def init(self, system: UnrolledSystem, key: jax.Array, theta: Theta) -> Group:
        state, size = empty_state(system, theta), len(ravel_pytree(theta)[0])
        rank = min(self.rank, num_floats(state), size)
        left, right = jnp.zeros((num_floats(state), rank)), jnp.zeros((size, rank))
        return self.clocks.start(key, LowRank(state, left, right))

    def estimate(
        self, system: UnrolledSystem, key: jax.Array, theta: Theta, state: Group
    ) -> tuple[Estimate, Group]:
        flat, unravel = ravel_pytree(theta)

        def truncation(keys: Keys, clock: Clock, carry: LowRank) -> tuple[LowRank, Array, Array]:
            at = flat + normal(keys.perturbation, theta, self.std)

            def new() -> LowRank:
                first = begin(system, keys.init, unravel, clock)
                values, push, state = jax.linearize(first, at, has_aux=True)
                pull = jax.linear_transpose(push, at)
                rank = carry.left.shape[1]
                shape = len(values), len(at)
                key_sketch = jax.random.fold_in(keys.init, _SKETCH)
                return LowRank(state, *sketch(key_sketch, push, lambda x: pull(x)[0], shape, rank))

            def step(key: jax.Array, carry: LowRank) -> tuple[LowRank, tuple[Array, Array]]:
                values, one = advance(system, key, unravel, carry.state)
                _, push, (state, loss) = jax.linearize(one, values, at, has_aux=True)
                _, pull, _ = jax.vjp(lambda flat: one(values, flat), at, has_aux=True)
                moved = jax.vmap(lambda x: push(x, jnp.zeros_like(at)), 1, 1)(carry.left)
                (of_loss,) = pull(jnp.append(jnp.zeros_like(values), 1.0))
                shape, rank = (len(values), len(at)), carry.left.shape[1]
                fresh = sketch(
                    jax.random.fold_in(key, _SKETCH),
                    lambda x: push(jnp.zeros_like(values), x)[:-1],
                    lambda x: pull(jnp.append(x, 0.0))[0],
                    shape,
                    rank,
                )
                factors = jax.tree.map(
                    lambda *x: jnp.concatenate(x, axis=1), (moved[:-1], carry.right), fresh
                )
                key_reduction = jax.random.fold_in(key, _REDUCTION)
                grad = carry.right @ moved[-1] + of_loss
                return LowRank(state, *reduce(key_reduction, factors, rank)), (loss, grad)

            carry = jax.lax.cond(clock.starts, new, lambda: carry)
            carry, (loss, grad) = unroll(step, keys.unroll, carry, clock)
            return carry, grad, loss[None]

        return self.clocks.estimate(key, theta, state, truncation)


def sketch(
    key: jax.Array,
    push: Callable[[Float[Array, " P"]], Float[Array, " S"]],
    pull: Callable[[Float[Array, " S"]], Float[Array, " P"]],
    shape: tuple[int, int],
    rank: int,
) -> Factors:
    """Factors of rank r whose product has the matrix F [S, P] as its expectation.

    Args:
        key: draws the directions.
        push: multiplies F by a vector.
        pull: multiplies a vector by F.
        shape: (S, P).
        rank: r, at most min(S, P), where the product is F itself.
    """
    size = min(shape)
    basis = jnp.linalg.qr(jax.random.normal(key, (size, rank)))[0] * (size / rank) ** 0.5
    if shape[0] < shape[1]:
        return basis, jax.vmap(pull, 1, 1)(basis)
    return jax.vmap(push, 1, 1)(basis), basis


def reduce(
    key: jax.Array, factors: tuple[Float[Array, "S columns"], Float[Array, "P columns"]], rank: int
) -> Factors:
    """Factors of rank r that have the product of those given as their expectation.

    Args:
        key: draws the singular values that stay.
        factors: of more columns.
        rank: r.
    """
    left, right = map(jnp.linalg.qr, factors)
    u, values, v = jnp.linalg.svd(left.R @ right.R.T, full_matrices=False)
    chosen, probabilities = _draw(key, values, rank)
    # Rounding may choose what has no probability, and is 0.
    scale = jnp.sqrt(values[chosen] / jnp.maximum(probabilities[chosen], 1e-30))[None]
    return left.Q @ (u[:, chosen] * scale), right.Q @ (v[chosen].T * scale)


def _draw(
    key: jax.Array, values: Float[Array, " values"], rank: int
) -> tuple[Int[Array, " rank"], Float[Array, " values"]]:
    """Draw ``rank`` of some values, given from large to small, by systematic sampling.

    Returns:
        Which, and the probabilities with which each is drawn: in proportion to it, at most 1.
    """
    count = len(values)
    if count <= rank:
        return jnp.arange(count), jnp.ones(count)
    # With the m largest certain, the others share rank - m: the first m at which none exceeds 1.
    left = rank - jnp.arange(rank)
    tails = jnp.cumsum(values[::-1])[::-1][:rank]
    certain = jnp.argmax(values[:rank] * left <= tails)
    shares = values / jnp.where(tails[certain] > 0, tails[certain], 1.0)
    equal = jnp.full(count, 1.0) / (count - certain)
    shares = jnp.where(tails[certain] > 0, shares, equal) * left[certain]
    probabilities = jnp.where(jnp.arange(count) < certain, 1.0, shares)
    points = jax.random.uniform(key) + jnp.arange(rank)
    chosen = jnp.searchsorted(jnp.cumsum(probabilities), points, side="right")
    return jnp.minimum(chosen, count - 1), probabilities
