"""Updates of large tensors that read and write every number once per pass.

A rule states what happens to one parameter as an elementwise function of fields: an update needs
one pass that writes the steps and the next state (``update``) and, before it, one for each round of
means over the tensor (``means``). ``jax.numpy`` computes such a function on whole arrays, where XLA
may put its intermediate results through memory. A Pallas kernel (``lopt/pallas.py``) calls the same
function on one block of the tensor after the other.

A field is an array ``[k, *shape]`` of k numbers per parameter, with length 1 along axes on which
they do not depend. In a kernel it is a tuple of k arrays ``[1, rows, columns]``, or one such array
if k is 1, because accelerators hold no axis of length 3 or 6. So functions of fields consist of
arithmetic, and of ``jax.tree.map`` where k is above 1.

A kernel takes a tensor if all of this holds, otherwise ``jax.numpy`` does:

- ``update_kernel("pallas")`` was chosen. The default chooses no kernel before one has been timed.
- The tensor has more than 512 parameters.
- Every field depends on all of the tensor's axes but the last two, or on none of them: any tensor
  without factored moments qualifies, and any matrix.
- The tensor is on one device as far as can be told (``sharding.max_shards``), because a kernel sees
  no more than its own device's part. Inside ``shard_map`` that is so.
"""

import contextlib
import contextvars
import math
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from lopt.blocks import CPU_BLOCK
from lopt.sharding import max_shards

KERNELS = ("auto", "jnp", "pallas")
Fields = Any
"""A pytree of fields."""

_kernel: contextvars.ContextVar[str] = contextvars.ContextVar("update_kernel", default="auto")


@contextlib.contextmanager
def update_kernel(name: str) -> Iterator[None]:
    """Choose what updates large tensors in all that is traced within.

    The results are equal up to rounding; only speed and memory differ.

    Args:
        name: "jnp"; "pallas"; or "auto", which is "jnp" until kernels have been timed on hardware.
            On a CPU kernels are interpreted, which is slow and for tests.

    Raises:
        ValueError: another name.
    """
    check(name)
    token = _kernel.set(name)
    try:
        yield
    finally:
        _kernel.reset(token)


def check(name: str) -> None:
    """A clear error for what ``update_kernel`` does not know."""
    if name not in KERNELS:
        raise ValueError(f"update_kernel = {name!r} must be one of {', '.join(KERNELS)}.")


def takes(fields: Fields, shape: tuple[int, ...]) -> bool:
    """Whether a kernel takes a tensor of this shape with these fields."""
    if _kernel.get() != "pallas" or math.prod(shape) <= CPU_BLOCK:
        return False
    leaves = jax.tree.leaves(fields)
    leading = [x.shape[1:-2] for x in leaves]
    qualifies = all(axes == shape[:-2] or math.prod(axes) == 1 for axes in leading)
    return qualifies and max_shards(leaves[0]) == 1


def means(
    function: Callable[[Fields], Fields], fields: Fields, shape: tuple[int, ...]
) -> Float[Array, " F"]:
    """Means over one tensor.

    Args:
        function: elementwise, from fields to fields.
        fields: what it is called with.
        shape: shape of the tensor.

    Returns:
        The mean of each of the F numbers per parameter that it returns, in the order of its leaves;
        zeros for a tensor of no parameters.
    """

    def reference(fields: Fields) -> Float[Array, " F"]:
        return jnp.concatenate([_mean(x) for x in jax.tree.leaves(function(fields))])

    def kernel(fields: Fields) -> Float[Array, " F"]:
        from lopt import pallas

        return pallas.sums(function, fields, shape, jax.default_backend()) / math.prod(shape)

    if not takes(fields, shape):
        return reference(fields)
    return _with_derivatives_of(reference, kernel)(fields)


def update(
    function: Callable[[Any, Fields, Fields], tuple[jax.Array, Fields]],
    theta: Any,
    state: Fields,
    inputs: Fields,
    shape: tuple[int, ...],
) -> tuple[jax.Array, Fields]:
    """One step of one tensor, and its next state.

    Args:
        function: elementwise in the fields: from theta, the state and further fields to the step,
            without the leading axis of a field, and the next state.
        theta: pytree of vectors and matrices; in a kernel of ``jax.Ref``, to be read one number at
            a time, where vectors are matrices of one row.
        state: fields of the tensor's full shape, which a kernel overwrites.
        inputs: fields that it only reads.
        shape: shape of the tensor.
    """

    def kernel(theta: Any, state: Fields, inputs: Fields) -> tuple[jax.Array, Fields]:
        from lopt import pallas

        return pallas.overwrite(function, theta, state, inputs, shape, jax.default_backend())

    if not takes((state, inputs), shape):
        return function(theta, state, inputs)
    return _with_derivatives_of(function, kernel)(theta, state, inputs)


def _mean(x: Float[Array, "k ..."]) -> Float[Array, " k"]:
    return jnp.sum(x, axis=tuple(range(1, x.ndim))) / max(x.size // len(x), 1)


def _with_derivatives_of(
    reference: Callable[..., Any], kernel: Callable[..., Any]
) -> Callable[..., Any]:
    """The kernel, whose derivatives are those of the function that it computes."""
    differentiable = jax.custom_jvp(kernel)
    differentiable.defjvp(lambda at, along: (kernel(*at), jax.jvp(reference, at, along)[1]))
    return differentiable
