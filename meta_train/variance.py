"""How an estimator's meta-gradients scatter at one theta, and what they cost.

Whole runs are repeated from independent keys with theta held fixed. Estimates of different runs are
independent; those of one run are not, for a particle goes on from where it was: standard errors are
therefore taken over runs alone, by the jackknife.
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

from meta_train.particles import Execution, use
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
        runs_at_once: runs side by side in one program, a divisor of ``num_runs``; above 1 for
            systems so small that starting a program would show in the time. Their states lie in
            memory together.
        execution: how particles are mapped, see ``Execution``.

    Raises:
        ValueError: a number is out of range.
    """
    if num_runs < 3 or meta_steps < 1:
        raise ValueError(
            f"num_runs = {num_runs} must be at least 3 and meta_steps = {meta_steps} at least 1."
        )
    if runs_at_once < 1 or num_runs % runs_at_once:
        raise ValueError(f"runs_at_once = {runs_at_once} must divide num_runs = {num_runs}.")
    execution = execution or Execution()
    begin = functools.partial(_begin, estimator, execution, system, theta)
    go_on = functools.partial(_go_on, estimator, execution, system, theta)
    keys = jax.random.split(key, (num_runs // runs_at_once, runs_at_once))
    # One meta-step more of the first runs where one is asked for: that of the run-in is not timed.
    timed = [max(meta_steps, 2), *[meta_steps] * (len(keys) - 1)]
    samples = [_sample(begin, go_on, *x, meta_steps) for x in zip(keys, timed, strict=True)]
    grads = np.concatenate([sample[0] for sample in samples])
    inner_steps, diverged = np.sum([sample[1] for sample in samples], axis=0)
    seconds = float(np.median([x for sample in samples for x in sample[2]]))
    flat, values, errors = _statistics(grads)
    variance, run_variance, squared_norm, snr = values.tolist()
    unravel = ravel_pytree(theta)[1]
    mean, mean_error = (unravel(jnp.asarray(x, jnp.float32)) for x in flat)
    return Moments(
        mean, mean_error, variance, float(errors[0]), run_variance, float(errors[1]),
        squared_norm, snr, float(errors[3]), seconds, float(inner_steps) / (num_runs * meta_steps),
        int(diverged),
    )  # fmt: skip


@functools.partial(jax.jit, static_argnames=("estimator", "execution"))
def _begin(
    estimator: GradientEstimator,
    execution: Execution,
    system: UnrolledSystem,
    theta: Theta,
    keys: jax.Array,
) -> EstimatorState:
    with use(execution):
        return jax.vmap(lambda key: estimator.init(system, key, theta))(keys)


@functools.partial(jax.jit, static_argnames=("estimator", "execution"), donate_argnames="states")
def _go_on(
    estimator: GradientEstimator,
    execution: Execution,
    system: UnrolledSystem,
    theta: Theta,
    keys: jax.Array,
    states: EstimatorState,
) -> tuple[Float[Array, "runs P"], tuple[Array, Array], EstimatorState]:
    """One meta-step of some runs: estimates, (inner steps, diverged particles) and states."""

    def one(key: jax.Array, state: EstimatorState) -> tuple[Array, tuple[Array, Array], Any]:
        result, state = estimator.estimate(system, key, theta, state)
        counts = result.metrics["inner_steps"], result.metrics["diverged"]
        return ravel_pytree(result.grad)[0], counts, state

    with use(execution):
        return jax.vmap(one)(keys, states)


def _sample(
    begin: Callable[[jax.Array], EstimatorState],
    go_on: Callable[[jax.Array, EstimatorState], tuple[Array, tuple[Array, Array], EstimatorState]],
    keys: jax.Array,
    timed: int,
    meta_steps: int,
) -> tuple[Float[np.ndarray, "runs meta_steps P"], np.ndarray, list[float]]:
    """Estimates of some runs; inner steps and diverged particles in all; seconds of meta-steps.

    All of the ``timed`` meta-steps but the first, which has the run-in, are timed.
    """
    states, grads, counted, seconds = begin(keys), [], [], []
    for meta_step in range(timed):
        keys_step = jax.vmap(jax.random.fold_in, in_axes=(0, None))(keys, meta_step)
        jax.block_until_ready((states, keys_step))
        started = time.perf_counter()
        grad, counts, states = jax.block_until_ready(go_on(keys_step, states))
        if meta_step > 0:
            seconds.append((time.perf_counter() - started) / len(keys))
        grads.append(np.asarray(grad))
        counted.append(np.asarray(counts))
    counts = np.sum(counted[:meta_steps], axis=(0, 2))
    return np.stack(grads[:meta_steps], axis=1), counts, seconds


def _statistics(
    grads: Float[np.ndarray, "runs meta_steps P"],
) -> tuple[tuple[np.ndarray, np.ndarray], Float[np.ndarray, "4"], Float[np.ndarray, "4"]]:
    """The mean with its error; variance, run variance, squared norm, SNR; and their errors."""
    runs = len(grads)
    center = grads.mean(axis=(0, 1), dtype=np.float64)
    means = grads.mean(axis=1, dtype=np.float64) - center
    spread = np.array([np.mean(np.sum((run - center) ** 2, axis=-1)) for run in grads])
    distances = np.sum(means**2, axis=1)

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
