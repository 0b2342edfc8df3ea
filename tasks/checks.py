"""Checks of plain values, with messages that name the value, the limit and the remedy."""

import difflib
import math
from collections.abc import Iterable
from typing import Any

import numpy as np


def is_number(value: Any) -> bool:
    """Whether a value is a number, and no truth value."""
    return isinstance(value, int | float | np.number) and not isinstance(value, bool)


def check_int(name: str, value: Any, low: int) -> int:
    """Raise ``ValueError`` unless a value is an integer of at least ``low``."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < low:
        raise ValueError(f"{name} must be an integer of at least {low}, got {value!r}.")
    return int(value)


def check_ints(name: str, values: Any, low: int) -> tuple[int, ...]:
    """Raise ``ValueError`` unless values are a sequence of integers of at least ``low``."""
    if isinstance(values, str) or not isinstance(values, Iterable):
        raise ValueError(f"{name} must be a sequence of integers such as (32, 32), got {values!r}.")
    return tuple(check_int(f"each entry of {name}", value, low) for value in values)


def check_range(name: str, pair: Any, low: float) -> tuple[float, float]:
    """Raise ``ValueError`` unless a pair is (smallest, largest), finite and at least ``low``."""
    values = tuple(pair) if isinstance(pair, list | tuple) else ()
    numbers = all(is_number(value) for value in values)
    if len(values) != 2 or not numbers or not low <= values[0] <= values[1] < math.inf:
        raise ValueError(
            f"{name} must be finite and at least {low:g}, a pair with the smallest before largest, "
            f"got {pair!r}."
        )
    return float(values[0]), float(values[1])


def check_number(name: str, value: Any, low: float) -> float:
    """Raise ``ValueError`` unless a value is a finite number of at least ``low``."""
    if not is_number(value) or not low <= value < math.inf:
        raise ValueError(f"{name} must be finite and at least {low:g}, got {value!r}.")
    return float(value)


def check_choice(name: str, value: Any, known: Iterable[str]) -> str:
    """Raise ``ValueError`` unless a value is one of the known names, which the message lists."""
    names = sorted(known)
    if value in names:
        return value
    near = difflib.get_close_matches(str(value), names, 3, 0.5)
    hint = f" Did you mean {' or '.join(near)}?" if near else ""
    raise ValueError(f"Unknown {name} {value!r}; there are {', '.join(names)}.{hint}")


def check_batch(dataset: str, batch_size: int, num_train: int) -> None:
    """Raise ``ValueError`` if a batch is larger than the train split."""
    if batch_size > num_train:
        raise ValueError(
            f"batch_size = {batch_size} is larger than the train split of {dataset!r}, "
            f"{num_train} examples; give at most that many."
        )
