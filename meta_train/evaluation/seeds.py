"""Training runs that differ by their keys, split over devices."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from meta_train.parallel import REPLICATED, SPLIT, Devices, map_over_devices
from meta_train.particles import map_particles


def map_seeds(
    fn: Callable[[Any, Any, jax.Array], Any],
    devices: Devices,
    subject: Any,
    parameters: Any,
    keys: jax.Array,
) -> Any:
    """``fn(subject, parameters, key)`` for every key; to be called under jit.

    Args:
        fn: one run; it returns a tree of arrays.
        devices: over which the keys are split. Where they do not divide evenly the last key is
            run more than once.
        subject: what is trained, whole on every device.
        parameters: of the optimizer, whole on every device.
        keys: typed PRNG keys [seeds].

    Returns:
        The results with a leading axis of seeds, whole on every device.
    """
    extra = -len(keys) % devices.count
    padded = jnp.concatenate([keys, jnp.repeat(keys[-1:], extra)])

    def of_device(subject: Any, parameters: Any, keys: jax.Array) -> Any:
        return map_particles(lambda key: fn(subject, parameters, key), keys)

    specs = (REPLICATED, REPLICATED, SPLIT)
    results = map_over_devices(of_device, devices, specs, SPLIT)(subject, parameters, padded)
    return devices.constrain(jax.tree.map(lambda x: x[: len(keys)], results), REPLICATED)
