"""How long to wait before a restart: twice as long every time, up to a limit.

``python -m launch.launchers.backoff RESTART`` waits that long: for places where another program
counts the restarts.
"""

import sys
import time

FIRST_SECONDS = 2.0
LIMIT_SECONDS = 300.0


def seconds(restart: int) -> float:
    """Seconds to wait before a try.

    Args:
        restart: how many tries there have been; before the first there is nothing to wait for.
    """
    if restart < 1:
        return 0.0
    doublings = min(restart - 1, 32)  # far above the limit already, and never an overflow
    return min(FIRST_SECONDS * 2.0**doublings, LIMIT_SECONDS)


if __name__ == "__main__":
    time.sleep(seconds(int(sys.argv[1])))
