"""JAX's persistent compilation cache: a second start compiles nothing."""

import os
from pathlib import Path

_OWN_VARIABLE = "LOPT_CACHE_DIR"


def enable() -> Path | None:
    """Keep compiled programs in a folder of the user's; returns it.

    ``JAX_COMPILATION_CACHE_DIR`` is JAX's own setting and wins; ``LOPT_CACHE_DIR`` names another
    parent folder than the user's cache folder, and empty turns the cache off (None is returned).
    """
    import jax

    if not os.environ.get("JAX_COMPILATION_CACHE_DIR"):
        folder = _folder()
        if folder is None:
            return None
        jax.config.update("jax_compilation_cache_dir", str(folder))
    # Every program counts: a start compiles dozens of small ones besides the meta-step.
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
    return Path(str(jax.config.values["jax_compilation_cache_dir"]))


def _folder() -> Path | None:
    own = os.environ.get(_OWN_VARIABLE)
    if own == "":
        return None
    parent = Path(own) if own else _user_cache() / "lopt"
    folder = parent / "jax"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return None
    return folder if os.access(folder, os.W_OK) else None


def _user_cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
