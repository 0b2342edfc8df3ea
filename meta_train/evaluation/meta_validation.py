"""Meta-validation: the meta-loss of theta on fresh seeds."""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from meta_train.horizons import Horizon
from meta_train.parallel import ONE_DEVICE, REPLICATED, SPLIT, Devices, map_over_devices
from meta_train.particles import map_particles
from meta_train.types import Theta, UnrolledSystem
from meta_train.unroll import at, start, unroll


def meta_validate(
    systems: Sequence[UnrolledSystem],
    weights: Sequence[float],
    horizon: Horizon,
    theta: Theta,
    key: jax.Array,
    num_seeds: int,
    devices: Devices = ONE_DEVICE,
    mean_over: str = "steps",
    geometric: bool = False,
) -> float:
    """J(theta) without perturbation, the weighted mean over systems of ``meta_losses``.

    The geometric mean suits losses in units of another theta's: in it, no system outweighs the
    others because theta is much worse there. Losses below zero make it NaN.
    """
    losses = meta_losses(systems, horizon, theta, key, num_seeds, devices, mean_over)
    if not geometric:
        return float(np.dot(weights, losses))
    with np.errstate(divide="ignore", invalid="ignore"):
        return float(np.exp(np.dot(weights, np.log(losses))))


def meta_losses(
    systems: Sequence[UnrolledSystem],
    horizon: Horizon,
    theta: Theta,
    key: jax.Array,
    num_seeds: int,
    devices: Devices = ONE_DEVICE,
    mean_over: str = "steps",
    axes: Callable[[Any], Any] | None = None,
) -> Float[np.ndarray, "systems ..."]:
    """J(theta) of every system without perturbation: loss per inner step over whole episodes.

    Args:
        systems: on which theta is judged.
        horizon: distribution of T.
        theta: meta-parameters.
        key: the same key gives the same episodes, so that the values of two thetas differ by the
            thetas alone.
        num_seeds: episodes per system.
        devices: over which the episodes are split.
        mean_over: "steps" or "episodes", see ``GradientEstimator``.
        axes: gives for a system a tree of ``jax.vmap``'s ``in_axes``: where it is 0, the leaf has a
            leading axis of variants of the system. What they have in common is computed once.

    Returns:
        Of every system, and variant; not finite where an episode diverged.
    """
    arrays = devices.place((tuple(systems), theta, key))
    return np.asarray(_meta_losses(*arrays, horizon, num_seeds, devices, mean_over, axes))


@functools.partial(
    jax.jit, static_argnames=("horizon", "num_seeds", "devices", "mean_over", "axes")
)
def _meta_losses(
    systems: tuple[UnrolledSystem, ...],
    theta: Theta,
    key: jax.Array,
    horizon: Horizon,
    num_seeds: int,
    devices: Devices,
    mean_over: str,
    axes: Callable[[Any], Any] | None,
) -> Array:
    def loss(i: int, system: UnrolledSystem) -> Array:
        keys = jax.random.split(jax.random.fold_in(key, i), num_seeds)
        totals, lengths = _episodes(system, theta, keys, horizon, devices, axes)
        if mean_over == "episodes":
            return jnp.mean(totals.T / lengths, axis=-1)
        return jnp.sum(totals, axis=0) / jnp.sum(lengths)

    return jnp.stack([loss(i, system) for i, system in enumerate(systems)])


def _episodes(
    system: UnrolledSystem,
    theta: Theta,
    keys: jax.Array,
    horizon: Horizon,
    devices: Devices,
    axes: Callable[[Any], Any] | None,
) -> tuple[Array, Array]:
    """Sum of losses [seeds, ...], and T [seeds], of a whole episode for every key; traced.

    The keys are split over the devices. Where they do not divide evenly the last one is run more
    than once.
    """

    def of_device(system: UnrolledSystem, theta: Theta, keys: jax.Array) -> Any:
        run = functools.partial(episode, horizon)
        if axes is not None:
            run = jax.vmap(run, in_axes=(axes(system), None, None), out_axes=(0, None))
        return map_particles(lambda key: run(system, theta, key), keys)

    padded = jnp.concatenate([keys, jnp.repeat(keys[-1:], -len(keys) % devices.count)])
    specs = (REPLICATED, REPLICATED, SPLIT)
    results = map_over_devices(of_device, devices, specs, SPLIT)(system, theta, padded)
    return devices.constrain(jax.tree.map(lambda x: x[: len(keys)], results), REPLICATED)


def episode(
    horizon: Horizon, system: UnrolledSystem, theta: Theta, key: jax.Array
) -> tuple[Array, Array]:
    """The sum of the losses of a whole episode at theta, and its T; traced."""
    key_init, key_unroll, key_horizon = jax.random.split(key, 3)
    length = horizon.sample(key_horizon, jnp.zeros((), jnp.int32))
    clock = start(length, horizon, horizon.max)
    state = system.init(key_init, theta, length)
    _, total = unroll(at(system, theta), key_unroll, state, clock)
    return total, length
