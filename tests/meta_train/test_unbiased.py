"""Monte Carlo: an estimator that claims to be unbiased is, one that does not is not."""

import dataclasses
import functools
import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

from meta_train import ESTIMATORS, PES, ConstantHorizon, LogUniformHorizon
from meta_train.estimators.clocks import Clocks
from meta_train.estimators.pairs import normal, unroll_pair
from meta_train.particles import Execution, use
from tests.meta_train.linear_system import PROGRESS, SYSTEM, THETA, ProgressSystem, true_gradient

REPLICATES = 256
RANDOM = LogUniformHorizon(2, 9)
HORIZONS = {
    "divides": (ConstantHorizon(8), 4),
    "ragged": (ConstantHorizon(10), 4),
    "single_steps": (ConstantHorizon(5), 1),
    "random": (RANDOM, 3),
}
UNBIASED = [name for name, cls in ESTIMATORS.items() if cls.unbiased]


@functools.partial(jax.jit, static_argnames=("estimator", "execution"))
def single_estimates(estimator, system, meta_step, execution):
    """One estimate at ``meta_step`` (0 is the first) from each of many independent runs."""

    def replicate(key):
        def estimate(i, carried):
            key_step = jax.random.fold_in(key, i)
            found, state = estimator.estimate(system, key_step, THETA, carried[0])
            return state, ravel_pytree(found.grad)[0], found.loss

        # The last of a loop, and not one after it: what is written once is compiled once.
        state = estimator.init(system, jax.random.fold_in(key, 1000), THETA)
        nothing = jnp.zeros(ravel_pytree(THETA)[0].shape), jnp.zeros(())
        return jax.lax.fori_loop(0, meta_step + 1, estimate, (state, *nothing))[1:]

    with use(execution):
        return jax.vmap(replicate)(jax.random.split(jax.random.key(7), REPLICATES))


def z_scores(estimator, truth, system=SYSTEM, meta_step=0, particles="sequential"):
    """Distance of the mean estimate from the truth, in standard errors, per coordinate."""
    grads, _ = single_estimates(estimator, system, meta_step, Execution(particles))
    grads = np.asarray(grads)
    errors = grads.std(axis=0, ddof=1) / math.sqrt(REPLICATES)
    return np.abs((grads.mean(axis=0) - truth) / errors)


def cases():
    """Every estimator on every horizon; by default what clocks do with T is seen on PES alone."""
    for name, case in itertools.product(ESTIMATORS, HORIZONS):
        repeats = name != "pes" and case != "random"
        yield pytest.param(name, case, marks=pytest.mark.slow if repeats else ())


@pytest.mark.parametrize(("name", "case"), list(cases()))
def test_unbiased_exactly_where_claimed(name, case):
    horizon, length = HORIZONS[case]
    estimator = ESTIMATORS[name](horizon, length, num_pairs=48, std=0.1)
    worst = z_scores(estimator, true_gradient(horizon)).max()
    if ESTIMATORS[name].unbiased:
        assert worst < 4
    else:
        assert worst > 4


@pytest.mark.parametrize(
    ("name", "case"),
    [("pes", "ragged"), ("pes", "random"), ("nres", "random")],
)
def test_every_later_meta_step_is_unbiased_too(name, case):
    horizon, length = HORIZONS[case]
    estimator = ESTIMATORS[name](horizon, length, num_pairs=48, std=0.1)
    assert z_scores(estimator, true_gradient(horizon), meta_step=5).max() < 4


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=() if name in ("pes", "nres") else pytest.mark.slow)
        for name in UNBIASED
    ],
)
def test_episodes_that_weigh_alike_and_particles_all_at_once(name):
    estimator = ESTIMATORS[name](RANDOM, 3, num_pairs=48, std=0.1, mean_over="episodes")
    z = functools.partial(z_scores, estimator, meta_step=2, particles="parallel")
    assert z(true_gradient(RANDOM, "episodes")).max() < 4
    assert z(true_gradient(RANDOM, "steps")).max() > 4


def test_a_loss_that_depends_on_progress_needs_the_episodes_own_length():
    pes = PES(RANDOM, 3, num_pairs=48, std=0.1)
    truth = true_gradient(RANDOM, weigh=lambda progress: progress**2)
    assert z_scores(pes, truth, PROGRESS, meta_step=2).max() < 4
    longest = ProgressSystem(SYSTEM, lambda horizon: jnp.full_like(horizon, RANDOM.max))
    assert z_scores(pes, truth, longest, meta_step=2).max() > 4


