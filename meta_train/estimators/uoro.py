"""Unbiased online recurrent optimization.

[1] Tallec and Ollivier, "Unbiased Online Recurrent Optimization", ICLR 2018, arXiv:1702.05043.
"""

import dataclasses
from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float

from meta_train.checks import check_sizes
from meta_train.estimators.clocks import Group, Keys, TruncatedEstimator
from meta_train.estimators.forward import advance, begin, num_floats
from meta_train.estimators.pairs import normal
from meta_train.groups import Std
from meta_train.types import Estimate, State, Theta, UnrolledSystem
from meta_train.unroll import Clock, empty_state, unroll

_SIGNS = 0x5163
"""Folded into the key of an inner step, whose other uses are the system's."""
_SMALLEST = 1e-7
"""Added to norms, so that a part that is zero leaves the other as it is."""


class RankOne(NamedTuple):
    """A system's state, and a random matrix whose expectation is ds/dtheta."""

    state: State
    left: Float[Array, " S"]
    right: Float[Array, " P"]
    """The matrix is left times right."""


@dataclasses.dataclass(frozen=True)
class UORO(TruncatedEstimator):
    """RTRL with a random approximation of rank one in the place of the matrix of influences.

    With signs nu drawn anew at each inner step and J_t ~ left right',

        left  <- rho_0 (ds_t/ds_{t-1} left) + rho_1 nu
        right <- right / rho_0 + nu' ds_t/dtheta / rho_1
        g = C / K * mean over particles of the sum of live (dl_t/ds_{t-1} left) right + dl_t/dtheta,
        C = K E[ceil(T/K)] / E[T]

    where rho_0 and rho_1 make both factors of each product equally long. At theta + eps with eps ~
    N(0, sigma^2 I) of each truncation, see ``RTRL``.

    Bias: none with respect to J; theta moving within an episode adds a lag.
    Variance: large, and growing with the size of the state and the steps that are remembered.
    Cost per meta-step: N K system steps, one directional derivative and two vector-Jacobian
    products of each; N (2 state + P) floats.
    """

    unbiased: ClassVar[bool] = True

    num_pairs: int = 8
    std: Std = 0.0
    num_particles: int | None = dataclasses.field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        check_sizes(self, takes_zero_std=True)

    @property
    def num_groups(self) -> int:
        return self.num_particles or 2 * self.num_pairs

    def init(self, system: UnrolledSystem, key: jax.Array, theta: Theta) -> Group:
        state, flat = empty_state(system, theta), ravel_pytree(theta)[0]
        return self.clocks.start(key, RankOne(state, jnp.zeros(num_floats(state)), 0 * flat))

    def estimate(
        self, system: UnrolledSystem, key: jax.Array, theta: Theta, state: Group
    ) -> tuple[Estimate, Group]:
        flat, unravel = ravel_pytree(theta)

        def truncation(keys: Keys, clock: Clock, carry: RankOne) -> tuple[RankOne, Array, Array]:
            at = flat + normal(keys.perturbation, theta, self.std)

            def new() -> RankOne:
                first = begin(system, keys.init, unravel, clock)
                values, pull, state = jax.vjp(first, at, has_aux=True)
                signs = _signs(keys.init, values)
                nothing = jnp.zeros_like(values), jnp.zeros_like(flat)
                return RankOne(state, *_add(*nothing, signs, *pull(signs)))

            def step(key: jax.Array, carry: RankOne) -> tuple[RankOne, tuple[Array, Array]]:
                values, one = advance(system, key, unravel, carry.state)
                tangents = carry.left, jnp.zeros_like(flat)
                _, moved, (state, loss) = jax.jvp(one, (values, at), tangents, has_aux=True)
                _, pull, _ = jax.vjp(lambda flat: one(values, flat), at, has_aux=True)
                signs = _signs(key, values)
                (by_signs,) = pull(jnp.append(signs, 0.0))
                (of_loss,) = pull(jnp.append(jnp.zeros_like(signs), 1.0))
                grad = moved[-1] * carry.right + of_loss
                return RankOne(state, *_add(moved[:-1], carry.right, signs, by_signs)), (loss, grad)

            carry = jax.lax.cond(clock.starts, new, lambda: carry)
            carry, (loss, grad) = unroll(step, keys.unroll, carry, clock)
            return carry, grad, loss[None]

        return self.clocks.estimate(key, theta, state, truncation)


def _signs(key: jax.Array, like: Float[Array, " S"]) -> Float[Array, " S"]:
    return jax.random.rademacher(jax.random.fold_in(key, _SIGNS), like.shape, like.dtype)


def _add(
    left: Float[Array, " S"], right: Float[Array, " P"],
    other_left: Float[Array, " S"], other_right: Float[Array, " P"],
) -> tuple[Float[Array, " S"], Float[Array, " P"]]:  # fmt: skip
    """The sum of two products as one, in expectation where ``other_left`` holds random signs."""
    rho_0, rho_1 = _balance(left, right), _balance(other_left, other_right)
    return rho_0 * left + rho_1 * other_left, right / rho_0 + other_right / rho_1


def _balance(left: Array, right: Array) -> Float[Array, ""]:
    """The factor that makes left as long as right becomes by its inverse."""
    return jnp.sqrt((jnp.linalg.norm(right) + _SMALLEST) / (jnp.linalg.norm(left) + _SMALLEST))
