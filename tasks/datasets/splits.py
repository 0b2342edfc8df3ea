"""Splits as ranges of rows, and how rows are dealt and drawn."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int

from tasks.base import SPLITS
from tasks.checks import check_choice
from tasks.datasets.subset import Subset


def split_bounds(split: str, num_train: int, num_valid: int, num_rows: int) -> tuple[int, int]:
    """First row of a split and the row after its last, in the order train, valid, test.

    Raises:
        ValueError: the split is unknown.
    """
    check_choice("split", split, SPLITS)
    edges = (0, num_train, num_train + num_valid, num_rows)
    position = SPLITS.index(split)
    return edges[position], edges[position + 1]


def draw_rows(
    key: jax.Array, start: int, stop: int, count: int, subset: Subset | None = None
) -> Int[Array, " count"]:
    """Draw rows start..stop - 1, or those of a subset of them, with replacement; traced.

    One 32-bit word per row, reduced modulo the number n of rows: its bias is below n / 2**32
    (1.3e-5 for 55,000 rows), and it costs one threefry call where ``jax.random.randint`` costs
    three, which shows in compile time.
    """
    words = jax.random.bits(key, (count,), jnp.uint32)
    size = np.uint32(stop - start)
    if subset is None:
        return start + (words % size).astype(jnp.int32)
    return start + subset.places(words, size).astype(jnp.int32)


def permutation(n: int, seed: int) -> np.ndarray:
    """A permutation of range(n) that is the same under every NumPy version.

    NumPy freezes the words of a bit generator, not what ``Generator.permutation`` makes of them.
    """
    words = np.random.PCG64(np.random.SeedSequence(seed)).random_raw(n)
    return np.argsort(words, kind="stable")
