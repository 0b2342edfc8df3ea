"""Long series drawn with few points."""

import math
from typing import NamedTuple

import numpy as np

MOST = 80


class Blocks(NamedTuple):
    """Consecutive values of a series, a block at a time; NaN where a block has no finite one."""

    steps: np.ndarray
    mean: np.ndarray
    low: np.ndarray
    high: np.ndarray
    size: int
    """Values in a block; the last may have fewer."""
    finite: np.ndarray
    """Whether all values of the block are."""


def blocks(steps: np.ndarray, values: np.ndarray, most: int = MOST) -> Blocks:
    """At most ``most`` blocks of equal size: mean, lowest and highest finite value of each."""
    size = max(1, math.ceil(len(values) / most))
    missing = -len(values) % size
    table = np.pad(values.astype(np.float64), (0, missing), mode="constant", constant_values=np.nan)
    ours = np.arange(len(table)).reshape(-1, size) < len(values)
    table = np.ma.masked_invalid(table.reshape(-1, size))
    places = np.ma.array(np.pad(steps, (0, missing)).reshape(-1, size), mask=~ours)
    rows = (places.mean(axis=1), table.mean(axis=1), table.min(axis=1), table.max(axis=1))
    filled = [np.ma.filled(row.astype(np.float64), np.nan) for row in rows]
    bad = np.ma.getmaskarray(table) & ours
    return Blocks(*filled, size=size, finite=bad.sum(axis=1) == 0)
