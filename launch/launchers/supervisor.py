"""Processes that end together are started again together, with a bounded number of tries."""

import signal
import time
from collections.abc import Callable, Sequence

from launch import errors
from launch.launchers.stopping import POLL_SECONDS, SignalCount, Tries
from launch.launchers.workers import Command, Workers

GRACE_SECONDS = 30.0
"""How long the others may take to notice that a worker has failed; JAX's take as long."""
_TERMINATED = 128 + signal.SIGTERM


def supervise(
    commands: Callable[[], Sequence[Command]],
    *,
    max_restarts: int,
    cores: Sequence[Sequence[int]] | None = None,
    grace_seconds: float = GRACE_SECONDS,
) -> int:
    """Run processes until all are done.

    Where one fails, the others may end by themselves for ``grace_seconds``; then all are ended and
    started again. SIGTERM and SIGINT are handed on as SIGTERM, once, and the workers waited for; a
    second signal kills them.

    Args:
        commands: gives what the processes of one try run, a fresh port included.
        max_restarts: tries after the first.
        cores: the cores of each process.
        grace_seconds: see above.

    Returns:
        The exit status: done, the user's mistake (never tried again), stopped after saving, or 128
        + the number of a second signal.

    Raises:
        RunFailed: the last try failed too.
    """
    with SignalCount() as stop:
        tries = Tries(max_restarts, stop)
        for _ in tries:
            if stop.count:
                return errors.STOPPED
            with Workers(commands(), cores) as workers:
                statuses, first = _watch(workers, stop, grace_seconds)
            status = _verdict(statuses, stop)
            if status is not None:
                return status
            tries.failure = _described(first, statuses)
            if stop.count:
                raise errors.RunFailed(
                    f"{tries.failure} while it was stopped; the last checkpoint holds"
                )
    which = "the only try" if max_restarts == 0 else f"the last of {max_restarts + 1} tries"
    raise errors.RunFailed(f"{tries.failure} in {which}; its output above says why")


def _watch(
    workers: Workers, stop: SignalCount, grace_seconds: float
) -> tuple[list[int | None], int]:
    """Wait until every worker has ended.

    Returns:
        The statuses, and which worker failed first (0 where none did).
    """
    first, deadline, forwarded = None, float("inf"), 0
    while True:
        statuses = workers.statuses()
        failed = [i for i, status in enumerate(statuses) if _is_failure(status, stop)]
        if failed and first is None:
            first, deadline = failed[0], time.monotonic() + grace_seconds
        if None not in statuses:
            return statuses, first or 0
        if forwarded < stop.count:
            if stop.count == 1:
                workers.terminate()
            else:
                workers.kill()
            forwarded = stop.count
        if errors.USER_ERROR in statuses or time.monotonic() > deadline:
            workers.kill()
        time.sleep(POLL_SECONDS)


def _is_failure(status: int | None, stop: SignalCount) -> bool:
    # A worker that is asked to stop before it listens for signals dies of it, with nothing to save.
    harmless = (None, errors.DONE, errors.STOPPED, _TERMINATED if stop.count else None)
    return status not in harmless


def _verdict(statuses: Sequence[int | None], stop: SignalCount) -> int | None:
    """What the processes' ends mean together; None for a failure."""
    if all(status == errors.DONE for status in statuses):
        return errors.DONE
    if errors.USER_ERROR in statuses:
        return errors.USER_ERROR
    if stop.count > 1:
        return 128 + stop.number
    # Whoever says so has saved, even if its peers then failed for want of it.
    if errors.STOPPED in statuses:
        return errors.STOPPED
    return None if any(_is_failure(status, stop) for status in statuses) else errors.STOPPED


def _described(worker: int, statuses: Sequence[int | None]) -> str:
    status = statuses[worker] or 0
    names = {int(number): number.name for number in signal.Signals}
    if status - 128 in names:
        return f"worker {worker} was ended by {names[status - 128]}"
    return f"worker {worker} ended with status {status}"
