"""Where the arrays of an optimizer's state are, if the parameters are spread over devices.

What is kept for every parameter, such as momenta ``[6, *shape]``, is split over the devices like
the parameter itself, leading axes and axes of length 1 apart; everything else is on all devices.

Under a mesh of explicit axis types a parameter's sharding is part of its type, also while ``jit``
traces. Under a mesh of automatic axis types it is known only where the arrays are: of a traced
parameter nothing can be said but that there are several devices (``max_shards``).
"""

import math
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax.sharding import (
    AxisType,
    Mesh,
    NamedSharding,
    PartitionSpec,
    Sharding,
    SingleDeviceSharding,
)
from jaxtyping import Array, Float


def state_sharding(
    tx: optax.GradientTransformation, params: Any, params_sharding: Any = None
) -> Any:
    """Shardings of an optimizer's state, for example as ``out_shardings`` of ``jit(tx.init)``.

    Nothing is computed: ``tx.init`` is traced with parameters whose types carry their sharding,
    so that any optimizer answers for itself, also inside ``optax.chain`` and other wrappers.

    Args:
        tx: any Optax optimizer.
        params: the parameters, or their ``jax.ShapeDtypeStruct``.
        params_sharding: ``jax.sharding.NamedSharding`` of every parameter, all of one mesh: a
            tree like ``params``, or a prefix of it such as a single one. By default those that
            ``params`` have.

    Returns:
        A tree like ``tx.init(params)`` with a ``NamedSharding`` in the place of every array.

    Raises:
        ValueError: a sharding that does not fit its parameter, is no ``NamedSharding`` or is of
            another mesh than the rest.
    """
    if params_sharding is None:
        params_sharding = jax.tree.map(lambda p: getattr(p, "sharding", None) or "unknown", params)
    shardings = _like_params(params, params_sharding)
    meshes = {sharding.mesh for sharding in jax.tree.leaves(params_sharding)}
    if len(meshes) != 1:
        raise ValueError(
            f"params_sharding is of {len(meshes)} meshes, but the parameters of one optimizer must "
            "share one; make every NamedSharding with the same jax.sharding.Mesh."
        )
    (mesh,) = meshes
    explicit = Mesh(
        mesh.devices, mesh.axis_names, axis_types=(AxisType.Explicit,) * len(mesh.axis_names)
    )
    typed = jax.tree.map(
        lambda p, s: jax.ShapeDtypeStruct(
            p.shape, p.dtype, sharding=NamedSharding(explicit, s.spec)
        ),
        params,
        shardings,
    )
    with jax.sharding.use_abstract_mesh(explicit.abstract_mesh):
        state = jax.eval_shape(tx.init, typed)
    return jax.tree.map(
        lambda x: NamedSharding(mesh, x.sharding.spec if x.sharding else PartitionSpec()), state
    )


def max_shards(x: Array) -> int:
    """Over how many devices an array may be split, as far as its type and the process tell.

    It is 1 inside ``shard_map`` and ``pmap``, where arrays are those of one device.
    """
    mesh = jax.typeof(x).sharding.mesh
    if mesh.empty:
        return jax.device_count()
    return math.prod(
        size
        for size, kind in zip(mesh.axis_sizes, mesh.axis_types, strict=True)
        if kind != AxisType.Manual
    )


def zeros(shape: tuple[int, ...], param: Any) -> Float[Array, "..."]:
    """Float32 zeros on the devices of a parameter, split like it.

    Args:
        shape: ``[*leading, *shape of the parameter]``, where axes may have length 1 instead.
        param: the parameter, or its ``jax.ShapeDtypeStruct``.
    """
    placement = _placement(param)
    if isinstance(placement, NamedSharding):
        placement = NamedSharding(placement.mesh, _spec(shape, param.shape, placement.spec))
        if not isinstance(placement.mesh, Mesh):
            return jnp.zeros(shape, jnp.float32, out_sharding=placement)
    return jnp.zeros(shape, jnp.float32, device=placement)


def whole(x: Array) -> Array:
    """The array with all of it on every device, if its type says that it is split."""
    split = any(jax.typeof(x).sharding.spec)
    return jax.sharding.reshard(x, PartitionSpec()) if split else x


def split_like(x: Array, other: Array) -> Array:
    """The array split as the type of another one of the same shape says."""
    sharding = jax.typeof(other).sharding
    return jax.sharding.reshard(x, sharding) if any(sharding.spec) else x


def join(state: Any, params: Any) -> Any:
    """The state with what is nowhere in particular put on all devices of the parameters.

    Without this the results of the first update would be on other devices than what went in, and
    the second update would compile once more.
    """
    placements = [_placement(param) for param in jax.tree.leaves(params)]
    known = [p for p in placements if p is not None and not _is_abstract(p)]
    if not known:
        return state
    where = known[0]
    if isinstance(where, NamedSharding):
        where = NamedSharding(where.mesh, PartitionSpec())
    return jax.tree.map(
        lambda x: jax.device_put(x, where) if _is_concrete(x) and not x.committed else x, state
    )


def _is_concrete(x: Any) -> bool:
    """Whether an array is somewhere; traced arrays do not have the attribute."""
    return isinstance(x, jax.Array) and hasattr(x, "sharding")


def _is_abstract(sharding: Sharding) -> bool:
    return isinstance(sharding, NamedSharding) and not isinstance(sharding.mesh, Mesh)


def _placement(x: Any) -> Sharding | None:
    """Where an array was put or, of a traced one, what its type says; None if nowhere."""
    if isinstance(x, jax.ShapeDtypeStruct):
        return x.sharding
    if _is_concrete(x):
        fits = isinstance(x.sharding, NamedSharding | SingleDeviceSharding)
        return x.sharding if x.committed and fits else None
    typed = jax.typeof(x).sharding
    return typed if any(typed.spec) else None


def _spec(
    shape: tuple[int, ...], param_shape: tuple[int, ...], spec: PartitionSpec
) -> PartitionSpec:
    """The spec of an array whose last axes are the parameter's, or have length 1."""
    axes = [*spec, *[None] * (len(param_shape) - len(spec))]
    leading = len(shape) - len(param_shape)
    kept = [axis if n > 1 else None for axis, n in zip(axes, shape[leading:], strict=True)]
    while kept and kept[-1] is None:
        kept.pop()  # as in the shardings of what jit returns
    return PartitionSpec(*[None] * leading, *kept)


def _like_params(params: Any, params_sharding: Any) -> Any:
    """A checked tree of one NamedSharding for every parameter."""
    try:
        shardings = jax.tree.broadcast(params_sharding, params)
    except ValueError as error:
        raise ValueError(
            "params_sharding must be a tree like params, or a prefix of it, but has the structure "
            f"{jax.tree.structure(params_sharding)} beside {jax.tree.structure(params)}."
        ) from error

    def check(path: Any, param: Any, sharding: Any) -> None:
        name = f"params_sharding at params{jax.tree_util.keystr(path)}"
        if not isinstance(sharding, NamedSharding) or _is_abstract(sharding):
            raise ValueError(
                f"{name} is {sharding}, but must be a jax.sharding.NamedSharding of a "
                "jax.sharding.Mesh; put the parameters on a mesh or pass params_sharding."
            )
        if len(sharding.spec) > len(param.shape):
            raise ValueError(
                f"{name} names {len(sharding.spec)} axes of shape {tuple(param.shape)}."
            )
        try:
            sharding.shard_shape(param.shape)
        except ValueError as error:
            raise ValueError(f"{name} does not fit shape {tuple(param.shape)}: {error}") from error

    jax.tree_util.tree_map_with_path(check, params, shardings)
    return shardings
