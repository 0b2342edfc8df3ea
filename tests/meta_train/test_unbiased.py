"""Monte Carlo: an estimator that claims to be unbiased is, one that does not is not."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

from meta_train import ESTIMATORS, PES, ConstantHorizon, LogUniformHorizon
from tests.meta_train.linear_system import SYSTEM, THETA, true_gradient

REPLICATES = 256
HORIZONS = {
    "divides": (ConstantHorizon(8), 4),
    "ragged": (ConstantHorizon(10), 4),
    "single_steps": (ConstantHorizon(5), 1),
    "random": (LogUniformHorizon(2, 9), 3),
}


@functools.partial(jax.jit, static_argnames=("estimator", "meta_step"))
def single_estimates(estimator, meta_step):
    """One estimate at ``meta_step`` (0 is the first) from each of many independent runs."""

    def replicate(key):
        state = estimator.init(SYSTEM, jax.random.fold_in(key, 1000), THETA)
        state = jax.lax.fori_loop(
            0,
            meta_step,
            lambda i, s: estimator.estimate(SYSTEM, jax.random.fold_in(key, i), THETA, s)[1],
            state,
        )
        key_last = jax.random.fold_in(key, meta_step)
        estimate, _ = estimator.estimate(SYSTEM, key_last, THETA, state)
        return ravel_pytree(estimate.grad)[0]

    return jax.lax.map(replicate, jax.random.split(jax.random.key(7), REPLICATES))


def z_scores(estimator, meta_step=0):
    """Distance of the mean estimate from the truth, in standard errors, per coordinate."""
    grads = np.asarray(single_estimates(estimator, meta_step))
    errors = grads.std(axis=0, ddof=1) / math.sqrt(REPLICATES)
    return (grads.mean(axis=0) - true_gradient(estimator.episodes)) / errors


@pytest.mark.parametrize("case", HORIZONS)
@pytest.mark.parametrize("name", ESTIMATORS)
def test_unbiased_exactly_where_claimed(name, case):
    horizon, length = HORIZONS[case]
    estimator = ESTIMATORS[name](horizon, length, num_pairs=48, std=0.1)
    worst = np.abs(z_scores(estimator)).max()
    if ESTIMATORS[name].unbiased:
        assert worst < 4
    else:
        assert worst > 4


@pytest.mark.parametrize("name", ["pes", "nres"])
@pytest.mark.parametrize("case", ["ragged", "random"])
def test_every_later_meta_step_is_unbiased_too(name, case):
    horizon, length = HORIZONS[case]
    estimator = ESTIMATORS[name](horizon, length, num_pairs=48, std=0.1)
    assert np.abs(z_scores(estimator, meta_step=5)).max() < 4


class LeakyPES(PES):
    """Carries the accumulator into the next episode: more variance, but no bias."""

    def perturb(self, drawn, starts, accumulator):
        return drawn, accumulator + drawn


class ForgetfulPES(PES):
    """Weighs a loss with the perturbation of its own truncation alone."""

    def perturb(self, drawn, starts, accumulator):
        return drawn, drawn


class LockstepPES(PES):
    """All clocks at 0 at the first meta-step."""

    def _first_clock(self, key, index):
        clock, age = super()._first_clock(key, index)
        return clock, jnp.zeros_like(age)


class HastyPES(PES):
    """Ends every episode one truncation too early, so the last steps never count."""

    def _next_clock(self, key, meta_step, clock, healthy):
        last = clock.t + 2 * self.steps_per_truncation > clock.horizon
        return super()._next_clock(key, meta_step, clock, healthy & ~last)


@pytest.mark.parametrize("broken", [ForgetfulPES, LockstepPES, HastyPES])
def test_broken_variants_of_pes_are_found_out(broken):
    estimator = broken(10, 4, num_pairs=48, std=0.1)
    assert np.abs(z_scores(estimator, meta_step=0 if broken is LockstepPES else 3)).max() > 4


class UnscaledPES(PES):
    """The sum of losses over K, without C = K E[ceil(T/K)] / E[T]: too small where T is ragged."""

    def _scale(self, meta_step):
        return 1 / self.steps_per_truncation


def test_wrong_unit_is_found_out():
    assert np.abs(z_scores(UnscaledPES(10, 4, num_pairs=47, std=0.1))).max() > 4


def test_stale_accumulator_costs_variance_not_bias():
    leaky, correct = (cls(8, 4, num_pairs=48, std=0.1) for cls in (LeakyPES, PES))
    assert np.abs(z_scores(leaky, meta_step=8)).max() < 4
    spread = [np.var(single_estimates(e, 8), axis=0).sum() for e in (leaky, correct)]
    assert spread[0] > 1.5 * spread[1]
