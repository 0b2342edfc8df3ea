"""One pass over a tensor as a Pallas kernel, for ``lopt/kernels.py``.

A tensor is a stack of matrices, cut into blocks; the grid has one program for every block. Blocks
reach beyond matrices that they do not divide. What is there is read as anything, left out of sums,
and not written.

TPUs hold blocks in tiles of 8 x 128 numbers, and single numbers in a memory of their own. Triton
knows arrays whose lengths are powers of two, and checks no bounds.
"""

import functools
import math
import operator
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl
from jax.experimental.pallas import tpu as pltpu
from jax.experimental.pallas import triton as pltriton
from jaxtyping import Array, Float

Sizes = tuple[int, int, int]
"""Matrices, rows, columns."""
Mask = Any


class Target(NamedTuple):
    """How a platform runs a pass."""

    block: Callable[[int, int], tuple[int, int]]
    """Rows and columns of a block, given those of the matrices."""
    read: Callable[[Any, int, Mask], jax.Array]
    """The i-th array ``[1, rows, columns]`` of a field."""
    write: Callable[[Any, int, jax.Array, Mask], None]
    numbers: dict[str, Any]
    """Where single numbers are: arguments of their ``BlockSpec``."""
    options: dict[str, Any]
    """Further arguments of ``pallas_call``."""


def _mosaic_block(rows: int, cols: int) -> tuple[int, int]:
    cols = min(cols, 512)
    most = 2**14 // max(cols, 128) // 8 * 8
    return min(rows, most), cols


