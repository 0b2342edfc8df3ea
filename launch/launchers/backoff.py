"""Trying again what fails, a little later every time, until a signal asks for an end.

``python -m launch.launchers.backoff RESTART`` only waits: for places where another program counts
the restarts.
"""

import signal
import sys
import time
from collections.abc import Callable
from types import FrameType
from typing import Self

from launch import errors

FIRST_SECONDS = 2.0
LIMIT_SECONDS = 300.0
POLL_SECONDS = 0.05
_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Failure(errors.RunFailed):
    """Why a try has failed, in words that others follow; the next may do better."""


class StopCount:
    """A context that counts the signals which ask for an end: SIGTERM and SIGINT (Ctrl-C)."""

    def __init__(self) -> None:
        self.count = 0
        self._number = 0
        self._handlers: dict[int, object] = {}

    def __enter__(self) -> Self:
        self._handlers = {number: signal.signal(number, self._receive) for number in _SIGNALS}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)  # pyright: ignore[reportArgumentType]

    @property
    def status(self) -> int:
        """The exit status: stopped after saving, or 128 + the number of a second signal."""
        return errors.STOPPED if self.count == 1 else 128 + self._number

    def wait(self, seconds: float) -> None:
        """Sleep, but no longer than until the first request."""
        end = time.monotonic() + seconds
        while not self.count and (left := end - time.monotonic()) > 0:
            time.sleep(min(left, POLL_SECONDS))

    def _receive(self, number: int, frame: FrameType | None) -> None:
        del frame
        self.count += 1
        self._number = number


def try_until_done(attempt: Callable[[], int], max_restarts: int, stop: StopCount) -> int:
    """One try after the other, with a word and a growing wait before each but the first.

    Args:
        attempt: makes a try and returns the exit status, or raises ``Failure``.
        max_restarts: tries after the first.
        stop: ends a wait, and all tries.

    Returns:
        The status of the first try that does not fail, or that of ``stop``.

    Raises:
        RunFailed: the last try failed too.
    """
    restart = 0
    while not stop.count:
        try:
            return attempt()
        except Failure as error:
            failure = error
        if stop.count:
            break
        if restart == max_restarts:
            which = f"the last of {restart + 1} tries" if restart else "the only try"
            raise errors.RunFailed(f"{failure} in {which}; its output above says why")
        restart += 1
        wait = seconds(restart)
        say(f"{failure}; restart {restart} of {max_restarts} in {wait:g} s")
        stop.wait(wait)
    return stop.status


def seconds(restart: int) -> float:
    """Seconds to wait before a try: twice as long every time, up to a limit.

    Args:
        restart: how many tries there have been; before the first there is nothing to wait for.
    """
    if restart < 1:
        return 0.0
    doublings = min(restart - 1, 32)  # far above the limit already, and never an overflow
    return min(FIRST_SECONDS * 2.0**doublings, LIMIT_SECONDS)


def say(message: str) -> None:
    """A line about the launcher's own doing, apart from the output of what it runs."""
    print(f"lopt: {message}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    time.sleep(seconds(int(sys.argv[1])))
