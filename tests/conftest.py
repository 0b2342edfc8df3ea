"""Strictness shared by all tests."""

import os
import subprocess
import sys

os.environ.setdefault("JAX_PLATFORMS", "cpu")
# Tests compile hundreds of small programs and run each for a moment. XLA's older way to compile
# fusions takes two thirds of the time; an XLA that does not know a flag would end every test.
_QUICK_TO_COMPILE = "--xla_llvm_disable_expensive_passes=true"
_QUICKER = f"{_QUICK_TO_COMPILE} --xla_cpu_use_fusion_emitters=false"
if "XLA_FLAGS" not in os.environ:
    _known = subprocess.run(
        [sys.executable, "-c", "import jax; jax.devices()"],
        env={**os.environ, "XLA_FLAGS": _QUICKER},
        capture_output=True,
        check=False,
    )
    os.environ["XLA_FLAGS"] = _QUICK_TO_COMPILE if _known.returncode else _QUICKER

import jax
from jaxtyping import install_import_hook

jax.config.update("jax_numpy_rank_promotion", "raise")
install_import_hook(("lopt", "meta_train", "tasks"), "beartype.beartype")
