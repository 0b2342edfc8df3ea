"""What every registered estimator must do, whatever it estimates."""

import functools
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

from meta_train import ESTIMATORS, NRES, PES, GradientEstimator, UnrolledSystem
from meta_train.estimators import clocks
from meta_train.estimators.clocks import group_keys
from meta_train.estimators.reduction import Contribution, combine
from meta_train.horizons import ENDLESS
from meta_train.particles import Execution, use
from tests.meta_train.linear_system import SYSTEM, THETA


@flax.struct.dataclass
class PoisonedSystem(UnrolledSystem):
    """A linear system in which the loss of the particles that draw a bad luck is not finite."""

    chance: Any
    value: Any
    after: Any = 2

    def init(self, key, theta, horizon):
        unlucky = jax.random.uniform(jax.random.fold_in(key, 1)) < self.chance
        return SYSTEM.init(key, theta, horizon), unlucky, jnp.zeros((), jnp.int32)

    def step(self, key, theta, state):
        inner, unlucky, t = state
        inner, loss = SYSTEM.step(key, theta, inner)
        return (inner, unlucky, t + 1), jnp.where(unlucky & (t >= self.after), self.value, loss)


HEALTHY = PoisonedSystem(np.float32(0.0), np.float32(np.nan), np.int32(2))
"""Compiled once for each estimator, with the poisoned ones, of which it differs in numbers."""


@pytest.fixture(params=sorted(ESTIMATORS))
def name(request):
    return request.param


BY_DERIVATIVES = ("bptt", "truncated_bptt", "rtrl", "uoro", "ok", "dodge")


def make(name, **fields):
    return ESTIMATORS[name](
        **{"horizon": 6, "truncation_length": 2, "num_pairs": 8, "std": 0.1} | fields
    )


@functools.partial(jax.jit, static_argnames=("estimator", "particles"))
def init(estimator, particles, system, theta, key):
    with use(Execution(particles)):
        return estimator.init(system, key, theta)


@functools.partial(jax.jit, static_argnames=("estimator", "particles"))
def estimate(estimator, particles, system, theta, key, state):
    with use(Execution(particles)):
        return estimator.estimate(system, key, theta, state)


def run(estimator, system=HEALTHY, theta=THETA, meta_steps=1, seed=0, particles="sequential"):
    """Estimates of some meta-steps, and the states before and after them."""
    key = jax.random.key(seed)
    results, states = [], [init(estimator, particles, system, theta, key)]
    for meta_step in range(meta_steps):
        key_step = jax.random.fold_in(key, meta_step)
        result, state = estimate(estimator, particles, system, theta, key_step, states[-1])
        results.append(result)
        states.append(state)
    return results, states


def test_registered_estimators_say_whether_they_are_unbiased(name):
    assert issubclass(ESTIMATORS[name], GradientEstimator)
    assert isinstance(ESTIMATORS[name].unbiased, bool)
    formula = ESTIMATORS[name].__doc__
    assert all(word in formula for word in ("Bias:", "Variance:", "Cost per meta-step:"))


def test_estimate_has_the_structure_of_theta_and_scalar_metrics(name):
    (result,), _ = run(make(name))
    assert jax.tree.structure(result.grad) == jax.tree.structure(THETA)
    for grad, leaf in zip(jax.tree.leaves(result.grad), jax.tree.leaves(THETA), strict=True):
        assert grad.shape == leaf.shape
        assert grad.dtype == jnp.float32
    assert result.loss.shape == ()
    assert {"diverged", "snr", "inner_steps"} <= set(result.metrics)
    assert all(value.shape == () for value in result.metrics.values())


def test_state_keeps_its_types(name):
    estimator = make(name)
    state = jax.eval_shape(lambda: estimator.init(SYSTEM, jax.random.key(0), THETA))
    _, after = jax.eval_shape(
        lambda state: estimator.estimate(SYSTEM, jax.random.key(0), THETA, state), state
    )
    assert jax.tree.structure(state) == jax.tree.structure(after)
    for old, new in zip(jax.tree.leaves(state), jax.tree.leaves(after), strict=True):
        assert (old.shape, old.dtype, old.weak_type) == (new.shape, new.dtype, new.weak_type)


