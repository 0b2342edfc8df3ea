"""Data sets that stream, through a run: which window its meta-steps draw from, loaded in time."""

import dataclasses
from concurrent.futures import Future, ThreadPoolExecutor

import jax
import numpy as np

from meta_train.trainer import MetaTrainer
from tasks.datasets.stream import COPIES, streams, windows


class Windows:
    """Gives a trainer the window of each meta-step, while the next is loaded by another thread.

    Meta-steps n * steps to (n + 1) * steps - 1 draw from window n of the run's key, see
    ``tasks.datasets.stream.Stream``: from whichever checkpoint a run goes on, and on however many
    devices and hosts, they are the same. Where nothing streams the trainer stays what it is.

    Args:
        trainer: systems, which may have data that stream.
        key: typed PRNG key of the run.
        steps: meta-steps of a window.
        last: length of the run in meta-steps; nothing is loaded for later ones.

    Raises:
        ValueError: a window has no meta-steps.
    """

    def __init__(self, trainer: MetaTrainer, key: jax.Array, steps: int, last: int) -> None:
        if steps < 1:
            raise ValueError(f"steps_per_window = {steps} must be at least 1.")
        self._data = streams(trainer.systems)
        self._seed = np.asarray(jax.random.key_data(key)).ravel().tolist()
        self._steps, self._last = steps, last
        self._trainer, self._number = trainer, -1
        self._next: tuple[int, Future[MetaTrainer]] | None = None
        self._pool = ThreadPoolExecutor(1) if self._data else None

    @property
    def num_bytes(self) -> int:
        """What all windows but the first take on each device, at most; 0 where nothing streams."""
        return (COPIES - 1) * sum(data.images.nbytes + data.labels.nbytes for data in self._data)

    def __str__(self) -> str:
        """What streams, for people; "" where nothing does."""
        sizes = [f"{x.num_train:,} of {x.stream.whole.num_train:,}" for x in self._data]
        return f"; data stream in windows of {', '.join(sizes)} examples" if sizes else ""

    def end(self, meta_step: int) -> int:
        """The first meta-step after ``meta_step`` that draws from another window."""
        if self._pool is None:
            return self._last
        return (meta_step // self._steps + 1) * self._steps

    def at(self, meta_step: int) -> MetaTrainer:
        """The trainer with the window of a meta-step; waits until it is loaded.

        Raises:
            OSError: a file of the data cannot be read, or has become shorter.
        """
        number = meta_step // self._steps
        if self._pool is None or number == self._number:
            return self._trainer
        prepared, found = self._next or (-1, None)
        if found is None or prepared != number:
            found = self._pool.submit(self._load, number)
        self._trainer, self._number = found.result(), number
        self._next = None
        if self.end(meta_step) < self._last:
            self._next = number + 1, self._pool.submit(self._load, number + 1)
        return self._trainer

    def close(self) -> None:
        """Wait for what is being loaded."""
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)

    def _load(self, number: int) -> MetaTrainer:
        trainer = self._trainer.placed
        systems = windows(trainer.systems, number, self._seed)
        systems = trainer.devices.place(systems)
        return dataclasses.replace(trainer, systems=jax.block_until_ready(systems))
