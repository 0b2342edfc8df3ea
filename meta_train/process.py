"""How a process is set up for JAX: a device for every core, and programs compiled only once."""

import os
from pathlib import Path

import jax
import joblib

_CPU_COUNT_FLAG = "xla_force_host_platform_device_count"
_CPU_TIMEOUT_FLAGS = (
    "xla_cpu_collective_call_warn_stuck_timeout_seconds",
    "xla_cpu_collective_call_terminate_timeout_seconds",
)
_CPU_TIMEOUT_SECONDS = 24 * 3600
_OWN_VARIABLE = "LOPT_CACHE_DIR"


def one_device_per_core() -> None:
    """Let JAX have one CPU device per core; to be called before it starts its backends.

    XLA ends a process in which one CPU device waits 40 seconds for another. Particles of long
    inner problems may well differ by more, above all in the first meta-step, so the limit is
    raised. Settings that the user has made in ``XLA_FLAGS`` stay.
    """
    flags = os.environ.get("XLA_FLAGS", "")
    missing = [flag for flag in _CPU_TIMEOUT_FLAGS if flag not in flags]
    limits = [f"--{flag}={_CPU_TIMEOUT_SECONDS}" for flag in missing]
    os.environ["XLA_FLAGS"] = " ".join([flags, *limits]).strip()
    if _CPU_COUNT_FLAG in flags:
        return
    try:
        jax.config.update("jax_num_cpu_devices", joblib.cpu_count())
    except RuntimeError:
        return  # the backends run already, with the devices that they have


def keep_compiled() -> Path | None:
    """Keep compiled programs, so that a second start compiles nothing; returns their folder.

    ``JAX_COMPILATION_CACHE_DIR`` is JAX's own setting and wins over ``cache_folder("jax")``.
    """
    if not os.environ.get("JAX_COMPILATION_CACHE_DIR"):
        path = cache_folder("jax")
        if path is None:
            return None
        jax.config.update("jax_compilation_cache_dir", str(path))
    # Every program counts: a start compiles dozens of small ones besides the meta-step.
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
    return Path(str(jax.config.values["jax_compilation_cache_dir"]))


def cache_folder(name: str, parent: str | os.PathLike[str] | None = None) -> Path | None:
    """A folder that outlives a run, for what is computed only once; made where it is not there.

    Args:
        name: of the folder.
        parent: in which it is; None takes ``LOPT_CACHE_DIR``, or the user's cache folder.

    Returns:
        None where it cannot be written, or ``LOPT_CACHE_DIR`` is empty, which turns caches off.
    """
    own = os.environ.get(_OWN_VARIABLE) if parent is None else parent
    if own == "":
        return None
    path = (Path(own).expanduser() if own else _user_cache() / "lopt") / name
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError:
        return None
    return path if os.access(path, os.W_OK) else None


def _user_cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
