"""Splits as ranges of rows, and how rows are dealt and drawn."""

from collections.abc import Sequence

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


def split_sizes(
    num_examples: int, num_valid: int | None, num_test: int | None, takes_test: bool
) -> tuple[int, int]:
    """Sizes of "valid", and of all that is taken from the examples besides "train".

    Args:
        num_examples: to be dealt.
        num_valid: of "valid"; None takes min(5000, n // 10), at least 1.
        num_test: the same for "test".
        takes_test: whether "test" is taken from the examples too.

    Raises:
        ValueError: a split would be empty.
    """
    default = max(1, min(5000, num_examples // 10))
    num_valid = default if num_valid is None else num_valid
    taken = num_valid
    if takes_test:
        taken += default if num_test is None else num_test
    if num_valid < 1 or taken - num_valid < takes_test or taken >= num_examples:
        raise ValueError(
            f"{num_examples} examples cannot be dealt into train, {num_valid} valid and "
            f"{taken - num_valid} test examples with at least one each; pass other num_valid and "
            "num_test or more examples."
        )
    return num_valid, taken


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


def permutation(n: int, seed: int | Sequence[int]) -> np.ndarray:
    """A permutation of range(n) that is the same under every NumPy version.

    NumPy freezes the words of a bit generator, not what ``Generator.permutation`` makes of them.
    """
    words = np.random.PCG64(np.random.SeedSequence(seed)).random_raw(n)
    return np.argsort(words, kind="stable")
