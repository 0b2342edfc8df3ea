"""Saving in the background, so that the loop continues while a step is written."""

from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import jax
import jax.numpy as jnp

from checkpoints.store import Store


class Saver:
    """Writes the steps of a store, one at a time, in a thread of its own.

    Args:
        store: where steps go.
        report: is told, in the thread that calls the methods, why a step could not be written.
    """

    def __init__(self, store: Store, report: Callable[[str], None]) -> None:
        self._store = store
        self._report = report
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="checkpoint")
        self._pending: tuple[int, Future[None]] | None = None
        self.saved: int | None = None
        """Number of the newest step that was written."""

    def save(
        self,
        number: int,
        tree: Any,
        metadata: Mapping[str, Any],
        score: float | None = None,
        before: Callable[[], None] = lambda: None,
    ) -> None:
        """Wait for the step before and start to write one; returns when the arrays are copied.

        Args:
            number: of the step.
            tree: arrays; they may be donated as soon as this returns.
            metadata: JSON.
            score: meta-validation loss at this step, if it was measured.
            before: what must be done before the step may count; called in the saver's thread.
        """
        self.wait()
        try:
            finish = self._store.start(number, _copy(tree), metadata, score, before)
        except OSError as error:
            self._failed(number, error)
        else:
            self._pending = number, self._thread.submit(finish)

    def wait(self) -> None:
        """Wait for the step that is being written, if there is one."""
        if self._pending is None:
            return
        (number, writing), self._pending = self._pending, None
        try:
            writing.result()
        except OSError as error:
            self._failed(number, error)
        else:
            self.saved = number

    def poll(self) -> None:
        """``wait`` where that takes no time."""
        if self._pending is not None and self._pending[1].done():
            self.wait()

    def close(self) -> None:
        """Wait, and end the thread."""
        self._thread.shutdown()

    def _failed(self, number: int, error: OSError) -> None:
        self._report(f"step {number} could not be saved ({error.strerror or error})")


@jax.jit
def _copy(tree: Any) -> Any:
    return jax.tree.map(jnp.copy, tree)
