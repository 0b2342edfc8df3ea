"""The one place where code for one particle becomes code for all of them."""

import contextlib
import contextvars
import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

import jax

MAPPINGS = ("sequential", "parallel")
UPDATE_KERNELS = ("auto", "jnp", "pallas")
"""Those of ``lopt.kernels``."""
PARTNERS_TOGETHER = 2**20
"""Bytes of a particle's state up to which a CPU works on both partners of a pair at once. Small
operations cost their start, which two share, and one batch serves both: up to 1.2 times the rate.
Larger states push each other out of the core's cache: down to 0.6 times."""


@dataclasses.dataclass(frozen=True)
class Execution:
    """How many particles, and how many parameters of a tensor, are worked on at once.

    The results are equal up to rounding; only speed and memory differ.

    Args:
        particles: "sequential", one particle after the other, so that the state of one stays in
            cache and a ``lax.cond`` skips the branch not taken; "parallel", all at once by
            ``vmap``; None takes the first on a CPU, but for partners of a pair whose states are
            small, and the second elsewhere.
        block_size: parameters of one tensor that a learned optimizer's network sees at once, see
            ``lopt.blocks``; None takes 512 on a CPU and 2^20 elsewhere.
        update_kernel: what updates large tensors, see ``lopt.kernels``.

    Raises:
        ValueError: for an unknown mapping or kernel, or a block of no parameters.
    """

    particles: str | None = None
    block_size: int | None = None
    update_kernel: str = "auto"

    def __post_init__(self) -> None:
        if self.particles is not None and self.particles not in MAPPINGS:
            raise ValueError(
                f"particles = {self.particles!r} must be one of {', '.join(MAPPINGS)}, or None."
            )
        if self.update_kernel not in UPDATE_KERNELS:
            raise ValueError(
                f"update_kernel = {self.update_kernel!r} must be one of "
                f"{', '.join(UPDATE_KERNELS)}."
            )
        size = self.block_size
        if size is not None and (isinstance(size, bool) or not isinstance(size, int) or size < 1):
            raise ValueError(
                f"block_size = {size!r} must be a whole number of parameters, at least 1, or None."
            )


_execution: contextvars.ContextVar[Execution] = contextvars.ContextVar("execution")


@contextlib.contextmanager
def use(execution: Execution) -> Iterator[None]:
    """Choose the execution of all that is traced within; compiled programs keep theirs."""
    token = _execution.set(execution)
    try:
        yield
    finally:
        _execution.reset(token)


def execution() -> Execution:
    """What the innermost ``use`` chose."""
    return _execution.get(Execution())


def is_sequential(execution: Execution) -> bool:
    """Whether particles are worked on one after the other."""
    chosen = execution.particles
    return chosen == "sequential" if chosen else jax.default_backend() == "cpu"


def map_particles(fn: Callable[..., Any], *xs: Any) -> Any:
    """Apply ``fn`` to every slice of ``xs`` along their leading axes, as ``Execution`` says.

    Args:
        fn: function of one particle, or of one pair.
        *xs: its arguments, each with a leading axis added.
    """
    return _in_turn(fn, xs) if is_sequential(execution()) else jax.vmap(fn)(*xs)


def map_partners(fn: Callable[..., Any], *xs: Any) -> Any:
    """``map_particles`` of the two partners of an antithetic pair, whose batches are the same."""
    size = sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(xs)) / 2
    small = execution().particles is None and size <= PARTNERS_TOGETHER
    in_turn = is_sequential(execution()) and not small
    return _in_turn(fn, xs) if in_turn else jax.vmap(fn)(*xs)


def _in_turn(fn: Callable[..., Any], xs: tuple[Any, ...]) -> Any:
    return jax.lax.map(lambda args: fn(*args), xs)
