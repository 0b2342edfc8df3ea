"""Noisy quadratics with a closed form: the cheapest inner problem.

A batch of B shifts xi_b ~ N(0, noise^2 I) gives the loss

    f(x) = 1 / (2 B) sum_b (x - c - xi_b)^T A (x - c - xi_b),

whose expectation is 0.5 (x - c)^T A (x - c) + 0.5 noise^2 tr(A). The eigenvalues of A lie between
1 / condition and 1, with both ends taken. [1] Schaul et al. 2013, arXiv:1206.1106; [2] Wu et al.
2018, "Understanding Short-Horizon Bias in Stochastic Meta-Optimization", arXiv:1803.02021.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any, NamedTuple

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from tasks.base import SPLITS, Task
from tasks.checks import check_choice, check_int, check_number, check_range


class Member(NamedTuple):
    """One quadratic."""

    hessian: Float[Array, "dim dim"]
    minimum: Float[Array, " dim"]


@flax.struct.dataclass
class Quadratic(Task):
    """Quadratics of one dimension; ``member`` fixes one, None makes a family of random ones.

    Attributes:
        member: the one quadratic of a fixed task, or None.
        dim: number of parameters.
        condition: smallest and largest condition number; a family draws it log-uniformly.
        noise: standard deviation of a shift, per coordinate.
        batch_size: shifts per batch, B.
    """

    member: Member | None
    dim: int = flax.struct.field(pytree_node=False)
    condition: tuple[float, float] = flax.struct.field(pytree_node=False)
    noise: float = flax.struct.field(pytree_node=False)
    batch_size: int = flax.struct.field(pytree_node=False)

    def sample(self, key: jax.Array) -> Any:
        if self.member is not None:
            return ()
        return _draw(key, self.dim, *np.log(self.condition, dtype=np.float32))

    def init(self, key: jax.Array, cfg: Any) -> dict[str, Array]:
        """Standard normal parameters {"x": [dim]}."""
        del cfg
        return {"x": jax.random.normal(key, (self.dim,), jnp.float32)}

    def loss(
        self, key: jax.Array, cfg: Any, params: dict[str, Array], batch: dict[str, Array]
    ) -> tuple[Float[Array, ""], dict[str, Array]]:
        """Mean loss over the batch; the metric "excess" is the loss without noise."""
        del key
        hessian, minimum = cfg if self.member is None else self.member
        centred = params["x"] - minimum
        shifted = centred[None] - batch["shift"]
        loss = 0.5 * jnp.mean(jnp.sum((shifted @ hessian) * shifted, axis=1))
        return loss, {"excess": 0.5 * centred @ hessian @ centred}

    def batch(self, key: jax.Array, cfg: Any, split: str) -> dict[str, Array]:
        """Shifts {"shift": [B, dim]}; each split draws from a stream of its own."""
        del cfg
        check_choice("split", split, SPLITS)
        key = jax.random.fold_in(key, SPLITS.index(split))
        shape = (self.batch_size, self.dim)
        return {"shift": np.float32(self.noise) * jax.random.normal(key, shape, jnp.float32)}


def quadratic(
    dim: int = 10,
    condition: float = 100.0,
    noise: float = 0.1,
    batch_size: int = 1,
    seed: int = 0,
) -> Quadratic:
    """One quadratic with a random rotation, spectrum and minimum.

    Args:
        dim: number of parameters.
        condition: condition number of the Hessian; its largest eigenvalue is 1.
        noise: standard deviation of the shift of the minimum in each batch, per coordinate.
        batch_size: shifts per batch.
        seed: which quadratic.

    Raises:
        ValueError: a value is out of range.
    """
    check_int("seed", seed, 0)
    check_number("condition", condition, 1.0)
    family = quadratic_family(dim, (condition, condition), noise, batch_size)
    # A stream of its own: split and fold_in with small numbers give the same keys, and a run with
    # the same seed must not start at the minimum.
    key = jax.random.fold_in(jax.random.key(seed), int.from_bytes(b"quad"))
    member = _draw_compiled(key, dim, *np.log(family.condition, dtype=np.float32))
    return dataclasses.replace(family, member=member)


def quadratic_family(
    dim: int = 10,
    condition: Sequence[float] = (1.0, 1000.0),
    noise: float = 0.1,
    batch_size: int = 1,
) -> Quadratic:
    """Quadratics with random condition number, rotation, spectrum and minimum.

    Args:
        dim: number of parameters.
        condition: smallest and largest condition number, drawn log-uniformly.
        noise: standard deviation of the shift of the minimum in each batch, per coordinate.
        batch_size: shifts per batch.

    Raises:
        ValueError: a value is out of range.
    """
    check_int("dim", dim, 1)
    check_int("batch_size", batch_size, 1)
    low, high = check_range("condition", condition, 1.0)
    noise = check_number("noise", noise, 0.0)
    return Quadratic(None, dim, (low, high), noise, batch_size)


def _draw(key: jax.Array, dim: int, log_low: Any, log_high: Any) -> Member:
    """Draw a member; eigenvalues are condition ** -u with u = 0, 1 and uniform between.

    Args:
        key: typed PRNG key.
        dim: number of parameters.
        log_low: natural logarithm of the smallest condition number.
        log_high: the same of the largest.
    """
    # One draw for all: each further threefry call costs compile time.
    normal = jax.random.normal(key, (dim + 3, dim), jnp.float32)
    minimum, basis = normal[0], jnp.linalg.qr(normal[3:])[0]
    uniform = jax.scipy.special.ndtr(normal[1:3])
    log_condition = log_low + uniform[1, 0] * (log_high - log_low)
    inner = jnp.where(jnp.arange(dim) == 1, 1.0, uniform[0])
    exponents = jnp.where(jnp.arange(dim) == 0, 0.0, inner)
    eigenvalues = jnp.exp(-exponents * log_condition)
    hessian = (basis * eigenvalues[None]) @ basis.T
    return Member(0.5 * (hessian + hessian.T), minimum)


_draw_compiled = jax.jit(_draw, static_argnames="dim")
