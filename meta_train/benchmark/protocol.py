"""How a process that is measured is asked and answers: lines of JSON in, lines of JSON out.

    python -P protocol.py FILE

serves ``start`` of a Python file in an environment without our packages; so this file needs the
standard library alone.
"""

import json
import os
import resource
import runpy
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any

Actions = Mapping[str, Callable[[Any], Mapping[str, Any]]]
"""What a process can be asked for, by name; the argument and the answer are JSON."""


class Failed(RuntimeError):
    """A process that was measured ended; the message is the last that it said."""


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def clock() -> float:
    """Seconds: processor time of this process where it has one core, else elapsed time.

    On one core nothing runs side by side, and other programs that want the core do not count.
    """
    return time.process_time() if cores() == 1 else time.perf_counter()


def age(started: float) -> float:
    """Seconds since the start of this process, which was at ``time.time()`` = ``started``."""
    return time.process_time() if cores() == 1 else time.time() - started


def repeat(take: Callable[[int], Any], seconds: float) -> dict[str, Any]:
    """Do something as often as fits into the seconds, and at least once.

    Args:
        take: does it so many times, and returns when the last is done.
        seconds: see ``clock``.

    Returns:
        "seconds" of one, and "peak_bytes" of the process.
    """
    start, count, wanted, spent = clock(), 0, 1, 0.0
    while wanted:
        take(wanted)
        count += wanted
        spent = clock() - start
        wanted = int(max(0.0, seconds - spent) / (spent / count) + 0.5)
    return {"seconds": spent / count, **peak()}


def peak() -> dict[str, int]:
    """The most memory that this process has had, "peak_bytes"."""
    return {"peak_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024}


def serve(start: Callable[[dict[str, Any]], tuple[Mapping[str, Any], Actions]]) -> None:
    """Serve until the input ends.

    Args:
        start: takes the first line, and returns the first answer and what may be asked then:
            lines [name, argument].
    """
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what else is printed must not get among the answers

    def answer(content: Mapping[str, Any]) -> None:
        print(json.dumps(content), file=answers, flush=True)

    content, actions = start(json.loads(sys.stdin.readline()))
    answer(content)
    for line in sys.stdin:
        name, argument = json.loads(line)
        answer(actions[name](argument))


if __name__ == "__main__":
    serve(runpy.run_path(sys.argv[1], {"age": age, "repeat": repeat})["start"])