def test_same_key_same_estimate_and_other_key_another(name):
    first, again, other = (
        ravel_pytree(run(make(name), seed=seed)[0][0].grad)[0] for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(first, again)
    assert not np.allclose(first, other)


def test_equal_hyperparameters_are_equal_and_hash_alike(name):
    assert make(name) == make(name)
    assert hash(make(name)) == hash(make(name))
    assert make(name) != make(name, num_pairs=3)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"truncation_length": 7}, r"truncation_length = 7 .* between 1 and the horizon T = 6"),
        ({"truncation_length": 0}, "truncation_length = 0"),
        ({"num_pairs": 0}, "num_pairs = 0 must be at least 1"),
        ({"horizon": 0}, "horizon = 0 must be a whole number"),
        ({"horizon": 2.5}, r"horizon = 2.5 must be a whole number"),
        ({"std": -1.0}, "std = -1.0"),
        ({"std": float("nan")}, "std = nan"),
        ({"mean_over": "tasks"}, "mean_over = 'tasks' must be one of steps, episodes"),
        ({"horizon": None, "truncation_length": None}, "horizon = None"),
    ],
)
def test_impossible_sizes_are_refused(name, fields, message):
    with pytest.raises(ValueError, match=message):
        make(name, **fields)


def test_std_zero_is_refused_where_it_has_no_meaning(name):
    if name not in BY_DERIVATIVES:
        with pytest.raises(ValueError, match=r"std = 0.* above 0"):
            make(name, std=0.0)
    else:
        (result,), _ = run(make(name, std=0.0, num_particles=1))
        assert np.isfinite(result.loss)


AT_ONCE = ("pes", "truncated_bptt")
BOTH_WAYS = [(name, "sequential") for name in ESTIMATORS]
BOTH_WAYS += [
    pytest.param(name, "parallel", marks=() if name in AT_ONCE else pytest.mark.slow)
    for name in ESTIMATORS
]


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize(("name", "particles"), BOTH_WAYS)
def test_diverged_particles_are_dropped_counted_and_restarted(name, value, particles):
    system = PoisonedSystem(np.float32(0.4), np.float32(value), np.int32(2))
    results, states = run(make(name), system=system, meta_steps=8, particles=particles)
    assert 0 < sum(int(result.metrics["diverged"]) for result in results) < 8 * 16
    for result in results:
        assert np.isfinite(ravel_pytree(result.grad)[0]).all()
    if name in ("es", "bptt"):
        return  # every estimate begins new episodes
    times = {False: set(), True: set()}
    for state in states[1:]:
        flags = next(leaf for leaf in jax.tree.leaves(state.carry) if leaf.dtype == bool)
        unlucky = np.asarray(flags).reshape(len(flags), -1).any(axis=1)
        for t, bad in zip(np.asarray(state.clock.t), unlucky, strict=True):
            times[bool(bad)].add(int(t))
    # Whoever turns bad after its second inner step has begun a new episode instead of going on.
    assert times == {False: {0, 2, 4}, True: {0, 2}}


def test_if_all_diverge_the_gradient_is_zero_and_all_are_counted(name):
    system = PoisonedSystem(np.float32(2.0), np.float32(np.nan), np.int32(0))
    results, _ = run(make(name), system=system)
    np.testing.assert_array_equal(ravel_pytree(results[0].grad)[0], 0.0)
    assert int(results[0].metrics["diverged"]) == 16
    assert np.isnan(results[0].loss)


@flax.struct.dataclass
class OneBadPair(UnrolledSystem):
    """Particle ``bad`` of the pairs, told apart by their init key, has a NaN loss at theta > 0."""

    bad_key: Any

    def init(self, key, theta, horizon):
        bad = jnp.all(jax.random.key_data(key) == self.bad_key) & (theta["drift"][0] > 0.3)
        return SYSTEM.init(key, theta, horizon), bad

    def step(self, key, theta, state):
        inner, bad = state
        inner, loss = SYSTEM.step(key, theta, inner)
        return (inner, bad), jnp.where(bad, jnp.nan, loss)


