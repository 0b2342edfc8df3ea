"""What launchers share that begin again where a run fails, until a signal asks for an end."""

import signal
import sys
import time
from collections.abc import Iterator
from types import FrameType
from typing import Self

from launch.launchers import backoff

_SIGNALS = (signal.SIGTERM, signal.SIGINT)
POLL_SECONDS = 0.05


def say(message: str) -> None:
    """A line about the launcher's own doing, apart from the output of what it runs."""
    print(f"lopt: {message}", file=sys.stderr, flush=True)


class SignalCount:
    """A context that counts the signals which ask for an end: SIGTERM and SIGINT (Ctrl-C)."""

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


class Tries:
    """One try after the other, with a word and a growing wait before each but the first.

    Args:
        max_restarts: tries after the first.
        stop: ends a wait.
    """

    def __init__(self, max_restarts: int, stop: SignalCount) -> None:
        self.failure = ""
        """Why the try before ended; set by whoever makes them."""
        self._max_restarts = max_restarts
        self._stop = stop

    def __iter__(self) -> Iterator[int]:
        yield 0
        for restart in range(1, self._max_restarts + 1):
            wait = backoff.seconds(restart)
            say(f"{self.failure}; restart {restart} of {self._max_restarts} in {wait:g} s")
            self._stop.wait(wait)
            yield restart
