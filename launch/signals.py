"""Stopping a run by a signal: the loop is asked to save and stop; a second signal ends at once."""

import os
import signal
import socket
import threading
from collections.abc import Callable
from types import FrameType
from typing import Protocol, Self

import jax
from jax.experimental import multihost_utils

from launch import errors

_SIGNALS = (signal.SIGTERM, signal.SIGINT)
_ENDED_AT_ONCE = 128


class StopRequests(Protocol):
    """A context in which a run may be asked to stop."""

    unsaved: Callable[[], bool]
    """Whether the process holds something that would be lost; to be set, nothing is at first."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *_: object) -> None: ...

    def requested(self) -> bool:
        """Whether to save and stop; asked once before every dispatch."""
        ...


def listen() -> StopRequests:
    """Listen for requests, as suits one process or one of several."""
    return PreemptionNotice() if jax.distributed.is_initialized() else StopSignals()


class PreemptionNotice:
    """SIGTERM where several processes must stop after the same meta-step.

    JAX handles the signal: the process that receives it tells the others, and all of them learn at
    the same call of ``requested`` that they are to stop. Ctrl-C reaches each process by itself, so
    it cannot be agreed on and ends the process.
    """

    def __init__(self) -> None:
        self.unsaved: Callable[[], bool] = lambda: False
        self._calls = 0
        self._stop = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None: ...

    def requested(self) -> bool:
        """See ``StopRequests``; counts calls, which must be the same in all processes."""
        if not self._stop:
            self._calls += 1
            self._stop = multihost_utils.reached_preemption_sync_point(self._calls)
        return self._stop


class StopSignals:
    """A context in which SIGTERM and SIGINT (Ctrl-C) ask for a stop.

    While nothing is unsaved, as when a run compiles or compares, the first signal ends the process
    at once with status 75: the same command resumes from the last checkpoint. Else ``requested()``
    turns true, for the loop to save and stop. A second signal ends the process at once with status
    128 + its number.

    Python runs signal handlers between two of its own instructions only, which may be minutes
    apart while XLA compiles or computes; so a thread waits for the signals' numbers instead.
    """

    def __init__(self) -> None:
        self.unsaved: Callable[[], bool] = lambda: False
        self._requested = False
        self._handlers: dict[int, object] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is not threading.main_thread():
            return self  # only the main thread of a process may handle signals
        self._read, self._write = socket.socketpair()
        self._write.setblocking(False)
        self._wakeup = signal.set_wakeup_fd(self._write.fileno(), warn_on_full_buffer=False)
        self._handlers = {number: signal.signal(number, _ignore) for number in _SIGNALS}
        threading.Thread(target=self._listen, name="signals", daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        if not self._handlers:
            return
        for number, handler in self._handlers.items():
            signal.signal(number, handler)  # pyright: ignore[reportArgumentType]
        signal.set_wakeup_fd(self._wakeup)
        self._write.close()  # ends the thread

    def requested(self) -> bool:
        """See ``StopRequests``."""
        return self._requested

    def _listen(self) -> None:
        with self._read:
            while received := self._read.recv(1):
                if received[0] in _SIGNALS:
                    self._receive(received[0])

    def _receive(self, number: int) -> None:
        name = signal.Signals(number).name
        if self._requested:
            _end(f"\nlopt: {name} again: ended without saving\n", _ENDED_AT_ONCE + number)
        self._requested = True
        if not self.unsaved():
            _end(f"\nlopt: {name}: stopped; nothing was left to save\n", errors.STOPPED)
        os.write(2, f"\nlopt: {name}: saving after this meta-step; again to end now\n".encode())


def _ignore(number: int, frame: FrameType | None) -> None:
    del number, frame


def _end(message: str, status: int) -> None:
    os.write(2, message.encode())
    os._exit(status)
