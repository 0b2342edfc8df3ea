"""The one place where a program becomes one for several devices.

Particles are split over devices, everything else is on all of them. What runs on a device is
written for that device's particles and sums over all devices with ``sum_over_devices``; neither it
nor its caller knows how the devices are driven.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import (
    AxisType,
    Mesh,
    NamedSharding,
    PartitionSpec,
    Sharding,
    SingleDeviceSharding,
)

AXIS = "particles"
"""Name of the device axis in collectives and meshes."""

SPLIT = PartitionSpec(AXIS)
"""Arrays whose leading axis is split over the devices."""
REPLICATED = PartitionSpec()
"""Arrays that are whole on every device."""

BACKENDS = ("shard_map", "pmap")


@dataclasses.dataclass(frozen=True)
class Devices:
    """Devices of the default platform, as many of each process, and how they are driven.

    Args:
        count: number of devices, over all processes.
        backend: "shard_map", or "pmap" in a single process; the results are the same.

    Raises:
        ValueError: for more devices than there are, a number that the processes cannot share
            evenly, or an unknown backend.
    """

    count: int = 1
    backend: str = "shard_map"

    def __post_init__(self) -> None:
        if self.backend not in BACKENDS:
            raise ValueError(f"backend = {self.backend!r} must be one of {', '.join(BACKENDS)}.")
        if self.count < 1:
            raise ValueError(f"count = {self.count} devices; there must be at least 1.")
        if self.count > 1 and self.count > jax.device_count():
            raise ValueError(
                f"count = {self.count} devices, but only {jax.device_count()} of platform "
                f"{jax.default_backend()} are here."
            )
        processes = jax.process_count() if self.count > 1 else 1
        if self.count % processes:
            raise ValueError(
                f"count = {self.count} devices cannot be shared by {processes} processes."
            )
        if self.backend == "pmap" and processes > 1:
            raise ValueError('backend = "pmap" works in one process; use "shard_map" in several.')

    @property
    def mesh(self) -> Mesh:
        """The devices in a row, those of each process side by side."""
        share = self.count // jax.process_count()
        devices = [
            device
            for process in range(jax.process_count())
            for device in jax.local_devices(process)[:share]
        ]
        # Auto: under explicit axis types indexing and vmap of sharded arrays raise errors.
        return Mesh(np.asarray(devices), (AXIS,), axis_types=(AxisType.Auto,))

    def place(self, tree: Any, specs: Any = REPLICATED) -> Any:
        """Put arrays where ``map_over_devices`` wants them, so that no call has to move them.

        Args:
            tree: arrays.
            specs: ``SPLIT`` or ``REPLICATED``, or a tree prefix of these.
        """
        return _map_specs(
            lambda sharding, below: jax.tree.map(lambda x: _put(x, sharding), below),
            self._shardings(specs),
            tree,
        )

    def constrain(self, tree: Any, specs: Any) -> Any:
        """``place`` for traced arrays, the results of a program under jit."""
        if self.count == 1:
            return tree
        return jax.lax.with_sharding_constraint(tree, self._shardings(specs))

    def abstract(self, tree: Any, specs: Any) -> Any:
        """The tree of ``jax.ShapeDtypeStruct`` with the places that ``place`` would give."""
        return _map_specs(
            lambda sharding, below: jax.tree.map(lambda x: _with_sharding(x, sharding), below),
            self._shardings(specs),
            tree,
        )

    def _shardings(self, specs: Any) -> Any:
        if self.count == 1:
            return _map_specs(lambda spec: SingleDeviceSharding(jax.devices()[0]), specs)
        mesh = self.mesh
        return _map_specs(lambda spec: NamedSharding(mesh, spec), specs)

    def fitting(self, size: int) -> "Devices":
        """As many of these devices as divide ``size`` evenly, as many of each process.

        Raises:
            ValueError: not even one device of each process does.
        """
        least = jax.process_count() if self.count > 1 else 1
        for count in range(self.count, 0, -least):
            if size % count == 0:
                return dataclasses.replace(self, count=count)
        raise ValueError(f"{least} processes cannot share {size} groups of particles evenly.")


ONE_DEVICE = Devices()


def map_over_devices(
    fn: Callable[..., Any], devices: Devices, in_specs: Any, out_specs: Any
) -> Callable[..., Any]:
    """Make the function of one device's particles one of all particles, to be called under jit.

    Args:
        fn: takes and returns trees of one device's arrays; ``sum_over_devices`` works in it.
        devices: where it runs; on one device the result is ``fn`` itself.
        in_specs: for each argument ``SPLIT`` or ``REPLICATED``, or a tree prefix of these.
        out_specs: the same for the result; what is ``REPLICATED`` must be equal on all devices.

    Returns:
        A function of whole arrays.
    """
    if devices.count == 1:
        return fn
    mapped = _pmap if devices.backend == "pmap" else _shard_map
    return mapped(fn, devices, in_specs, out_specs)


def sum_over_devices(tree: Any) -> Any:
    """The sum over all devices inside ``map_over_devices``; elsewhere the tree itself."""
    try:
        return jax.lax.psum(tree, AXIS)
    except NameError:  # what JAX raises where no axis of this name is mapped
        return tree


def _shard_map(
    fn: Callable[..., Any], devices: Devices, in_specs: Any, out_specs: Any
) -> Callable[..., Any]:
    # With check_vma the gradient of a loss by a replicated argument would be summed over devices
    # without being asked to, and be larger by their number.
    return jax.shard_map(
        fn, mesh=devices.mesh, in_specs=in_specs, out_specs=out_specs, check_vma=False
    )


def _pmap(
    fn: Callable[..., Any], devices: Devices, in_specs: Any, out_specs: Any
) -> Callable[..., Any]:
    """pmap wants an axis for the devices on what is split: it is added before, removed after."""
    run = jax.pmap(
        fn,
        axis_name=AXIS,
        in_axes=_map_specs(lambda spec: 0 if spec == SPLIT else None, in_specs),
        out_axes=_map_specs(lambda spec: 0 if spec == SPLIT else None, out_specs),
        devices=list(devices.mesh.devices.flat),
    )

    def add_axis(x: Any) -> Any:
        return x.reshape(devices.count, -1, *x.shape[1:])

    def remove_axis(x: Any) -> Any:
        return x.reshape(-1, *x.shape[2:])

    def call(*args: Any) -> Any:
        result = run(*_map_split(add_axis, in_specs, args))
        return _map_split(remove_axis, out_specs, result)

    return call


def _put(x: Any, sharding: Sharding) -> Any:
    """``jax.device_put``; what all processes have is put on all devices without being sent."""
    if sharding.is_fully_addressable:
        return jax.device_put(x, sharding)
    if isinstance(x, jax.Array) and not x.is_fully_addressable:
        here = x.sharding.is_equivalent_to(sharding, x.ndim)
        return x if here else jax.jit(lambda x: x, out_shardings=sharding)(x)
    if isinstance(x, jax.Array) and jnp.issubdtype(x.dtype, jax.dtypes.prng_key):
        return jax.random.wrap_key_data(_put(jax.random.key_data(x), sharding))
    values = np.asarray(x)
    return jax.make_array_from_callback(values.shape, sharding, lambda index: values[index])


def _with_sharding(leaf: jax.ShapeDtypeStruct, sharding: Sharding) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding)


def _map_specs(fn: Callable[..., Any], specs: Any, *trees: Any) -> Any:
    """``fn`` of each spec, or sharding, and what stands in its place in each tree."""
    return jax.tree.map(
        fn, specs, *trees, is_leaf=lambda x: isinstance(x, PartitionSpec | Sharding)
    )


def _map_split(fn: Callable[[Any], Any], specs: Any, tree: Any) -> Any:
    """The tree with ``fn`` applied to all arrays that are split."""
    return _map_specs(
        lambda spec, below: jax.tree.map(fn, below) if spec == SPLIT else below, specs, tree
    )
