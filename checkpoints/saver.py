"""Saving in the background, so that the loop goes on while a step is written."""

import functools
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import jax
import jax.numpy as jnp

from checkpoints.store import Store


class Saver:
    """Writes the steps of a store, one at a time, in a thread of its own.

    Args:
        store: where steps go.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="checkpoint")
        self._pending: Future[None] | None = None
        self._number = 0
        self.saved: int | None = None
        """Number of the newest step that was written."""

    def save(
        self, number: int, tree: Any, metadata: Mapping[str, Any], score: float | None = None
    ) -> str | None:
        """Start to write a step; returns as soon as the arrays are copied.

        Args:
            number: of the step.
            tree: arrays; they may be donated as soon as this returns.
            metadata: JSON.
            score: meta-validation loss at this step, if it was measured.

        Returns:
            Why the step before could not be written; None where it could.
        """
        failure = self.wait()
        copy = _copy(tree)
        self._number = number
        try:
            finish = self._store.start(number, copy, metadata, score)
        except OSError as error:
            finish = functools.partial(_fail, error)
        self._pending = self._thread.submit(finish)
        return failure

    def wait(self) -> str | None:
        """Wait for the step that is being written.

        Returns:
            Why it could not be written; None where it could, or there was none.
        """
        return self._collect() if self._pending is not None else None

    def poll(self) -> str | None:
        """``wait`` where that takes no time, else None."""
        done = self._pending is not None and self._pending.done()
        return self._collect() if done else None

    def close(self) -> None:
        """Wait, and end the thread."""
        self._thread.shutdown()

    def _collect(self) -> str | None:
        assert self._pending is not None
        pending, self._pending = self._pending, None
        try:
            pending.result()
        except OSError as error:
            return f"step {self._number} could not be saved ({error.strerror or error})"
        self.saved = self._number
        return None


def _fail(error: OSError) -> None:
    raise error


@jax.jit
def _copy(tree: Any) -> Any:
    return jax.tree.map(jnp.copy, tree)
