"""Flags with which XLA compiles quickly: tests compile thousands of programs, each run once."""

import os
import subprocess
import sys

_QUICK = "--xla_llvm_disable_expensive_passes=true"
_QUICKER = f"{_QUICK} --xla_cpu_use_fusion_emitters=false"


def quick_to_compile() -> str:
    """Those of the environment if there are any, else the quickest that this XLA knows.

    Its older way to compile fusions takes two thirds of the time. An XLA that does not know a flag
    ends the process, so another process asks.
    """
    given = os.environ.get("XLA_FLAGS")
    if given:
        return given
    asked = subprocess.run(
        [sys.executable, "-c", "import jax; jax.devices()"],
        env={**os.environ, "XLA_FLAGS": _QUICKER},
        capture_output=True,
        check=False,
    )
    return _QUICK if asked.returncode else _QUICKER
