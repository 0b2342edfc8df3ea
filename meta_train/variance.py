"""How an estimator's meta-gradients scatter at one theta, and what they cost.

Whole runs are repeated from independent keys with theta held fixed. Estimates of different runs are
independent; those of one run are not, for a particle continues from where it was: standard errors
are therefore taken over runs alone, by the jackknife.
"""

import functools
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float

from meta_train.parallel import ONE_DEVICE, REPLICATED, SPLIT, Devices, map_over_devices
from meta_train.particles import Execution, map_particles, use
from meta_train.types import EstimatorState, GradientEstimator, Theta, UnrolledSystem


class Moments(NamedTuple):
    """Mean and variance of meta-gradients. Variances are traces of covariance matrices.

    Of n independent estimates the mean has n times the signal-to-noise ratio of one. So settings
    of different cost are compared by ``snr / seconds`` or ``snr / inner_steps``.
    """

    mean: Theta
    mean_error: Theta
    """Standard error of every element of ``mean``."""
    variance: float
    """Of one meta-step's estimate."""
    variance_error: float
    run_variance: float
    """Of the mean over the meta-steps of a run."""
    run_variance_error: float
    squared_norm: float
    """Of the expectation of the estimate, without bias; so it can come out below 0."""
    snr: float
    """``squared_norm / variance``, the signal-to-noise ratio of one meta-step."""
    snr_error: float
    seconds: float
    """Per meta-step: compilation and the run-in of staggered clocks are left out."""
    inner_steps: float
    """Per meta-step, of all particles."""
    diverged: int
    """Particles that were dropped, in all meta-steps of all runs."""


class Runs(NamedTuple):
    """Meta-gradients of independent runs at one theta."""

    means: Float[np.ndarray, "runs P"]
    """Over the meta-steps of each run."""
    squared_norms: Float[np.ndarray, " runs"]
    """Of a meta-step's estimate, the mean over each run."""
    seconds: Float[np.ndarray, " timed"]
    """Of single meta-steps: compilation and the run-in of staggered clocks are left out."""
    inner_steps: float
    """In all meta-steps of all runs."""
    diverged: int
    """Particles that were dropped, in all meta-steps of all runs."""


def gradient_moments(
    system: UnrolledSystem,
    estimator: GradientEstimator,
    key: jax.Array,
    theta: Theta,
    *,
    num_runs: int = 32,
    meta_steps: int = 1,
    runs_at_once: int = 1,
    execution: Execution | None = None,
) -> Moments:
    """Mean, variance, signal-to-noise ratio and time of an estimator's meta-gradients at a theta.

    With clocks that are staggered, as they are by default, every meta-step is a sample of the whole
    episode, and ``variance`` is what one meta-step of a training run has. More meta-steps per run
    are more samples for one run-in. With ``staggered = False`` and as many meta-steps as an episode
    has truncations, the mean over a run is the gradient of whole episodes, and ``run_variance``
    its variance.

    Args:
        system: what is unrolled.
        estimator: whose estimates are measured, with its own K, number of pairs and sigma.
        key: typed PRNG key of all runs.
        theta: meta-parameters, the same in every meta-step.
        num_runs: independent runs, at least 3.
        meta_steps: estimates of each run.
        runs_at_once: see ``sample_runs``.
        execution: how runs and particles are mapped, see ``Execution``.

    Raises:
        ValueError: a number is out of range.
    """
    if num_runs < 3 or meta_steps < 1:
        raise ValueError(
            f"num_runs = {num_runs} must be at least 3 and meta_steps = {meta_steps} at least 1."
        )
    runs = sample_runs(
        system, estimator, key, theta, num_runs=num_runs, meta_steps=meta_steps,
        runs_at_once=runs_at_once, execution=execution,
    )  # fmt: skip
    flat, values, errors = _statistics(runs.means, runs.squared_norms)
    variance, run_variance, squared_norm, snr = values.tolist()
    unravel = ravel_pytree(theta)[1]
    mean, mean_error = (unravel(jnp.asarray(x, jnp.float32)) for x in flat)
    return Moments(
        mean, mean_error, variance, float(errors[0]), run_variance, float(errors[1]),
        squared_norm, snr, float(errors[3]), float(np.median(runs.seconds)),
        runs.inner_steps / (num_runs * meta_steps), runs.diverged,
    )  # fmt: skip


