"""Synthetic sequences of symbols by a rule, each there once, so that the splits are disjoint.

- "repeat": a random pattern of random period, over and over (induction: Olsson et al. 2022,
  arXiv:2209.11895).
- "reverse": a random half, and the same backwards.
- "sort": a random half, and the same in ascending order.
- "add": each symbol is the sum of the last and an earlier one, modulo their number.
- "chain": a Markov chain in which each symbol has its own order of likely successors, with
  Zipf's probabilities: nothing to find but the transitions, most of them rare.
"""

from collections.abc import Callable
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int

from tasks.checks import check_choice, check_int
from tasks.datasets.splits import draw_rows, permutation, split_bounds
from tasks.datasets.subset import Subset

_MOST = 8192
_FEWEST = 1000


@flax.struct.dataclass
class Sequences:
    """Sequences in the order train (80 %), valid (10 %), test (10 %).

    Attributes:
        symbols: uint8 [n, length].
        subset: what training draws from; None is the whole train split.
    """

    symbols: Any
    subset: Subset | None = None

    def bounds(self, split: str) -> tuple[int, int]:
        """First row of a split and the row after its last.

        Raises:
            ValueError: the split is unknown.
        """
        rows = self.symbols.shape[0]
        return split_bounds(split, rows * 8 // 10, rows // 10, rows)

    def draw(
        self, key: jax.Array, split: str, batch_size: int, length: int
    ) -> Int[Array, "batch length"]:
        """Draw int32 sequences with replacement, their first ``length`` symbols; traced."""
        subset = self.subset if split == "train" else None
        index = draw_rows(key, *self.bounds(split), batch_size, subset)
        return self.symbols.at[index, :length].get(mode="promise_in_bounds").astype(jnp.int32)


def load_sequences(rule: str, num_symbols: int, length: int, data_seed: int) -> Sequences:
    """Make at most 8,192 different sequences, on the default device.

    Args:
        rule: a name in ``RULES``.
        num_symbols: symbols to choose from, 2 to 256.
        length: symbols of a sequence, at least 8.
        data_seed: another seed makes other sequences.

    Raises:
        ValueError: a value is out of range, or there are too few different sequences.
    """
    check_choice("rule", rule, RULES)
    if check_int("num_symbols", num_symbols, 2) > 256:
        raise ValueError(f"num_symbols = {num_symbols} must be at most 256.")
    check_int("length", length, 8)
    # NumPy freezes the words of a bit generator, not what a Generator makes of them.
    generator = np.random.PCG64(np.random.SeedSequence(check_int("data_seed", data_seed, 0)))
    words = generator.random_raw((2 * _MOST, length)) >> 32
    unique = np.unique(RULES[rule](words, num_symbols).astype(np.uint8), axis=0)
    if len(unique) < _FEWEST:
        raise ValueError(
            f"rule {rule!r} with num_symbols = {num_symbols} and length = {length} gives only "
            f"{len(unique)} different sequences, fewer than {_FEWEST}; raise one of the two."
        )
    return Sequences(jnp.asarray(unique[permutation(len(unique), data_seed)][:_MOST]))


def _repeat(words: np.ndarray, num_symbols: int) -> np.ndarray:
    length = words.shape[1]
    periods = 2 + words[:, -1:] % (length // 2 - 1)
    places = np.arange(length)[None] % periods.astype(np.int64)
    return np.take_along_axis(words % num_symbols, places, axis=1)


def _reverse(words: np.ndarray, num_symbols: int) -> np.ndarray:
    half = (words % num_symbols)[:, : (words.shape[1] + 1) // 2]
    return np.concatenate([half, half[:, ::-1]], axis=1)[:, : words.shape[1]]


def _sort(words: np.ndarray, num_symbols: int) -> np.ndarray:
    half = (words % num_symbols)[:, : (words.shape[1] + 1) // 2]
    return np.concatenate([half, np.sort(half, axis=1)], axis=1)[:, : words.shape[1]]


def _add(words: np.ndarray, num_symbols: int) -> np.ndarray:
    symbols = words % num_symbols
    lag = words.shape[1] // 3
    for place in range(lag, words.shape[1]):
        symbols[:, place] = (symbols[:, place - 1] + symbols[:, place - lag]) % num_symbols
    return symbols


def _chain(words: np.ndarray, num_symbols: int) -> np.ndarray:
    successors = np.stack([permutation(num_symbols, row) for row in range(num_symbols)])
    weights = 1 / np.arange(1, num_symbols + 1)
    ranks = np.searchsorted(np.cumsum(weights) / weights.sum(), words / 2.0**32, side="right")
    symbols = ranks.copy()
    for place in range(1, words.shape[1]):
        symbols[:, place] = successors[symbols[:, place - 1], ranks[:, place]]
    return symbols


RULES: dict[str, Callable[[np.ndarray, int], np.ndarray]] = {
    "repeat": _repeat,
    "reverse": _reverse,
    "sort": _sort,
    "add": _add,
    "chain": _chain,
}
"""Rules by name: uint64 words [n, length] below 2**32 and the number of symbols to symbols."""
