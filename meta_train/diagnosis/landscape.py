"""The meta-loss on a plane through theta, raw and smoothed, and how estimators move on it."""

import functools
import math
import time
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float

from meta_train.diagnosis import statistics
from meta_train.diagnosis.samples import Samples
from meta_train.diagnosis.search import Report
from meta_train.diagnosis.statistics import Value
from meta_train.evaluation.meta_validation import episode
from meta_train.groups import Std, sigma
from meta_train.horizons import Horizon
from meta_train.parallel import REPLICATED, SPLIT, Devices, map_over_devices
from meta_train.particles import map_particles, use
from meta_train.trainer import MetaTrainer
from meta_train.types import GradientEstimator, Theta, UnrolledSystem

SEEDS, SMOOTHING_PAIRS = 2, 2
"""Episodes of each point; antithetic perturbations that the smoothed meta-loss is the mean of."""
_FEWEST_POINTS = 5
_WALKED, _SHARE = 0.85, 0.15
"""Shares of the time: after which no more paths begin; for the drawn meta-loss at least."""
_KEY_PLANE, _KEY_EPISODES, _KEY_PATHS = 101, 102, 103


class Plane(NamedTuple):
    """Two directions of theta at right angles."""

    gradient: Float[np.ndarray, " P"]
    """Of length 1, along the estimated gradient."""
    random: Float[np.ndarray, " P"]
    """Of length 1, as sigma perturbs theta."""
    radius: float
    """Half of what is drawn, in units of theta."""
    norm: float
    """Of the gradient."""

    def places(self, flat: Float[np.ndarray, "*points P"]) -> Float[np.ndarray, "*points 2"]:
        """Coordinates of differences from theta."""
        return np.stack([flat @ self.gradient, flat @ self.random], axis=-1)


class Landscape(NamedTuple):
    """The meta-loss around theta."""

    places: Float[np.ndarray, " grid"]
    """Distances from theta along each of the two directions, in units of theta."""
    raw: Float[np.ndarray, "grid grid"]
    """Meta-losses [along the gradient, along the random direction]."""
    smoothed: Float[np.ndarray, "grid grid"]
    """The same with theta perturbed."""
    paths: Mapping[str, Float[np.ndarray, "steps 2"]]
    """Of meta-training by SGD with each estimator, [along the gradient, along the other]."""


class Walk(NamedTuple):
    """Meta-steps of an estimator as in training."""

    path: Float[np.ndarray, "steps 2"]
    """On the plane."""
    seconds: Value
    """Of one meta-step."""


def plane(samples: Samples, std: Std, reach: float) -> Plane:
    """The plane along the reference's gradient."""
    flat, _ = ravel_pytree(samples.theta)
    size = len(flat)
    stds = np.broadcast_to(np.asarray(sigma(samples.theta, std), np.float64), (size,))
    found = samples.of(samples.reference).means
    gradient = found.mean(axis=0)
    norm = math.sqrt(max(statistics.squared_norm(found).value, 0.0)) or np.linalg.norm(gradient)
    gradient = gradient / (np.linalg.norm(gradient) or 1.0)
    rng = np.random.default_rng([samples.plan.seed, _KEY_PLANE])
    random = stds * rng.standard_normal(size)
    random -= (random @ gradient) * gradient
    random /= np.linalg.norm(random) or 1.0
    return Plane(gradient, random, reach * float(np.linalg.norm(stds)), float(norm))


def survey(
    samples: Samples,
    plane: Plane,
    std: Std,
    paths: Mapping[str, Float[np.ndarray, "steps 2"]],
    report: Report,
) -> Landscape:
    """Measure the meta-loss on a grid as fine as there is time for; ``paths`` are drawn on it."""
    plan = samples.plan
    grid = _affordable(samples, plan.grid)
    places = np.linspace(-plane.radius, plane.radius, grid)
    surfaces = []
    for row, along in enumerate(places):
        key = {"kind": "landscape", "grid": grid, "row": row, "reach": plan.reach,
               "std": repr(std), "plane": [plane.gradient.tolist()[:8], plane.norm],
               "reference_runs": samples.count(samples.reference)}  # fmt: skip
        measure = functools.partial(_row, samples, plane, std, along, places)
        found = samples.kept(key, lambda measure=measure: {"losses": measure()})
        surfaces.append(found["losses"])
        report(f"meta-loss around theta: {row + 1} of {grid} rows", plan.seconds - samples.spent)
    raw, smoothed = np.moveaxis(np.stack(surfaces), -1, 0)
    return Landscape(places, raw, smoothed, paths)


