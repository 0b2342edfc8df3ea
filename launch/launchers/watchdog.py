"""Ends a launcher's processes where the launcher itself dies, even by SIGKILL.

A program of its own: it reads ``+PID`` and ``-PID`` lines from the launcher, and when that pipe
closes, kills the process groups that are still listed. Unlike Linux's PR_SET_PDEATHSIG it works on
every POSIX system, and reaches what the workers have started.
"""

import contextlib
import os
import signal
import sys


def main() -> None:
    """Watch standard input until it closes."""
    # Who ends a whole process tree politely asks the launcher to end its workers, not this program.
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    groups: set[int] = set()
    for line in sys.stdin:
        change = groups.add if line[0] == "+" else groups.discard
        change(int(line[1:]))
    for group in groups:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(group, signal.SIGKILL)


if __name__ == "__main__":
    main()
