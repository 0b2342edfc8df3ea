"""SIGTERM and SIGINT (Ctrl-C), as a launcher sees them: counted, and acted on by its loop."""

import signal
import time
from types import FrameType
from typing import Self

_SIGNALS = (signal.SIGTERM, signal.SIGINT)
POLL_SECONDS = 0.05


class StopRequests:
    """A context that counts the signals which ask for an end."""

    def __init__(self) -> None:
        self.count = 0
        self.number = 0
        """The last one's number."""
        self._handlers: dict[int, object] = {}

    def __enter__(self) -> Self:
        self._handlers = {number: signal.signal(number, self._receive) for number in _SIGNALS}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)  # pyright: ignore[reportArgumentType]

    def wait(self, seconds: float) -> None:
        """Sleep, but no longer than until the first request."""
        end = time.monotonic() + seconds
        while not self.count and (left := end - time.monotonic()) > 0:
            time.sleep(min(left, POLL_SECONDS))

    def _receive(self, number: int, frame: FrameType | None) -> None:
        del frame
        self.count += 1
        self.number = number
