"""PES against a loop-only numpy implementation, and against full ES."""

import jax
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

from meta_train import ES, NRES, PES, ConstantHorizon
from meta_train.estimators.clocks import group_keys
from tests.meta_train.linear_system import NOISE, SYSTEM, THETA

T, K, PAIRS, STD, META_STEPS, RATE = 10, 4, 3, 0.1, 9, 0.01


def numpy_step(theta, state, noise):
    state = SYSTEM.matrix @ state + theta[:2] + NOISE * noise
    return state, 0.5 * float(state @ state)


def numpy_truncation(theta, particle, sign, eps, keys):
    """Up to K steps of one particle; returns the sum of its losses."""
    own = theta + sign * eps
    if particle["t"] == 0:
        particle["state"] = own[2] + NOISE * np.asarray(jax.random.normal(keys.init, (2,)))
        particle["accumulator"] = np.zeros_like(theta)
    particle["accumulator"] = particle["accumulator"] + sign * eps
    total = 0.0
    for _ in range(K):
        if particle["t"] == T:
            break
        noise = jax.random.normal(jax.random.fold_in(keys.unroll, particle["t"]), (2,))
        particle["state"], loss = numpy_step(own, particle["state"], np.asarray(noise))
        particle["t"] += 1
        total += loss
    return total


def numpy_meta_step(theta, particles, key):
    """One PES estimate over particles[pair][sign], by the formula of the paper's algorithm."""
    gradient = np.zeros_like(theta)
    for index, pair in enumerate(particles):
        for past in range(pair[0].pop("past", 0), -1, -1):
            keys = group_keys(key, index, past)
            eps = STD * np.asarray(jax.random.normal(keys.perturbation, theta.shape))
            for sign, particle in zip((1, -1), pair, strict=True):
                total = numpy_truncation(theta, particle, sign, eps, keys)
                if past == 0:
                    gradient += particle["accumulator"] * total / (2 * PAIRS * STD**2)
                if particle["t"] == T:
                    particle["t"] = 0
    return gradient * np.ceil(T / K) / T


def test_agrees_with_a_loop_only_numpy_pes_over_whole_episodes():
    pes = PES(T, K, num_pairs=PAIRS, std=STD)
    flat, unravel = ravel_pytree(THETA)
    theta = np.asarray(flat, np.float64)
    state = jax.jit(lambda key: pes.init(SYSTEM, key, THETA))(jax.random.key(3))
    ages = [int(past) for past in state.past]
    assert sorted(ages) == [0, 1, 2]  # the clocks are staggered over the three truncations
    particles = [[{"t": 0, "past": age}, {"t": 0}] for age in ages]
    estimate = jax.jit(lambda key, theta, state: pes.estimate(SYSTEM, key, theta, state))
    for meta_step in range(META_STEPS):
        key = jax.random.key(100 + meta_step)
        result, state = estimate(key, unravel(theta.astype(np.float32)), state)
        expected = numpy_meta_step(theta, particles, key)
        np.testing.assert_allclose(ravel_pytree(result.grad)[0], expected, rtol=1e-5, atol=1e-5)
        theta = (theta - RATE * expected).astype(np.float32).astype(np.float64)


@pytest.mark.parametrize("cls", [PES, NRES])
def test_one_truncation_per_episode_is_full_es(cls):
    truncated, full = (c(6, 6, num_pairs=4, std=STD) for c in (cls, ES))
    key_init, key = jax.random.split(jax.random.key(0))
    states = [e.init(SYSTEM, key_init, THETA) for e in (truncated, full)]
    estimate = jax.jit(
        lambda e, key, state: e.estimate(SYSTEM, key, THETA, state), static_argnums=0
    )
    for meta_step in range(3):
        key = jax.random.fold_in(key, meta_step)
        results = [estimate(e, key, s) for e, s in zip((truncated, full), states, strict=True)]
        states = [state for _, state in results]
        grads, losses = zip(*[(e.grad, e.loss) for e, _ in results], strict=True)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), *grads)
        np.testing.assert_allclose(*losses, rtol=1e-6)


def test_no_inner_step_is_lost_or_counted_twice():
    pes = PES(ConstantHorizon(10), 4, num_pairs=3, std=STD)
    state = jax.jit(lambda key: pes.init(SYSTEM, key, THETA))(jax.random.key(0))
    estimate = jax.jit(lambda key, state: pes.estimate(SYSTEM, key, THETA, state))
    steps = []
    for meta_step in range(6):
        result, state = estimate(jax.random.key(meta_step), state)
        steps.append(int(result.metrics["inner_steps"]))
    # Three pairs, evenly staggered over truncations of 4, 4 and 2 steps: always one of each.
    assert steps == [2 * (4 + 4 + 2)] * 6
