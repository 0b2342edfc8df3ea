"""The rates of this machine, measured on the devices that JAX has here."""

import math
import platform
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from meta_train.benchmark.protocol import clock, cores

_ELEMENTS = 4096
"""Numbers in the arrays of elementwise work: they stay in the first cache."""
_REPEATS = 64


def rates(copied_bytes: int) -> dict[str, float]:
    """Operations per second by kind, see ``operations``, and bytes per second of a copy.

    Args:
        copied_bytes: size of what is copied, on which depends from which cache it comes.
    """
    size = 1024
    matrix = jnp.ones((size, size))
    x = jnp.linspace(0.5, 1.5, _ELEMENTS)
    key = jax.random.key(0)
    return {
        "matrix": 2 * size**3 / _seconds(lambda a: a @ a, matrix),
        "arithmetic": _elementwise(lambda x: x * 0.999 + 0.001, 2, x),
        "division": _elementwise(lambda x: 1.7 / (x + 0.7), 1, x),
        "transcendental": _elementwise(jnp.tanh, 1, x),
        "random": 2**16 / _seconds(lambda key: jax.random.bits(key, (2**16,)), key),
        "copy": copy_rate(copied_bytes),
    }


def copy_rate(copied_bytes: int) -> float:
    """Bytes per second, read and written, of a copy of this size."""
    copied = jnp.ones(max(copied_bytes // 4, 1024))
    return 2 * copied.nbytes / _loop_seconds(lambda x: x * 0.999, copied)


def describe() -> dict[str, Any]:
    """What this machine is, in words."""
    return {
        "processor": _processor(),
        "device": jax.devices()[0].device_kind,
        "cores": cores(),
        "vector_instructions": _vector_instructions(),
        "jax": jax.__version__,
        "python": platform.python_version(),
    }


def _elementwise(function: Callable[[Any], Any], operations: int, x: jax.Array) -> float:
    """Operations per second of a function that is applied again and again to small arrays.

    Four chains side by side, so that a processor need not wait for one result before the next.
    """

    def chains(x: jax.Array) -> jax.Array:
        for _ in range(_REPEATS // 4):
            x = function(x)
        return x

    def work(x: jax.Array) -> jax.Array:
        return sum((chains(x + 0.001 * i) for i in range(4)), jnp.zeros(())) * 0.25

    return operations * _REPEATS * x.size / _loop_seconds(work, x)


def _loop_seconds(function: Callable[[Any], Any], x: jax.Array) -> float:
    """Seconds of one call among many in one program, without the cost of starting it."""
    passes = max(4, math.ceil(2**22 / x.size))
    return _seconds(lambda x: jax.lax.fori_loop(0, passes, lambda _, x: function(x), x), x) / passes


def _seconds(function: Callable[[Any], Any], x: jax.Array) -> float:
    """The shortest of several calls, which other programs have disturbed least."""
    compiled, seconds = jax.jit(function), []
    for _ in range(12):
        start = clock()
        jax.block_until_ready(compiled(x))
        seconds.append(clock() - start)
    return float(np.min(seconds[2:]))


def _cpu_lines(name: str) -> list[str]:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return []
    return [line.split(":", 1)[1].strip() for line in lines if line.startswith(name)]


def _processor() -> str:
    return next(iter(_cpu_lines("model name")), platform.processor() or platform.machine())


def _vector_instructions() -> str:
    """The widest that the processor has; ``XLA_FLAGS=--xla_cpu_max_isa`` may allow less."""
    known = set(" ".join(_cpu_lines("flags")[:1]).split())
    widest = ("avx512f", "AVX-512"), ("avx2", "AVX2"), ("avx", "AVX"), ("sse4_2", "SSE4.2")
    return next((words for flag, words in widest if flag in known), "unknown")
