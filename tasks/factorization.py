"""Completing matrices and tensors of low rank: products of parameters, with saddles at zero.

The entry at (i_1, ..., i_m) of a member is sum_r prod_j A_j[i_j, r] / sqrt(rank), A_j standard
normal; the parameters are factors of the same kind with more columns. From a small start the loss
has a plateau, longer with every mode.
"""

import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from tasks.base import Task
from tasks.checks import check_int, check_range
from tasks.datasets.splits import permutation, split_bounds
from tasks.draws import integer, log_uniform


class Member(NamedTuple):
    """One tensor."""

    factors: Float[Array, "modes size max_rank"]
    """The first mode's is zero in columns beyond the rank, and divided by sqrt(rank)."""
    num_examples: Int[Array, ""]
    """Entries that training draws from."""
    noise: Float[Array, ""]
    init_scale: Float[Array, ""]


@flax.struct.dataclass
class Factorization(Task):
    """Complete a tensor; loss is the squared error per entry, of which 1 is that of zeros.

    Each pair is (smallest, largest).

    Attributes:
        entries: int32 [size ** modes], all entries in random order: train, valid, test.
        errors: float32 [size ** modes], standard normal, times the noise added to each entry.
        modes: number of indices of an entry.
        size: values of each index.
        max_rank: largest rank of a member; uniform up to it.
        columns: of the factors that are fitted.
        observed: share of the train entries that training draws from, log-uniform.
        noise: standard deviation of what is added to them, uniform.
        init_scale: standard deviation of initial parameters, log-uniform.
        batch_size: entries per batch, B, drawn with replacement.
    """

    entries: Any
    errors: Any
    modes: int = flax.struct.field(pytree_node=False)
    size: int = flax.struct.field(pytree_node=False)
    max_rank: int = flax.struct.field(pytree_node=False)
    columns: int = flax.struct.field(pytree_node=False)
    observed: tuple[float, float] = flax.struct.field(pytree_node=False)
    noise: tuple[float, float] = flax.struct.field(pytree_node=False)
    init_scale: tuple[float, float] = flax.struct.field(pytree_node=False)
    batch_size: int = flax.struct.field(pytree_node=False)

    def sample(self, key: jax.Array) -> Member:
        shape = (self.modes, self.size, self.max_rank)
        # One draw for all: each further threefry call costs compile time.
        normal = jax.random.normal(key, (4 + int(np.prod(shape)),), jnp.float32)
        uniform = jax.scipy.special.ndtr(normal[:4])
        rank = integer(uniform[0], 1, self.max_rank)
        live = jnp.arange(self.max_rank, dtype=jnp.int32) < rank
        factors = normal[4:].reshape(shape)
        first = jnp.where(live[None], factors[0] / jnp.sqrt(rank.astype(jnp.float32)), 0.0)
        quiet, loud = (np.float32(noise) for noise in self.noise)
        num_train = self._bounds("train")[1]
        share = log_uniform(uniform[1], self.observed)
        return Member(
            factors=factors.at[0].set(first),
            num_examples=jnp.clip(jnp.rint(share * num_train).astype(jnp.int32), 1, num_train),
            noise=quiet + uniform[2] * (loud - quiet),
            init_scale=log_uniform(uniform[3], self.init_scale),
        )

    def init(self, key: jax.Array, cfg: Member) -> dict[str, Array]:
        """Factors {"factor_0": [size, columns], ...}."""
        shape = (self.modes, self.size, self.columns)
        drawn = cfg.init_scale * jax.random.normal(key, shape, jnp.float32)
        return {f"factor_{mode}": drawn[mode] for mode in range(self.modes)}

    def loss(
        self, key: jax.Array, cfg: Member, params: dict[str, Array], batch: dict[str, Array]
    ) -> tuple[Float[Array, ""], dict[str, Array]]:
        del key, cfg
        output = self._values([params[f"factor_{j}"] for j in range(self.modes)], batch["entry"])
        return jnp.mean(jnp.square(output - batch["value"])), {}

    def batch(self, key: jax.Array, cfg: Member, split: str) -> dict[str, Array]:
        """Entries {"entry": [B], "value": [B]}, of which only those of "train" are noisy.

        The number of an entry is i_1 + size i_2 + size**2 i_3 + ...
        """
        start, stop = self._bounds(split)
        count, noise = stop - start, np.float32(0)
        if split == "train":
            count, noise = cfg.num_examples, cfg.noise
        words = jax.random.bits(key, (self.batch_size,), jnp.uint32) >> 1
        index = start + words.astype(jnp.int32) % count
        entry = self.entries.at[index].get(mode="promise_in_bounds")
        error = self.errors.at[index].get(mode="promise_in_bounds")
        value = self._values(list(cfg.factors), entry)
        return {"entry": entry, "value": value + noise * error}

    def _bounds(self, split: str) -> tuple[int, int]:
        num_entries = self.size**self.modes
        return split_bounds(split, num_entries * 8 // 10, num_entries // 10, num_entries)

    def _values(self, factors: list[Array], entry: Int[Array, " b"]) -> Float[Array, " b"]:
        """Entries of the tensor; rows are picked by products, as a gather's gradient is slow."""
        rows = [
            jax.nn.one_hot(entry // self.size**mode % self.size, self.size) @ factor
            for mode, factor in enumerate(factors)
        ]
        return jnp.sum(functools.reduce(jnp.multiply, rows), axis=-1)


def factorization(
    modes: int = 2,
    size: int = 24,
    max_rank: int = 4,
    columns: int = 8,
    observed: Sequence[float] = (0.1, 1.0),
    noise: Sequence[float] = (0.0, 0.2),
    init_scale: Sequence[float] = (0.01, 1.0),
    batch_size: int = 32,
    data_seed: int = 0,
) -> Factorization:
    """Family of matrices or tensors of low rank to complete. Each pair is (smallest, largest).

    Args:
        modes: number of indices of an entry: 2 for matrices.
        size: values of each index.
        max_rank: largest rank of a member, uniform up to it.
        columns: of the factors that are fitted, at least ``max_rank``.
        observed: share, at most 1, of the train entries that training draws from, log-uniform.
        noise: standard deviation of what is added to them, uniform.
        init_scale: standard deviation of initial parameters, log-uniform.
        batch_size: entries per batch.
        data_seed: another seed deals the entries anew.

    Raises:
        ValueError: a value is out of range.
    """
    check_int("modes", modes, 2)
    check_int("size", size, 4)
    check_int("columns", columns, check_int("max_rank", max_rank, 1))
    check_int("batch_size", batch_size, 1)
    tiny = float(np.finfo(np.float32).tiny)
    shares = check_range("observed", observed, tiny)
    if shares[1] > 1:
        raise ValueError(f"observed = {observed} must be at most 1, all of the train entries.")
    order = permutation(size**modes, check_int("data_seed", data_seed, 0))
    key = jax.random.fold_in(jax.random.key(data_seed), int.from_bytes(b"rows"))
    return Factorization(
        jnp.asarray(order.astype(np.int32)),
        jax.random.normal(key, (size**modes,), jnp.float32),
        modes,
        size,
        max_rank,
        columns,
        shares,
        check_range("noise", noise, 0.0),
        check_range("init_scale", init_scale, tiny),
        batch_size,
    )
