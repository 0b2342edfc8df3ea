"""Running a per-parameter function over a large tensor in pieces that fit into cache.

A learned optimizer evaluates a small network once per parameter. Over a whole tensor its hidden
activations (32 floats per parameter and layer) would stream through main memory; over blocks of
some hundred parameters they stay in the core's cache, which is worth a factor of 1.5 to 2 on CPU.
On accelerators blocks bound the memory.

A tensor on one device is flattened to rows ``[k, parameters]`` and cut into blocks: the parameters
are the contiguous axis, so that every elementwise operation and every matrix product runs along
them. A tensor that may be split over devices keeps its axes, because to flatten or to cut a split
axis is to gather it. Its pieces take every p-th position of one axis: every device then has its
share of every piece, whichever axes are split. That a tensor is split cannot be seen under ``jit``
and a mesh of automatic axis types, so it may be wherever there are several devices, except inside
``shard_map`` and ``pmap``, where arrays are those of one device (``sharding.max_shards``).
"""

import contextlib
import contextvars
import math
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from lopt.sharding import max_shards

CPU_BLOCK = 512
"""Parameters per block on CPU: 32 hidden rows of 512 float32 are 64 KiB."""
ACCELERATOR_BLOCK = 2**20
"""Parameters per block elsewhere: bounds memory, and is large enough to fill the device."""

_block_size: contextvars.ContextVar[int | None] = contextvars.ContextVar("block_size", default=None)


@contextlib.contextmanager
def block_size(size: int | None) -> Iterator[None]:
    """Choose the parameters per block of all that is traced within; None: by the platform.

    The results are equal up to rounding; only speed and memory differ.
    """
    token = _block_size.set(size)
    try:
        yield
    finally:
        _block_size.reset(token)


def map_parameters(function: Callable[[Any], Any], arrays: Any, shape: tuple[int, ...]) -> Any:
    """Apply a per-parameter function to all parameters of one tensor, piece by piece.

    Args:
        function: maps a pytree of arrays ``[k, *piece]`` to a pytree of arrays ``[..., *piece]``,
            treating every position of the piece by itself. A piece has as many axes as the tensor,
            and arrays may then have length 1 along any of them, or it is a single axis.
        arrays: pytree of arrays ``[k, ...]`` whose other axes broadcast to ``shape``.
        shape: shape of the tensor.

    Returns:
        What ``function(arrays)`` would return: a pytree of arrays ``[..., *shape]``.
    """
    shards = max_shards(jax.tree.leaves(arrays)[0])
    if shards > 1:
        return _map_strided(function, arrays, shape, shards)
    rows = jax.tree.map(lambda x: as_rows(x, shape), arrays)
    out = _map_blocks(function, rows, math.prod(shape))
    return jax.tree.map(lambda x: x.reshape(*x.shape[:-1], *shape), out)


def as_rows(x: Float[Array, "k ..."], shape: tuple[int, ...]) -> Float[Array, "k n"]:
    """Features of one tensor, broadcast to its shape and flattened."""
    return jnp.broadcast_to(x, (len(x), *shape)).reshape(len(x), math.prod(shape))


def _block() -> int:
    by_platform = CPU_BLOCK if jax.default_backend() == "cpu" else ACCELERATOR_BLOCK
    return _block_size.get() or by_platform


def _map_blocks(function: Callable[[Any], Any], rows: Any, size: int) -> Any:
    """Blocks of a tensor on one device: rows ``[..., size]`` to ``[..., size]``."""
    block = _block()
    if size <= block:
        return function(rows)

    def apply_at(start: jax.Array) -> Any:
        cut = [jax.lax.dynamic_slice_in_dim(row, start, block, axis=-1) for row in leaves]
        return function(treedef.unflatten(cut))

    def body(out: Any, start: jax.Array) -> tuple[Any, None]:
        put = jax.tree.map(
            lambda whole, part: jax.lax.dynamic_update_slice_in_dim(whole, part, start, axis=-1),
            out,
            apply_at(start),
        )
        return put, None

    leaves, treedef = jax.tree.flatten(rows)
    # The last block starts early enough to be a full one. It repeats a few parameters, which is
    # harmless and cheaper than padding every row or compiling the remainder separately.
    starts = np.minimum(np.arange(0, size, block), size - block).astype(np.int32)
    shapes = jax.eval_shape(apply_at, jax.ShapeDtypeStruct((), jnp.int32))
    empty = jax.tree.map(lambda part: jnp.zeros((*part.shape[:-1], size), part.dtype), shapes)
    return jax.lax.scan(body, empty, jnp.asarray(starts))[0]


def _map_strided(
    function: Callable[[Any], Any], arrays: Any, shape: tuple[int, ...], shards: int
) -> Any:
    """Pieces of a tensor that may be split over devices: piece j has positions j, j + p, ..."""
    axis, pieces = _choose_cut(shape, _block() * shards, shards)
    if pieces == 1:
        return function(arrays)

    def take(x: jax.Array, piece: jax.Array) -> jax.Array:
        if x.shape[1 + axis] == 1:
            return x
        split = x.reshape(*x.shape[: 1 + axis], -1, pieces, *x.shape[2 + axis :])
        return jax.lax.dynamic_index_in_dim(split, piece, 2 + axis, keepdims=False)

    def put_back(x: jax.Array) -> jax.Array:
        axes_behind = len(shape) - axis - 1
        leading = x.shape[1 : x.ndim - len(shape)]
        return jnp.moveaxis(x, 0, x.ndim - 1 - axes_behind).reshape(*leading, *shape)

    out = jax.lax.map(
        lambda piece: function(jax.tree.map(lambda x: take(x, piece), arrays)),
        jnp.arange(pieces, dtype=jnp.int32),
    )
    return jax.tree.map(put_back, out)


def _choose_cut(shape: tuple[int, ...], limit: int, shards: int) -> tuple[int, int]:
    """An axis and a number of pieces, the smallest that brings a piece to ``limit`` parameters.

    A split axis is split into a common divisor of its length and ``shards``. If the rest of its
    length is a multiple of the number of pieces, no share of a piece crosses devices.
    """
    cuts = [
        (pieces, axis)
        for axis, length in enumerate(shape)
        for pieces in range(1, length // math.gcd(length, shards) + 1)
        if length // math.gcd(length, shards) % pieces == 0
    ]
    enough = [cut for cut in cuts if cut[0] * limit >= math.prod(shape)]
    pieces, axis = min(enough) if enough else max(cuts, default=(1, 0))
    return axis, pieces
