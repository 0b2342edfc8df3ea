"""Several systems in one meta-gradient, all of them or some."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax.flatten_util import ravel_pytree

from meta_train import PES, MetaTrainer
from meta_train.mixture import Mixture, inclusion_probabilities, sample_systems
from tests.meta_train.linear_system import SYSTEM, THETA, LinearSystem

SYSTEMS = (
    SYSTEM,
    LinearSystem(np.array([[0.5, 0.0], [0.3, 0.4]], np.float32)),
)
SHARES = (0.7, 0.3)
ESTIMATOR = PES(6, 2, num_pairs=4, std=0.1)


@given(st.lists(st.floats(0.0, 1.0, allow_subnormal=False), min_size=1, max_size=12), st.data())
def test_probabilities_follow_the_shares_and_sum_to_the_count(weights, data):
    usable = sum(weight > 0 for weight in weights)
    if not usable:
        return
    count = data.draw(st.integers(1, usable))
    probabilities = inclusion_probabilities(tuple(weights), count)
    assert probabilities.sum() == pytest.approx(count)
    assert (probabilities <= 1).all()
    assert ((probabilities > 0) == (np.asarray(weights) > 0)).all()
    certain = probabilities > 1 - 1e-9
    np.testing.assert_allclose(
        probabilities[~certain] * sum(np.asarray(weights)[~certain]),
        np.asarray(weights)[~certain] * probabilities[~certain].sum(),
        rtol=1e-9,
        atol=1e-300,
    )


@pytest.mark.parametrize("count", [0, 3])
def test_counts_that_cannot_be_drawn_are_refused(count):
    with pytest.raises(ValueError, match=f"systems_per_step = {count} must be between 1 and the 2"):
        inclusion_probabilities((0.5, 0.5, 0.0), count)
    with pytest.raises(ValueError, match="between 1 and the 1"):
        MetaTrainer([SYSTEM], ESTIMATOR, optax.sgd(1.0), systems_per_step=2)


@settings(deadline=None, max_examples=20)
@given(st.lists(st.floats(0.05, 1.0), min_size=2, max_size=8), st.data())
def test_draws_have_their_probabilities_and_always_the_same_size(weights, data):
    count = data.draw(st.integers(1, len(weights)))
    probabilities = inclusion_probabilities(tuple(weights), count)
    keys = jax.random.split(jax.random.key(0), 4000)
    drawn = np.asarray(jax.vmap(lambda key: sample_systems(key, probabilities))(keys))
    assert (drawn.sum(axis=1) == count).all()
    np.testing.assert_allclose(drawn.mean(axis=0), probabilities, atol=0.04)


@functools.cache
def gradients(systems_per_step, meta_steps, biased=False):
    """Meta-gradients at a theta that stays, one per meta-step."""
    probabilities = tuple(inclusion_probabilities(SHARES, systems_per_step).tolist())
    shares = tuple(np.multiply(SHARES, probabilities).tolist()) if biased else SHARES
    mixture = Mixture(shares, probabilities)

    @jax.jit
    def run(key):
        states = tuple(
            ESTIMATOR.init(system, jax.random.fold_in(key, i), THETA)
            for i, system in enumerate(SYSTEMS)
        )

        def step(states, key):
            grad, records, states = mixture.estimate(ESTIMATOR, SYSTEMS, key, THETA, states)
            return states, (ravel_pytree(grad)[0], records["inner_steps"])

        return jax.lax.scan(step, states, jax.random.split(key, meta_steps))[1]

    return [np.asarray(x) for x in run(jax.random.key(3))]


def z_scores(a, b):
    spread = np.sqrt(a.var(axis=0) / len(a) + b.var(axis=0) / len(b))
    return np.abs(a.mean(axis=0) - b.mean(axis=0)) / spread


def test_some_systems_estimate_the_gradient_of_all():
    everything, steps_of_all = gradients(2, 2000)
    some, steps = gradients(1, 2000)
    assert z_scores(some, everything).max() < 5
    assert (steps * 2 == steps_of_all).all()


def test_without_the_division_the_gradient_is_another():
    assert z_scores(gradients(1, 2000, biased=True)[0], gradients(2, 2000)[0]).max() > 8


def test_a_system_that_does_not_take_part_stays_as_it_is():
    trainer = MetaTrainer(SYSTEMS, ESTIMATOR, optax.sgd(0.0), systems_per_step=1)
    before = trainer.init(jax.random.key(0), THETA)
    clocks = [np.asarray(state.clock.t) for state in before.estimator_states]
    after, records = trainer.step(before)
    moved = [
        bool((np.asarray(state.clock.t) != clock).any())
        for state, clock in zip(after.estimator_states, clocks, strict=True)
    ]
    assert sum(moved) == 1
    assert int(records["inner_steps"][0]) == 2 * 4 * 2


def test_to_take_all_is_the_default():
    default = MetaTrainer(SYSTEMS, ESTIMATOR, optax.sgd(0.1), SHARES)
    everything = dataclasses.replace(default, systems_per_step=2)
    assert default.probabilities == everything.probabilities == (1.0, 1.0)


def test_no_system_counts_more_than_the_clip_norm():
    """The mean over systems of meta-gradients that are each cut to the norm, by hand."""
    shares, limit = (0.25, 0.75), 1e-2

    @jax.jit
    def estimates(key):
        states = tuple(ESTIMATOR.init(s, jax.random.key(i), THETA) for i, s in enumerate(SYSTEMS))
        mixture = Mixture(shares, (1.0, 1.0), limit)
        clipped = mixture.estimate(ESTIMATOR, SYSTEMS, key, THETA, states)[0]
        alone = [
            ESTIMATOR.estimate(system, jax.random.fold_in(key, i), THETA, states[i])[0].grad
            for i, system in enumerate(SYSTEMS)
        ]
        return [ravel_pytree(grad)[0] for grad in (clipped, *alone)]

    clipped, *alone = map(np.asarray, estimates(jax.random.key(4)))
    lengths = [np.linalg.norm(grad) for grad in alone]
    cut = [g * min(1.0, limit / length) for g, length in zip(alone, lengths, strict=True)]
    assert max(lengths) > 2 * limit
    np.testing.assert_allclose(clipped, np.dot(shares, cut), rtol=1e-4, atol=1e-7)


class Counting(PES):
    """With a metric that counts, and one of a whole number that does not."""

    summed_metrics = (*PES.summed_metrics, "episodes")

    def estimate(self, system, key, theta, state):
        estimate, state = super().estimate(system, key, theta, state)
        metrics = {"episodes": jnp.float32(3.0), "level": jnp.int32(3)}
        return estimate._replace(metrics=estimate.metrics | metrics), state


def test_an_estimator_says_which_of_its_metrics_add_up():
    trainer = MetaTrainer(SYSTEMS, Counting(6, 2, num_pairs=2, std=0.1), optax.sgd(0.1))
    _, records = trainer.step(trainer.init(jax.random.key(0), THETA))
    assert float(records["episodes"][0]) == 6.0
    assert float(records["level"][0]) == pytest.approx(3.0)
