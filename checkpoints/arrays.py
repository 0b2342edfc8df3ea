"""Trees as arrays by name, which is how they are stored, compared and described."""

import zlib
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

Arrays = dict[str, Any]
"""Arrays by the path of their leaf: "theta/mlp/w0"."""
Description = dict[str, dict[str, Any]]
"""By name, in the order of the tree: {"shape": [...], "dtype": "float32", "crc32": 123}."""


class MismatchError(Exception):
    """A step is whole, but does not hold the arrays that are asked for."""


def flatten(tree: Any) -> Arrays:
    """The leaves by name; typed PRNG keys become their uint32 data."""
    leaves = jax.tree_util.tree_flatten_with_path(tree)[0]
    return {_name(path): _key_data(leaf) if _is_key(leaf) else leaf for path, leaf in leaves}


def unflatten(like: Any, arrays: Mapping[str, Any]) -> Any:
    """The tree of ``like``, arrays or shapes, with the leaves that ``flatten`` gave.

    Keys are of JAX's default implementation, like all keys of ``jax.random.key``.
    """
    leaves, structure = jax.tree_util.tree_flatten_with_path(like)
    restored = [
        jax.random.wrap_key_data(arrays[_name(path)]) if _is_key(leaf) else arrays[_name(path)]
        for path, leaf in leaves
    ]
    return jax.tree_util.tree_unflatten(structure, restored)


def describe(arrays: Arrays) -> Description:
    """Shape, dtype and checksum of every array; reads them all.

    An array of which this process has only a part has no checksum, None.
    """
    return {
        name: {
            "shape": list(x.shape),
            "dtype": str(x.dtype),
            "crc32": checksum(x) if is_here(x) else None,
        }
        for name, x in arrays.items()
    }


def is_here(array: Any) -> bool:
    """Whether this process has all of the array."""
    if not isinstance(array, jax.Array):
        return True
    return array.is_fully_addressable or array.is_fully_replicated


def checksum(array: Any) -> int:
    """CRC-32 of the array's bytes in row-major order."""
    return zlib.crc32(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)


def check_same(wanted: Arrays, stored: Description) -> None:
    """Raise ``MismatchError`` unless everything wanted is stored with this shape and dtype."""
    for name in wanted:
        if name not in stored:
            raise MismatchError(f"it has no array {name}")
        want, have = wanted[name], stored[name]
        if list(want.shape) != have["shape"] or str(want.dtype) != have["dtype"]:
            raise MismatchError(
                f"its array {name} is {have['dtype']}{have['shape']}, this run wants "
                f"{want.dtype}{list(want.shape)}"
            )


def _name(path: tuple[Any, ...]) -> str:
    return jax.tree_util.keystr(path, simple=True, separator="/")


def _is_key(leaf: Any) -> bool:
    return jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _key_data(leaf: Any) -> Any:
    if isinstance(leaf, jax.ShapeDtypeStruct):
        data = jax.eval_shape(jax.random.key_data, leaf)
        return jax.ShapeDtypeStruct(data.shape, data.dtype, sharding=leaf.sharding)
    return jax.random.key_data(leaf)
