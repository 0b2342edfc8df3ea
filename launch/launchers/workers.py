"""The processes of one try: started together, each on cores of its own, and ended together.

As a program of its own, this file ends them where the launcher itself dies, even by SIGKILL: it
reads ``+PID`` and ``-PID`` lines from the launcher, and when that pipe closes, kills the process
groups that are still listed. Unlike Linux's PR_SET_PDEATHSIG it works on every POSIX system, and
reaches what the workers have started.
"""

import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from typing import IO, Self

Command = Sequence[str]

_RELAY_SECONDS = 5.0
"""How long the last lines may take; what has left the process group may keep a pipe open."""


class Workers:
    """A context in which processes run; none of them outlives it.

    The output of process 0 is this process's own; every line of process I > 0 goes to stderr with
    ``[I]`` before it.

    Args:
        commands: what each process runs.
        cores: the cores of each process; None leaves the choice to the system.
    """

    def __init__(self, commands: Sequence[Command], cores: Sequence[Sequence[int]] | None) -> None:
        self._commands = commands
        self._cores = cores
        self._processes: list[subprocess.Popen[str]] = []
        self._ended: set[int] = set()
        self._relays: list[threading.Thread] = []

    def __enter__(self) -> Self:
        watchdog = [sys.executable, "-I", __file__]
        self._watchdog = subprocess.Popen(
            watchdog, stdin=subprocess.PIPE, text=True, start_new_session=True
        )
        try:
            for index in range(len(self._commands)):
                self._start(index)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
        for process in self._processes:
            process.wait()
        self.statuses()
        for relay in self._relays:
            relay.join(_RELAY_SECONDS)
        self._watchdog.communicate()

    def statuses(self) -> list[int | None]:
        """Every process's exit status as a shell counts it; None while it runs."""
        codes = [process.poll() for process in self._processes]
        for index, code in enumerate(codes):
            if code is not None and index not in self._ended:
                # Once, when it has ended: later its number may be another's.
                self._ended.add(index)
                _kill_group(self._processes[index].pid)
                self._tell_watchdog(f"-{self._processes[index].pid}")
        return [code if code is None or code >= 0 else 128 - code for code in codes]

    def terminate(self) -> None:
        """Ask every process to save and stop."""
        for process in self._processes:
            process.terminate()

    def kill(self) -> None:
        """End every process, and what it has started, at once."""
        for process in self._processes:
            if process.poll() is None:
                _kill_group(process.pid)

    def _start(self, index: int) -> None:
        relayed = index > 0
        with _pinned(self._cores[index] if self._cores else None):
            # A session of its own: Ctrl-C in a terminal reaches the launcher only, which forwards
            # it once.
            process = subprocess.Popen(
                self._commands[index],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE if relayed else None,
                stderr=subprocess.STDOUT if relayed else None,
                text=True,
                errors="replace",
                start_new_session=True,
            )
        self._processes.append(process)
        self._tell_watchdog(f"+{process.pid}")
        if process.stdout is not None:
            relay = threading.Thread(target=_relay, args=(index, process.stdout), daemon=True)
            relay.start()
            self._relays.append(relay)

    def _tell_watchdog(self, line: str) -> None:
        assert self._watchdog.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            print(line, file=self._watchdog.stdin, flush=True)


def _kill_group(group: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, signal.SIGKILL)


@contextlib.contextmanager
def _pinned(cores: Sequence[int] | None) -> Iterator[None]:
    """What is started here starts on these cores."""
    if cores is None:
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def _relay(index: int, output: IO[str]) -> None:
    with output:
        for line in output:
            sys.stderr.write(f"[{index}] {line.rstrip()}\n")


def _watch() -> None:
    """Follow standard input until it closes."""
    # Who ends a whole process tree politely asks the launcher to end its workers, not this program.
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    groups: set[int] = set()
    for line in sys.stdin:
        (groups.add if line[0] == "+" else groups.discard)(int(line[1:]))
    for group in groups:
        _kill_group(group)


if __name__ == "__main__":
    _watch()
