"""Folders that outlive a run: JAX's compilation cache, and what commands compute only once."""

import os
from pathlib import Path

_OWN_VARIABLE = "LOPT_CACHE_DIR"


def enable() -> Path | None:
    """Keep compiled programs, so that a second start compiles nothing; returns their folder.

    ``JAX_COMPILATION_CACHE_DIR`` is JAX's own setting and wins over ``folder("jax")``.
    """
    import jax

    if not os.environ.get("JAX_COMPILATION_CACHE_DIR"):
        path = folder("jax")
        if path is None:
            return None
        jax.config.update("jax_compilation_cache_dir", str(path))
    # Every program counts: a start compiles dozens of small ones besides the meta-step.
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
    return Path(str(jax.config.values["jax_compilation_cache_dir"]))


def folder(name: str, parent: str | os.PathLike | None = None) -> Path | None:
    """A folder of the user's cache, made where it is not there.

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