@pytest.mark.parametrize("mean_over", [pytest.param("steps", marks=pytest.mark.slow), "episodes"])
def test_the_meta_loss_is_that_of_the_objective(mean_over):
    """The loss |s|^2 / 2 of the noisy system, by plain simulation of whole episodes."""
    pes = PES(RANDOM, 3, num_pairs=48, std=1e-3, mean_over=mean_over)
    _, losses = single_estimates(pes, SYSTEM, 2, Execution("sequential"))
    keys = jax.random.split(jax.random.key(11), 20_000)

    def episode(key):
        key_init, key_steps, key_horizon = jax.random.split(key, 3)
        horizon = RANDOM.sample(key_horizon, jnp.int32(0))

        def step(state, inputs):
            key, t = inputs
            state, loss = SYSTEM.step(key, THETA, state)
            return state, jnp.where(t < horizon, loss, 0.0)

        inputs = jax.random.split(key_steps, RANDOM.max), jnp.arange(RANDOM.max)
        _, losses = jax.lax.scan(step, SYSTEM.init(key_init, THETA, horizon), inputs)
        return jnp.sum(losses), horizon

    totals, horizons = jax.vmap(episode)(keys)
    truth = {"steps": totals.sum() / horizons.sum(), "episodes": (totals / horizons).mean()}
    assert np.mean(losses) == pytest.approx(float(truth.pop(mean_over)), rel=0.01)
    assert np.mean(losses) != pytest.approx(float(*truth.values()), rel=0.1)


class ForgetfulPES(PES):
    """Weighs a loss with the perturbation of its own truncation alone."""

    def estimate(self, system, key, theta, state):
        def truncation(keys, clock, pair):
            eps = normal(keys.perturbation, theta, self.std)
            pair, (above, below) = unroll_pair(system, keys, theta, eps, clock, pair)
            return pair, eps * (above - below) / (2 * self.std**2), jnp.stack([above, below])

        return self.clocks.estimate(key, theta, state, truncation)


class LeakyPES(PES):
    """Carries the accumulator into the next episode: more variance, but no bias."""

    def estimate(self, system, key, theta, state):
        def truncation(keys, clock, pair):
            eps = normal(keys.perturbation, theta, self.std)
            xi = pair.xi + eps
            pair, (above, below) = unroll_pair(system, keys, theta, eps, clock, pair)
            grad = xi * (above - below) / (2 * self.std**2)
            return pair._replace(xi=xi), grad, jnp.stack([above, below])

        return self.clocks.estimate(key, theta, state, truncation)


class HastyClocks(Clocks):
    """End every episode one truncation too early, so the last steps never count."""

    def next(self, key, meta_step, clock, healthy):
        last = clock.t + 2 * self.length > clock.horizon
        return super().next(key, meta_step, clock, healthy & ~last)


class UnscaledClocks(Clocks):
    """The sum of losses over K, without C = K E[ceil(T/K)] / E[T]: too small where T is ragged."""

    def weight(self, clock, meta_step):
        truncations = self.episodes.mean_truncations(self.length, meta_step)
        return jnp.asarray(1 / (self.length * truncations))


class HastyPES(PES):
    @property
    def clocks(self):
        return HastyClocks(**dataclasses.asdict(super().clocks) | {"episodes": self.episodes})


class UnscaledPES(PES):
    @property
    def clocks(self):
        return UnscaledClocks(**dataclasses.asdict(super().clocks) | {"episodes": self.episodes})


@pytest.mark.parametrize("broken", [ForgetfulPES, HastyPES, UnscaledPES])
def test_broken_variants_of_pes_are_found_out(broken):
    estimator = broken(ConstantHorizon(10), 4, num_pairs=48, std=0.1)
    assert z_scores(estimator, true_gradient(estimator.episodes), meta_step=3).max() > 4


def test_without_stagger_a_single_meta_step_is_biased():
    lockstep = PES(ConstantHorizon(10), 4, num_pairs=48, std=0.1, staggered=False)
    assert z_scores(lockstep, true_gradient(lockstep.episodes)).max() > 4


@pytest.mark.slow
def test_stale_accumulator_costs_variance_not_bias():
    leaky, correct = (cls(ConstantHorizon(8), 4, num_pairs=48, std=0.1) for cls in (LeakyPES, PES))
    assert z_scores(leaky, true_gradient(leaky.episodes), meta_step=8).max() < 4
    spread = [
        np.var(single_estimates(e, SYSTEM, 8, Execution("sequential"))[0], axis=0).sum()
        for e in (leaky, correct)
    ]
    assert spread[0] > 1.5 * spread[1]
