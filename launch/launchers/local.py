"""``lopt launch local``: several processes on this machine, supervised."""

import os
import shlex
import signal
import socket
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import launch
from launch import errors
from launch.launchers import backoff, common
from launch.launchers.workers import Command, Workers
from launch.options import flag, help_of


@dataclass(frozen=True, kw_only=True)
class Processes(common.Launch):
    """Processes on this machine."""

    processes: int = flag("N", "how many processes share the particles", example="2")
    cores_per_process: int | None = flag(
        "N", "CPU cores that each is pinned to, on Linux; by default all, split evenly"
    )
    max_restarts: int = common.max_restarts(3)


HELP = f"""
usage: lopt launch local --processes=N [FLAGS] -- --config=CONFIG --workdir=DIR [...]

{help_of(Processes)}

Process 0 writes to this terminal; lines of process 1 begin with [1]. When one process dies, the
others may take 30 s to end by themselves; then all are started again and resume from the last
checkpoint. Ctrl-C or SIGTERM is handed on once: the processes save and end; a second one kills
them. No process outlives this command, even if it is killed.

For CPU cores, and to try out several processes: on a machine with GPUs or a TPU, one process, a
plain `lopt meta-train`, drives all of them.

Exit status: 0 done, 2 your mistake, 75 stopped by a signal after saving (the same command goes
on), 1 failed in every try.

Common failures
  ended by SIGKILL        out of memory: fewer processes, or smaller config.estimator.num_pairs
  ended by SIGABRT        it has lost another process; that one's last lines say why
  all tries fail alike    run `lopt meta-train` with the same arguments and no launcher
  slower than without     on one machine, one process uses all cores too

example: lopt launch local --processes=2 -- --config=digits_mlp_pes --workdir=runs/digits
"""

GRACE_SECONDS = 30.0
"""How long the others may take to notice that a process has failed; JAX's take as long."""


def run(arguments: Sequence[str]) -> int:
    """Run and supervise the processes; returns the exit status."""
    asked = common.parse(Processes, arguments)
    processes = asked.processes
    cores = split_cores(processes, asked.cores_per_process)
    if asked.dry_run:
        _print(commands(asked.words, processes, "PORT"), cores)
        return errors.DONE
    return supervise(
        lambda: commands(asked.words, processes, str(_free_port())), asked.max_restarts, cores
    )


def commands(words: Sequence[str], processes: int, port: str) -> list[list[str]]:
    """What every process runs; process 0 waits for the others at the port."""
    shared = [f"--coordinator_address=127.0.0.1:{port}", f"--num_processes={processes}"]
    return [
        [*_meta_train(), *words, *shared, f"--process_id={process}"] for process in range(processes)
    ]


def supervise(
    commands: Callable[[], Sequence[Command]],
    max_restarts: int,
    cores: Sequence[Sequence[int]] | None = None,
    grace_seconds: float = GRACE_SECONDS,
) -> int:
    """Run processes until all are done; returns the exit status or raises ``RunFailed``.

    Where one fails, the others may end by themselves for ``grace_seconds``; then all are ended and
    started again, but for a mistake of the user's. SIGTERM and SIGINT are handed on as SIGTERM,
    once, and the workers waited for; a second signal kills them.

    Args:
        commands: gives what the processes of one try run, a fresh port included.
        max_restarts: tries after the first.
        cores: the cores of each process.
        grace_seconds: see above.
    """

    def attempt() -> int:
        with Workers(commands(), cores) as workers:
            statuses, first = _watch(workers, stop, grace_seconds)
        status = _verdict(statuses, stop)
        if status is not None:
            return status
        failure = _described(first, statuses[first] or 0)
        if stop.count:
            raise errors.RunFailed(f"{failure} while it was stopped; the last checkpoint holds")
        raise backoff.Failure(failure)

    with backoff.StopCount() as stop:
        return backoff.try_until_done(attempt, max_restarts, stop)


def split_cores(processes: int, each: int | None) -> list[list[int]] | None:
    """The cores of every process; None where the system cannot pin.

    Args:
        processes: how many there are. Where there are fewer cores, several processes share one.
        each: how many cores each gets; None for an even share.

    Raises:
        UserError: more cores than there are.
    """
    if not hasattr(os, "sched_getaffinity"):
        if each:
            raise errors.UserError("--cores_per_process: this system cannot pin; leave it out")
        return None
    available = sorted(os.sched_getaffinity(0))
    if each and each * processes > len(available):
        raise errors.UserError(
            f"--cores_per_process={each} times --processes={processes} is more than the"
            f" {len(available)} cores there are"
        )
    each = each or max(1, len(available) // processes)
    return [
        [available[i % len(available)] for i in range(process * each, (process + 1) * each)]
        for process in range(processes)
    ]


def _meta_train() -> list[str]:
    """This very installation's ``lopt meta-train``.

    Python's -P keeps a launch.py in the user's folder from being taken for this package; only
    where the package itself is run from the current folder must that folder be searched.
    """
    here = Path(launch.__file__).resolve().parent.parent == Path.cwd().resolve()
    return [sys.executable, *([] if here else ["-P"]), "-m", "launch.cli", "meta-train"]


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _print(lines: Sequence[Sequence[str]], cores: Sequence[Sequence[int]] | None) -> None:
    print("# PORT is a free one, chosen anew for every try.")
    for process, line in enumerate(lines):
        where = f", cores {','.join(map(str, cores[process]))}" if cores else ""
        print(f"# process {process}{where}\n{shlex.join(line)}")


def _watch(
    workers: Workers, stop: backoff.StopCount, grace_seconds: float
) -> tuple[list[int | None], int]:
    """Wait until every worker has ended: their statuses, and which failed first (or 0)."""
    first, deadline, asked = None, float("inf"), False
    while True:
        statuses = workers.statuses()
        failed = [i for i, status in enumerate(statuses) if _is_failure(status, stop)]
        if failed and first is None:
            first, deadline = failed[0], time.monotonic() + grace_seconds
        if None not in statuses:
            return statuses, first or 0
        if stop.count > 1 or errors.USER_ERROR in statuses or time.monotonic() > deadline:
            workers.kill()
        elif stop.count and not asked:
            workers.terminate()
            asked = True
        time.sleep(backoff.POLL_SECONDS)


def _is_failure(status: int | None, stop: backoff.StopCount) -> bool:
    # A worker that is asked to stop before it listens for signals dies of it, with nothing to save.
    harmless = (None, errors.DONE, errors.STOPPED, 128 + signal.SIGTERM if stop.count else None)
    return status not in harmless


def _verdict(statuses: Sequence[int | None], stop: backoff.StopCount) -> int | None:
    """What the processes' ends mean together; None for a failure."""
    if all(status == errors.DONE for status in statuses):
        return errors.DONE
    if errors.USER_ERROR in statuses:
        return errors.USER_ERROR
    if stop.count > 1:
        return stop.status
    # Whoever says so has saved, even if its peers then failed for want of it.
    if errors.STOPPED in statuses:
        return errors.STOPPED
    return None if any(_is_failure(status, stop) for status in statuses) else errors.STOPPED


def _described(worker: int, status: int) -> str:
    names = {int(number): number.name for number in signal.Signals}
    if status - 128 in names:
        return f"worker {worker} was ended by {names[status - 128]}"
    return f"worker {worker} ended with status {status}"
