"""An episode knows its own T: systems and rules are told it, at any meta-step."""

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import lopt
import tasks
from meta_train import ESTIMATORS, PES, LogUniformHorizon, LoptSystem
from meta_train.unroll import at, start, unroll
from tests.meta_train.linear_system import PROGRESS, THETA

HORIZON = LogUniformHorizon(2, 12)


@pytest.mark.parametrize(
    "name",
    [
        "pes",
        "truncated_bptt",
        pytest.param("nres", marks=pytest.mark.slow),
        pytest.param("truncated_es", marks=pytest.mark.slow),
    ],
)
def test_a_system_is_told_the_horizon_of_each_episode(name):
    estimator = ESTIMATORS[name](HORIZON, 3, num_pairs=16, std=0.1)
    key = jax.random.key(0)
    state = jax.jit(lambda key: estimator.init(PROGRESS, key, THETA))(key)
    step = jax.jit(lambda key, state: estimator.estimate(PROGRESS, key, THETA, state)[1])
    seen = set()
    for meta_step in range(12):
        before, state = state, step(jax.random.fold_in(key, meta_step), state)
        carry = state.carry.states if name in ("pes", "nres") else state.carry
        told = np.asarray(carry[2]).reshape(estimator.num_groups, -1)
        goes_on = np.asarray(state.clock.t) > 0
        horizons = np.asarray(state.clock.horizon)
        assert (told[goes_on] == horizons[goes_on, None]).all()
        ended = ~goes_on & (np.asarray(before.past) == 0)
        assert (told[ended] == np.asarray(before.clock.horizon)[ended, None]).all()
        seen |= set(told.flat)
    assert len(seen) > 6
    assert min(seen) >= 2
    assert max(seen) <= 12


class Progress(NamedTuple):
    count: Any
    progress: Any


@dataclasses.dataclass(frozen=True)
class ProgressRule(lopt.LearnedOptimizer):
    """Gradient descent that notes its t / T."""

    def init(self, key):
        return {"rate": jnp.float32(0.1)}

    def bind(self, theta, num_steps=None):
        def init(params):
            return Progress(jnp.int32(0), jnp.float32(0))

        def update(updates, state, params=None, **extra):
            count = state.count + 1
            steps = jax.tree.map(lambda g: -theta["rate"] * g, updates)
            return steps, Progress(count, count / num_steps)

        return optax.GradientTransformationExtraArgs(init, update)


def test_a_rule_reaches_the_end_of_every_episode():
    system = LoptSystem(ProgressRule(), tasks.make("quadratic", dim=3))
    theta = system.init_theta(jax.random.key(0))

    @jax.jit
    def episode(key):
        key_horizon, key_init, key_steps = jax.random.split(key, 3)
        horizon = HORIZON.sample(key_horizon, jnp.int32(0))
        state = system.init(key_init, theta, horizon)
        state, _ = unroll(at(system, theta), key_steps, state, start(horizon, HORIZON, HORIZON.max))
        return horizon, state.opt_state

    horizons, last = jax.lax.map(episode, jax.random.split(jax.random.key(1), 64))
    assert len(set(np.asarray(horizons).tolist())) > 6
    np.testing.assert_array_equal(last.count, horizons)
    np.testing.assert_array_equal(last.progress, 1.0)


def test_pes_runs_a_rule_with_progress_under_random_horizons():
    """``velo`` looks at t / T; bound with None it would refuse."""
    system = LoptSystem(lopt.LOPTS["velo"](width=4, bank_size=2), tasks.make("quadratic", dim=3))
    theta = system.init_theta(jax.random.key(0))
    pes = PES(HORIZON, 3, num_pairs=2, std=0.01)
    key = jax.random.key(1)
    estimate, state = jax.jit(
        lambda key: pes.estimate(system, key, theta, pes.init(system, key, theta))
    )(key)
    assert np.isfinite(estimate.loss)
    told = np.asarray(state.carry.states.horizon)
    np.testing.assert_array_equal(told[:, 0], told[:, 1])
