"""Data sets that are larger than a device may hold: it has a window of them after the other."""

import contextlib
import contextvars
import dataclasses
import functools
import math
from collections.abc import Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from tasks.checks import check_number
from tasks.datasets.dataset import Dataset
from tasks.datasets.splits import permutation

COPIES = 4
"""Windows of one data set on a device at the same time, at most: the first, which evaluations have,
the one that meta-steps draw from, the next, and that of a meta-step that is still running."""


_limit: contextvars.ContextVar[tuple[float | None, int | None]] = contextvars.ContextVar(
    "data_limit", default=(None, None)
)
"""Megabytes that data may take, and bytes that are free."""


@contextlib.contextmanager
def data_limit(megabytes: float | None, free: int | None = None) -> Iterator[None]:
    """Limit what the images of each task that is made within may take on a device.

    A larger data set streams, see ``Stream``: ``Dataset.stream`` says so. The task then draws from
    its first window until somebody exchanges it, as ``meta_train.run.Run`` does. Texts, tables and
    sequences are always whole.

    Args:
        megabytes: of all windows that a device has at the same time, with valid and test in each;
            None holds every data set whole.
        free: bytes of memory that are free; where they are given, a data set that is held whole
            and does not fit is refused.

    Raises:
        ValueError: the limit is negative or no number.
    """
    if megabytes is not None:
        check_number("data_limit_mb", megabytes, 0.0)
    token = _limit.set((megabytes, free))
    try:
        yield
    finally:
        _limit.reset(token)


@dataclasses.dataclass(frozen=True, eq=False)
class Stream:
    """A data set on the host, of which devices hold windows.

    A window has ``size`` examples of the train split, and all of valid and test. The windows of a
    seed walk through random permutations of the train split, one after the other: window n holds
    places n * size to (n + 1) * size - 1 of that endless row. So all examples are in as many
    windows, and each is in one of every train / size windows in a row.

    What that changes: a batch is drawn from the window that is there, with replacement, as it would
    be from the whole split. Over random seeds every example of it is any of the split's with the
    same probability; but batches of meta-steps with the same window are drawn from the same
    examples, so that they are not independent of each other, and those of different particles
    neither. Windows depend on nothing but seed and number: they are independent of the
    perturbations, and partners of a pair share them. So estimates that are unbiased stay so, for
    the objective of training on such batches, and vary more, the smaller the windows are.

    Attributes:
        whole: the data set, its leaves on the host or in files.
        size: training examples of a window.
    """

    whole: Dataset
    size: int

    def window(self, number: int, seed: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
        """Images and labels of window ``number`` of a seed, then those of valid and test.

        Raises:
            OSError: a file cannot be read, or has become shorter.
        """
        train, count = self.whole.num_train, len(self.whole.labels)
        drawn = _places(train, self.size, number, tuple(seed))
        drawn.sort()  # so that a window of the whole split is the split as it is
        places = np.concatenate([drawn, np.arange(train, count)])
        return self.whole.images[places], self.whole.labels[places]


def to_device(name: str, data: Dataset, batch_size: int) -> Dataset:
    """Move a data set to the default device, whole or the first window of it.

    Args:
        name: of the data set, for messages.
        data: its leaves on the host or in files.
        batch_size: the least that a window has to hold.

    Raises:
        ValueError: it does not fit, or the limit leaves too small a window; see ``data_limit``.
    """
    megabytes, free = _limit.get()
    num_bytes = data.images.nbytes + data.labels.nbytes
    if megabytes is not None and num_bytes > megabytes * 1e6:
        size = _window_size(name, data, num_bytes, megabytes, batch_size)
        stream = Stream(data, size)
        images, labels = stream.window(0, ())
        data = dataclasses.replace(
            data, images=images, labels=labels, num_train=size, stream=stream
        )
    elif free is not None and num_bytes > free:
        raise ValueError(
            f"dataset {name!r} takes {num_bytes / 1e6:,.1f} MB, and {free / 1e6:,.1f} MB of "
            "memory is free; set config.data_limit_mb (tasks.data_limit), so that it streams"
        )
    return jax.tree.map(jnp.asarray, data)


def windows(tree: Any, number: int, seed: Sequence[int]) -> Any:
    """A tree with window ``number`` in every data set that streams; those leaves on the host."""

    def exchanged(node: Any) -> Any:
        if not isinstance(node, Dataset) or node.stream is None:
            return node
        images, labels = node.stream.window(number, seed)
        return dataclasses.replace(node, images=images, labels=labels)

    return jax.tree.map(exchanged, tree, is_leaf=lambda node: isinstance(node, Dataset))


def streams(tree: Any) -> list[Dataset]:
    """The data sets of a tree that stream."""
    nodes = jax.tree.leaves(tree, is_leaf=lambda node: isinstance(node, Dataset))
    return [x for x in nodes if isinstance(x, Dataset) and x.stream is not None]


def _window_size(
    name: str, data: Dataset, num_bytes: int, megabytes: float, batch_size: int
) -> int:
    count = len(data.labels)
    held, of_one = count - data.num_train, num_bytes / count
    size = int(megabytes * 1e6 / (COPIES * of_one)) - held
    if size < batch_size:
        least = min(num_bytes, COPIES * of_one * (batch_size + held))
        raise ValueError(
            f"config.data_limit_mb = {megabytes:g} is too small to stream dataset {name!r}: "
            f"{COPIES} windows have to hold a batch of {batch_size} examples each, besides the "
            f"{held} of valid and test; give at least {math.ceil(least / 1e4) / 100:g}"
        )
    return size


def _places(num_train: int, size: int, number: int, seed: tuple[int, ...]) -> np.ndarray:
    """Places of window ``number`` in the endless row of permutations."""
    parts: list[np.ndarray] = []
    start, stop = number * size, (number + 1) * size
    while start < stop:
        epoch, first = divmod(start, num_train)
        part = _permutation(num_train, seed, epoch)[first : first + stop - start]
        parts.append(part)
        start += len(part)
    return np.concatenate(parts)


@functools.lru_cache(maxsize=2)
def _permutation(count: int, seed: tuple[int, ...], epoch: int) -> np.ndarray:
    """The permutation of an epoch; its seed is none that deals splits, which have one number."""
    return permutation(count, [*(seed or (0,)), len(seed), 1 + epoch])
