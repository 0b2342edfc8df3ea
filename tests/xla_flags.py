"""Flags with which XLA compiles quickly: tests compile thousands of programs, each run once."""

import os
import subprocess
import sys

_QUICK = (
    "--xla_backend_optimization_level=0",
    "--xla_llvm_disable_expensive_passes=true",
    "--xla_cpu_parallel_codegen_split_count=1",
)
# XLA's older way to compile fusions, which a later one may not know.
_OLDER = "--xla_cpu_use_fusion_emitters=false"


def quick_to_compile() -> str:
    """The flags of the environment, and those of the quickest compilation that are not among them.

    All three together take a third of the time of none. An XLA that does not know a flag ends the
    process, so another process asks; where the flag is there already, as in a worker of
    pytest-xdist, nothing is to be asked.
    """
    flags = os.environ.get("XLA_FLAGS", "").split()
    set_by_user = {flag.split("=")[0] for flag in flags}
    missing = [flag for flag in (*_QUICK, _OLDER) if flag.split("=")[0] not in set_by_user]
    if _OLDER in missing and not _is_known(_OLDER):
        missing.remove(_OLDER)
    return " ".join([*flags, *missing])


def _is_known(flag: str) -> bool:
    asked = subprocess.run(
        [sys.executable, "-c", "import jax; jax.devices()"],
        env={**os.environ, "XLA_FLAGS": flag},
        capture_output=True,
        check=False,
    )
    return asked.returncode == 0
