"""Every thread gets an arena of its own, unless glibc's own settings say otherwise."""

import os
import platform
import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(
    platform.libc_ver()[0] != "glibc", reason="the C library here is not glibc"
)

SHARED = 8 * (os.cpu_count() or 1)
THREADS = SHARED + 10
PROGRAM = f"""
import ctypes, sys, threading
from launch import cli

if sys.argv[1] == "call":
    print(cli.one_arena_per_thread())
if sys.argv[1] == "command":
    cli.main = lambda: 0
    cli.entry()
libc = ctypes.CDLL(None)
libc.fopen.restype = ctypes.c_void_p
libc.malloc.restype = ctypes.c_void_p
both = threading.Barrier({THREADS} + 1)

def allocate():
    libc.malloc(ctypes.c_size_t(100_000))
    both.wait()

threads = [threading.Thread(target=allocate) for _ in range({THREADS})]
for thread in threads:
    thread.start()
both.wait()
for thread in threads:
    thread.join()
file = ctypes.c_void_p(libc.fopen(sys.argv[2].encode(), b"w"))
libc.malloc_info(0, file)
libc.fclose(file)
print(open(sys.argv[2]).read().count("<heap "))
"""


def arenas(tmp_path, argument, **variables):
    """What the program prints: whether it was done, and the number of arenas of so many threads."""
    kept = {name: x for name, x in os.environ.items() if not name.startswith(("MALLOC", "GLIBC"))}
    return subprocess.run(
        [sys.executable, "-c", PROGRAM, argument, str(tmp_path / "arenas.xml")],
        env={**kept, **variables},
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()


def test_threads_share_few_arenas_by_default_and_none_afterwards(tmp_path):
    (shared,) = arenas(tmp_path, "nothing")
    assert int(shared) <= SHARED
    done, own = arenas(tmp_path, "call")
    assert done == "True"
    assert int(own) >= THREADS
    (of_command,) = arenas(tmp_path, "command")
    assert int(of_command) >= THREADS


@pytest.mark.parametrize(
    "variables",
    [{"MALLOC_ARENA_MAX": "5"}, {"GLIBC_TUNABLES": "glibc.malloc.arena_max=5"}],
    ids=lambda variables: next(iter(variables)),
)
def test_settings_of_the_user_stay(tmp_path, variables):
    done, number = arenas(tmp_path, "call", **variables)
    assert done == "False"
    assert int(number) <= 5
