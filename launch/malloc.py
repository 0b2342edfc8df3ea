"""The C library's memory allocator."""

import ctypes
import os
import platform

_M_ARENA_MAX = -8
_MORE_THAN_THREADS = 4096


def one_arena_per_thread() -> bool:
    """Let every thread have an arena of its own; to be called first of all in a process.

    Once there are more than eight arenas, as when JAX has joined other processes, glibc takes no
    other number.

    glibc makes eight arenas for each core of the machine; further threads share them. XLA's CPU
    programs allocate in every operation, so where a computing thread shares the arena that a
    compiling one has left in pieces, it spends up to a tenth of its time in the search for room
    (docs/scaling.md). ``MALLOC_ARENA_MAX`` and ``GLIBC_TUNABLES``, glibc's own settings, have the
    last word.

    Returns:
        Whether it was done; False as well where the C library is not glibc.
    """
    if "MALLOC_ARENA_MAX" in os.environ or "arena_max" in os.environ.get("GLIBC_TUNABLES", ""):
        return False
    if platform.libc_ver()[0] != "glibc":
        return False
    return ctypes.CDLL(None).mallopt(_M_ARENA_MAX, _MORE_THAN_THREADS) == 1