def sample_runs(
    system: UnrolledSystem,
    estimator: GradientEstimator,
    key: jax.Array,
    theta: Theta,
    *,
    num_runs: int,
    meta_steps: int,
    runs_at_once: int = 1,
    devices: Devices = ONE_DEVICE,
    execution: Execution | None = None,
) -> Runs:
    """Meta-gradients of independent runs, for statistics of all kinds.

    Args:
        system: as all that is not named here, see ``gradient_moments``.
        estimator: its groups must be a multiple of the devices.
        key: typed PRNG key of all runs.
        theta: meta-parameters.
        num_runs: independent runs.
        meta_steps: estimates of each run.
        runs_at_once: runs in one program, a divisor of ``num_runs``; above 1 for systems so small
            that starting a program would show in the time. Their states lie in memory together.
        devices: over which the particles of every run are split.
        execution: how runs and particles are mapped.

    Raises:
        ValueError: ``runs_at_once`` does not divide ``num_runs``.
    """
    if runs_at_once < 1 or num_runs % runs_at_once:
        raise ValueError(f"runs_at_once = {runs_at_once} must divide num_runs = {num_runs}.")
    program = estimator, execution or Execution(), devices
    begin = functools.partial(_begin, *program)
    go_on = functools.partial(_go_on, *program)
    system, theta = devices.place((system, theta))
    keys = jax.random.split(key, (num_runs // runs_at_once, runs_at_once))
    # One meta-step more of the first runs where one is asked for: that of the run-in is not timed.
    timed = [max(meta_steps, 2), *[meta_steps] * (len(keys) - 1)]
    parts: list[Runs] = []
    for some, steps in zip(keys, timed, strict=True):
        states = devices.place(begin(system, theta, some), SPLIT)
        parts.append(
            _follow(functools.partial(go_on, system, theta), states, some, steps, meta_steps)
        )
    means, squared_norms, seconds = (np.concatenate(x) for x in list(zip(*parts, strict=True))[:3])
    return Runs(
        means, squared_norms, seconds, sum(x.inner_steps for x in parts),
        sum(x.diverged for x in parts),
    )  # fmt: skip


_jit_of_runs = functools.partial(jax.jit, static_argnames=("estimator", "execution", "devices"))


@_jit_of_runs
def _begin(
    estimator: GradientEstimator,
    execution: Execution,
    devices: Devices,
    system: UnrolledSystem,
    theta: Theta,
    keys: jax.Array,
) -> EstimatorState:
    """States [groups, runs, ...] before the first meta-step."""
    del devices
    with use(execution):
        return jax.vmap(lambda key: estimator.init(system, key, theta), out_axes=1)(keys)


@functools.partial(_jit_of_runs, donate_argnames="states")
def _go_on(
    estimator: GradientEstimator,
    execution: Execution,
    devices: Devices,
    system: UnrolledSystem,
    theta: Theta,
    keys: jax.Array,
    states: EstimatorState,
) -> tuple[tuple[Float[Array, "runs P"], Array, Array], EstimatorState]:
    """One meta-step of some runs: (estimates, inner steps, diverged particles) and states."""

    def all_runs(system: Any, theta: Any, keys: Any, states: Any) -> Any:
        def one(key: jax.Array, state: EstimatorState) -> Any:
            found, state = estimator.estimate(system, key, theta, state)
            counts = found.metrics["inner_steps"], found.metrics["diverged"]
            return (ravel_pytree(found.grad)[0], *counts), state

        swap = functools.partial(jax.tree.map, lambda x: jnp.swapaxes(x, 0, 1))
        found, states = map_particles(one, keys, swap(states))
        return found, swap(states)

    specs = (REPLICATED, REPLICATED, REPLICATED, SPLIT)
    mapped = map_over_devices(all_runs, devices, specs, (REPLICATED, SPLIT))
    with use(execution):
        return mapped(system, theta, keys, states)


def _follow(
    go_on: Callable[[jax.Array, EstimatorState], tuple[Any, EstimatorState]],
    states: EstimatorState,
    keys: jax.Array,
    timed: int,
    meta_steps: int,
) -> Runs:
    """Some runs over their meta-steps.

    All of the ``timed`` meta-steps but the first, which has the run-in, are timed.
    """
    total, squares, counted, seconds = 0.0, 0.0, np.zeros(2), []
    for meta_step in range(timed):
        keys_step = jax.vmap(jax.random.fold_in, in_axes=(0, None))(keys, meta_step)
        jax.block_until_ready((states, keys_step))
        started = time.perf_counter()
        found, states = jax.block_until_ready(go_on(keys_step, states))
        if meta_step > 0:
            seconds.append((time.perf_counter() - started) / len(keys))
        if meta_step < meta_steps:
            grads = np.asarray(found[0], np.float64)
            total, squares = total + grads, squares + np.sum(grads**2, axis=1)
            counted += [np.sum(x) for x in found[1:]]
    inner_steps, diverged = counted.tolist()
    return Runs(
        np.asarray(total) / meta_steps, np.asarray(squares) / meta_steps, np.asarray(seconds),
        inner_steps, int(diverged),
    )  # fmt: skip


def _statistics(
    means: Float[np.ndarray, "runs P"], squared_norms: Float[np.ndarray, " runs"]
) -> tuple[tuple[np.ndarray, np.ndarray], Float[np.ndarray, "4"], Float[np.ndarray, "4"]]:
    """The mean with its error; variance, run variance, squared norm, SNR; and their errors."""
    runs, center = len(means), means.mean(axis=0)
    means = means - center
    distances = np.sum(means**2, axis=1)
    # Around the center, not around 0.
    spread = squared_norms - 2 * means @ center - center @ center

    def measures(n, spread, distances, norm):
        """From sums over n runs: of the spread, of the means' distances, and the mean's norm."""
        run_variance = distances / (n - 1)
        variance = spread / n + run_variance / n
        squared_norm = norm - run_variance / n
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.array([variance, run_variance, squared_norm, squared_norm / variance])

    whole = measures(runs, spread.sum(), distances.sum(), center @ center)
    # The same without one run at a time, whose mean moves the center by means / (runs - 1).
    others, moved = runs - 1, distances / (runs - 1) ** 2
    left_out = measures(
        others,
        spread.sum() - spread - others * moved,
        distances.sum() - distances * runs / others,
        center @ center - 2 * means @ center / others + moved,
    )
    errors = np.sqrt(others * np.var(left_out, axis=1))
    mean_error = np.sqrt(np.sum(means**2, axis=0) / (runs * others))
    return (center, mean_error), whole, errors