def walk(
    samples: Samples,
    plane: Plane,
    estimators: Sequence[GradientEstimator],
    needed: int,
    report: Report,
) -> list[Walk]:
    """Take the meta-steps of a path with every estimator, by turns, and their time.

    The meta-optimizer is SGD with the learning rate at which the exact gradient would go from theta
    to the edge of what is drawn.

    Args:
        samples: what was measured.
        plane: on which the paths are looked at.
        estimators: as in training.
        needed: how many of them, from the first, are taken however late it is.
        report: told when it is done.

    Returns:
        Of the estimators that there was time for, from the first.
    """
    plan = samples.plan
    rate = plane.radius / (plan.path_steps * plane.norm) if plane.norm > 0 else 0.0
    key = {"kind": "paths", "estimators": [repr(x) for x in estimators], "rate": rate,
           "steps": plan.path_steps, "reach": plan.reach}  # fmt: skip
    deadline = time.monotonic() + _WALKED * plan.seconds - samples.spent

    def measure() -> dict[str, np.ndarray]:
        started = []
        for i, estimator in enumerate(estimators):
            if i < needed or time.monotonic() < deadline:
                started.append(_Walker(samples, plane, estimator, rate))
                words = f"first meta-step with {type(estimator).__name__}"
                report(words, plan.seconds - samples.spent)
        for _ in range(plan.path_steps - 1):
            for walker in started:
                walker.step()
        # The first meta-step compiles, and runs what staggered clocks have in their past.
        return {"paths": np.array([x.path for x in started]),
                "seconds": np.array([x.seconds[1:] for x in started])}  # fmt: skip

    found = samples.kept(key, measure)
    report(f"{plan.path_steps} meta-steps by turns", plan.seconds - samples.spent)
    pairs = zip(found["paths"], found["seconds"], strict=True)
    return [Walk(path, statistics.median(seconds)) for path, seconds in pairs]


class _Walker:
    """One meta-training; it begins with its first meta-step."""

    def __init__(
        self, samples: Samples, plane: Plane, estimator: GradientEstimator, rate: float
    ) -> None:
        plan, self._plane = samples.plan, plane
        self._trainer = MetaTrainer(
            [samples.system],
            estimator,
            optax.sgd(rate),
            devices=plan.devices.fitting(estimator.num_groups),
            execution=plan.execution,
        )
        self._from = np.asarray(ravel_pytree(samples.theta)[0], np.float64)
        key = jax.random.fold_in(jax.random.key(plan.seed), _KEY_PATHS)
        self._state = self._trainer.init(key, samples.theta)
        self.path, self.seconds = [np.zeros(2)], []
        self.step()

    def step(self) -> None:
        started = time.perf_counter()
        self._state, _ = jax.block_until_ready(self._trainer.step(self._state))
        self.seconds.append(time.perf_counter() - started)
        flat = np.asarray(ravel_pytree(self._state.theta)[0], np.float64)
        self.path.append(self._plane.places(flat - self._from))


def _affordable(samples: Samples, grid: int) -> int:
    """The finest grid that the time allows, of an odd number of points, so that theta is one."""
    found = samples.of(samples.reference)
    per_episode = statistics.median(found.seconds).value / 2
    per_point = SEEDS * (1 + 2 * SMOOTHING_PAIRS) * per_episode
    left = max(_SHARE * samples.plan.seconds, samples.plan.seconds - samples.spent)
    points = math.isqrt(int(min(left / max(per_point, 1e-9), grid**2)))
    return max(min(grid, points) - (min(grid, points) + 1) % 2, min(_FEWEST_POINTS, grid))


def _row(
    samples: Samples, plane: Plane, std: Std, along: float, places: Float[np.ndarray, " grid"]
) -> Float[np.ndarray, "grid 2"]:
    """Raw and smoothed meta-losses along the random direction, at one place along the gradient."""
    flat = np.asarray(ravel_pytree(samples.theta)[0], np.float64)
    stds = np.asarray(sigma(samples.theta, std), np.float64)
    rng = np.random.default_rng([samples.plan.seed, _KEY_EPISODES])
    eps = stds * rng.standard_normal((SMOOTHING_PAIRS, len(flat)))
    shifts = np.concatenate([np.zeros((1, len(flat))), eps, -eps])
    points = flat + along * plane.gradient + places[:, None] * plane.random
    thetas = (points[:, None] + shifts).reshape(-1, len(flat)).astype(np.float32)
    key = jax.random.fold_in(jax.random.key(samples.plan.seed), _KEY_EPISODES)
    first = next(iter(samples.estimators.values()))
    with use(samples.plan.execution):
        losses = _meta_losses(
            samples.system, samples.theta, jax.random.split(key, SEEDS), jnp.asarray(thetas),
            first.episodes, samples.plan.devices,
        )  # fmt: skip
    losses = np.asarray(losses, np.float64).reshape(len(places), len(shifts))
    return np.stack([losses[:, 0], losses[:, 1:].mean(axis=1)], axis=-1)


@functools.partial(jax.jit, static_argnames=("horizon", "devices"))
def _meta_losses(
    system: UnrolledSystem,
    like: Theta,
    keys: jax.Array,
    thetas: Float[Array, "points P"],
    horizon: Horizon,
    devices: Devices,
) -> Float[Array, " points"]:
    """The mean loss per inner step at every theta, over the same episodes."""
    unravel = ravel_pytree(like)[1]

    def loss(system: UnrolledSystem, keys: jax.Array, flat: Array) -> Array:
        theta = unravel(flat)
        totals, lengths = jax.lax.map(lambda key: episode(horizon, system, theta, key), keys)
        return jnp.sum(totals) / jnp.sum(lengths)

    def of_device(system: UnrolledSystem, keys: jax.Array, thetas: Array) -> Array:
        return map_particles(lambda flat: loss(system, keys, flat), thetas)

    extra = -len(thetas) % devices.count
    padded = jnp.concatenate([thetas, jnp.repeat(thetas[-1:], extra, axis=0)])
    mapped = map_over_devices(of_device, devices, (REPLICATED, REPLICATED, SPLIT), SPLIT)
    return mapped(system, keys, padded)[: len(thetas)]
