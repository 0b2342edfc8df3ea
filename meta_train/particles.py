"""The one place where code for one particle becomes code for all of them."""

from collections.abc import Callable
from typing import Any

import jax


def map_particles(fn: Callable[..., Any], *xs: Any) -> Any:
    """Apply ``fn`` to every slice of ``xs`` along their leading axes.

    On a CPU particles run one after the other, so that the state of one stays in cache and a
    ``lax.cond`` skips the branch not taken; on accelerators all run at once. The results are
    equal up to rounding.

    Args:
        fn: function of one particle, or of one pair.
        *xs: its arguments, each with a leading axis added.
    """
    if jax.default_backend() == "cpu":
        return jax.lax.map(lambda args: fn(*args), xs)
    return jax.vmap(fn)(*xs)