def _triton_block(rows: int, cols: int) -> tuple[int, int]:
    cols = min(pl.next_power_of_2(cols), 256)
    return min(pl.next_power_of_2(rows), 512 // cols), cols


def _read(ref: Any, i: int, mask: Mask) -> jax.Array:
    return ref[pl.ds(i, 1)]


def _write(ref: Any, i: int, value: jax.Array, mask: Mask) -> None:
    ref[pl.ds(i, 1)] = value


def _masked_read(ref: Any, i: int, mask: Mask) -> jax.Array:
    return pltriton.load(ref.at[pl.ds(i, 1)], mask=mask, other=None if mask is None else 0.0)


def _masked_write(ref: Any, i: int, value: jax.Array, mask: Mask) -> None:
    pltriton.store(ref.at[pl.ds(i, 1)], value, mask=mask)


_TRITON = Target(
    _triton_block,
    _masked_read,
    _masked_write,
    {},
    {"compiler_params": pltriton.CompilerParams(num_warps=4)},
)
_MOSAIC = Target(_mosaic_block, _read, _write, {"memory_space": pltpu.SMEM}, {})
TARGETS: dict[str, Target] = {
    "cpu": _MOSAIC._replace(options={"interpret": True}),
    "gpu": _TRITON,
    "tpu": _MOSAIC,
}


class Tiling(NamedTuple):
    """How the stack of matrices is cut, and who reads and writes the blocks."""

    target: Target
    sizes: Sizes
    block: Sizes

    @property
    def grid(self) -> Sizes:
        """Number of blocks along each axis."""
        matrices, rows, cols = map(pl.cdiv, self.sizes, self.block)
        return matrices, rows, cols

    def spec(self, x: Any) -> pl.BlockSpec:
        """The part of a field ``[k, matrices, rows, columns]`` that a program has."""
        k, *lengths = x.shape
        _, *block = (b if n > 1 else 1 for n, b in zip(lengths, self.block, strict=True))

        def place(*program: Any) -> tuple[Any, ...]:
            return 0, *(i if n > 1 else 0 for i, n in zip(program, lengths, strict=True))

        return pl.BlockSpec((k, None, *block), place)

    def read(self, ref: Any) -> Any:
        """A field as functions of fields see it."""
        columns = [self.target.read(ref, i, self._inside(ref.shape)) for i in range(len(ref))]
        return columns[0] if len(columns) == 1 else tuple(columns)

    def write(self, ref: Any, field: Any) -> None:
        """The same, back."""
        for i, column in enumerate(field if isinstance(field, tuple) else (field,)):
            self.target.write(ref, i, column, self._inside(ref.shape))

    def sum(self, column: jax.Array) -> Float[Array, ""]:
        """The sum over what of the block is inside the matrix."""
        block = (1, *self.block[1:])
        column, inside = jnp.broadcast_to(column, block), self._inside(block)
        return jnp.sum(column if inside is None else jnp.where(inside, column, 0.0))

    def _inside(self, shape: tuple[int, ...]) -> Mask:
        """Which places of an array ``[k, rows, columns]`` are; None if all of them."""
        masks = []
        for axis in (1, 2):
            size, length = self.sizes[axis], self.block[axis]
            if shape[axis] > 1 and size % length:
                along = tuple(length if i == axis else 1 for i in range(3))
                places = jax.lax.broadcasted_iota(jnp.int32, along, axis)
                masks.append(pl.program_id(axis) * length + places < size)
        return functools.reduce(operator.and_, masks) if masks else None


Outputs = list[tuple[jax.ShapeDtypeStruct, pl.BlockSpec]]


@functools.partial(jax.jit, static_argnums=(0, 2, 3))  # one trace for all tensors of a shape
def sums(
    function: Callable[[Any], Any], fields: Any, shape: tuple[int, ...], platform: str
) -> Float[Array, " F"]:
    """Sums over a tensor of what a function of fields returns, see ``kernels.means``."""
    count = sum(map(len, jax.tree.leaves(jax.eval_shape(function, fields))))

    def body(tiling: Tiling, theta: None, fields: Any, refs: Any) -> None:
        for i, column in enumerate(jax.tree.leaves(function(fields))):
            refs[0][0, i] = tiling.sum(column)

    def outputs(tiling: Tiling) -> Outputs:
        parts = jax.ShapeDtypeStruct((*tiling.grid, 1, count), jnp.float32)
        spec = pl.BlockSpec(
            (None, None, None, 1, count), lambda *at: (*at, 0, 0), **tiling.target.numbers
        )
        return [(parts, spec)]

    (parts,) = _run(TARGETS[platform], body, None, fields, shape, outputs)
    return jnp.sum(parts, axis=(0, 1, 2, 3))


@functools.partial(jax.jit, static_argnums=(0, 4, 5))
def overwrite(
    function: Callable[..., Any],
    theta: Any,
    state: Any,
    inputs: Any,
    shape: tuple[int, ...],
    platform: str,
) -> tuple[jax.Array, Any]:
    """The step, and the next state in the memory of the one before, see ``kernels.update``."""
    old, tree = jax.tree.flatten(state)

    def body(tiling: Tiling, theta: Any, fields: Any, refs: Any) -> None:
        step, new = function(theta, *fields)
        for ref, field in zip(refs, [*tree.flatten_up_to(new), step[None]], strict=True):
            tiling.write(ref, field)

    def outputs(tiling: Tiling) -> Outputs:
        shapes = [_as_matrices(x.shape) for x in old] + [(1, *tiling.sizes)]
        fields = [jax.ShapeDtypeStruct(x, jnp.float32) for x in shapes]
        return [(field, tiling.spec(field)) for field in fields]

    *new, step = _run(
        TARGETS[platform], body, theta, (state, inputs), shape, outputs, overwritten=len(old)
    )
    new = [x.reshape(like.shape) for x, like in zip(new, old, strict=True)]
    return step.reshape(shape), tree.unflatten(new)


def _run(
    target: Target,
    body: Callable[[Tiling, Any, Any, Any], None],
    theta: Any,
    fields: Any,
    shape: tuple[int, ...],
    outputs: Callable[[Tiling], Outputs],
    overwritten: int = 0,
) -> Sequence[jax.Array]:
    """Run a kernel.

    Args:
        target: where.
        body: what one program does, given weights, fields and its parts of the outputs.
        theta: the weights, whole for every program.
        fields: those of the tensor.
        shape: shape of the tensor.
        outputs: their shapes, and the parts of the programs.
        overwritten: how many outputs lie where as many of the first fields are.
    """
    weights, theta_tree = jax.tree.flatten(jax.tree.map(jnp.atleast_2d, theta))
    leaves, fields_tree = jax.tree.flatten(fields)
    arrays = [jnp.reshape(x, _as_matrices(x.shape)) for x in leaves]

    sizes = _as_matrices((1, *shape))[1:]
    tiling = Tiling(target, sizes, (1, *target.block(*sizes[1:])))

    def kernel(*refs: Any) -> None:
        start, end = len(weights), len(weights) + len(arrays)
        fields = fields_tree.unflatten([tiling.read(ref) for ref in refs[start:end]])
        body(tiling, theta_tree.unflatten(refs[:start]), fields, refs[end:])

    shapes, specs = zip(*outputs(tiling), strict=True)
    numbers = [pl.BlockSpec(**target.numbers) for _ in weights]
    call = pl.pallas_call(
        kernel,
        out_shape=list(shapes),
        grid=tiling.grid,
        in_specs=[*numbers, *map(tiling.spec, arrays)],
        out_specs=list(specs),
        input_output_aliases={len(weights) + i: i for i in range(overwritten)},
        **target.options,
    )
    return call(*weights, *arrays)


def _as_matrices(shape: tuple[int, ...]) -> tuple[int, int, int, int]:
    """The shape of a field of a stack of matrices; a vector is a matrix of one row."""
    k, *leading, rows, cols = (shape[0], 1, 1, *shape[1:])
    return k, math.prod(leading), rows, cols