@pytest.mark.parametrize("cls", [PES, NRES])
def test_one_nan_particle_of_eight_leaves_the_estimate_of_the_others(cls):
    estimator = cls(6, 6, num_pairs=4, std=0.1)
    key = jax.random.key(5)
    bad_key = jax.random.key_data(group_keys(key, 2).init)

    @jax.jit
    def poisoned_estimate():
        system = OneBadPair(bad_key)
        return estimator.estimate(system, key, THETA, estimator.init(system, key, THETA))[0]

    @jax.jit
    def contributions():
        with pytest.MonkeyPatch.context() as patch:
            kept = []

            def keep(contributions, theta):
                kept.append(contributions)
                return combine(contributions, theta)

            patch.setattr(clocks, "combine", keep)
            estimator.estimate(SYSTEM, key, THETA, estimator.init(SYSTEM, key, THETA))
        return kept[0]

    poisoned = poisoned_estimate()
    assert int(poisoned.metrics["diverged"]) == 1
    others = Contribution(*[np.delete(leaf, 2, axis=0) for leaf in contributions()])
    expected = jax.jit(combine)(others, THETA)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), poisoned.grad, expected.grad
    )
    np.testing.assert_allclose(poisoned.loss, expected.loss, rtol=1e-6)


def test_snr_tells_signal_from_noise():
    def mean_snr(theta):
        results, _ = run(PES(6, 2, num_pairs=64, std=0.1), theta=theta, meta_steps=20)
        return np.mean([float(result.metrics["snr"]) for result in results])

    still = {"drift": np.zeros(2, np.float32), "start": {"scale": np.float32(0.0)}}
    assert mean_snr(still) < 2.5  # the minimum: no gradient
    assert mean_snr(THETA) > 5


TRUNCATED = [
    pytest.param(name, marks=() if name in AT_ONCE else pytest.mark.slow)
    for name in ESTIMATORS
    if name not in ("es", "bptt")
]


@pytest.mark.parametrize("name", TRUNCATED)
def test_episodes_that_never_end(name):
    estimator = make(name, horizon=None, num_pairs=4)
    results, states = run(estimator, meta_steps=5)
    for meta_step, state in enumerate(states):
        assert (np.asarray(state.clock.t) == 2 * meta_step).all()
        assert (np.asarray(state.clock.horizon) == ENDLESS).all()
        assert (np.asarray(state.past) == 0).all()
    assert all(int(result.metrics["inner_steps"]) == 8 * 2 for result in results)


@pytest.mark.parametrize("name", ["es", "bptt"])
def test_whole_episodes_must_end(name):
    with pytest.raises(ValueError, match="episodes that never end cannot be unrolled as a whole"):
        make(name, horizon=None)


def test_the_first_truncation_of_an_endless_episode_has_the_gradient_of_a_finite_one():
    grads = [run(make("pes", horizon=horizon, staggered=False))[0][0].grad for horizon in (None, 2)]
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), *grads)


@pytest.mark.parametrize("name", TRUNCATED)
def test_without_stagger_all_clocks_agree(name):
    _, states = run(make(name, num_pairs=4, staggered=False), meta_steps=4)
    for meta_step, state in enumerate(states):
        assert (np.asarray(state.clock.t) == 2 * meta_step % 6).all()


@pytest.mark.parametrize("name", BY_DERIVATIVES)
def test_lone_particles_are_counted_as_such(name):
    assert make(name, num_pairs=3).num_groups == 6
    (result,), _ = run(make(name, std=0.0, num_particles=1))
    assert int(result.metrics["inner_steps"]) == (6 if name == "bptt" else 2)
    with pytest.raises(ValueError, match="num_particles = 0"):
        make(name, num_particles=0)
