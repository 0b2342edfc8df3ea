"""Estimators that carry derivatives forward: RTRL is exact, DODGE and UORO are it in the mean."""

import functools
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

from meta_train import (
    DODGE,
    GPES,
    NRES,
    PES,
    RTRL,
    UORO,
    ConstantHorizon,
    PESAnalytic,
    UnrolledSystem,
)
from tests.meta_train.linear_system import SYSTEM
from tests.meta_train.linear_system import THETA as LINEAR

T, K = 7, 3
THETA = {
    "recurrent": np.linspace(-0.6, 0.5, 9).reshape(3, 3),
    "input": np.array([0.4, -0.3, 0.2]),
    "start": np.array([0.1, 0.2, -0.1]),
}


@flax.struct.dataclass
class RecurrentNet(UnrolledSystem):
    """Three tanh units that predict their next input; the state holds a key and a step as well."""

    inputs: Any

    def init(self, key, theta, horizon):
        return theta["start"], jnp.zeros((), jnp.int32), key

    def step(self, key, theta, state):
        units, t, own_key = state
        units = jnp.tanh(theta["recurrent"] @ units + theta["input"] * self.inputs[t])
        loss = jnp.square(jnp.sum(units) - self.inputs[t + 1])
        return (units, t + 1, own_key), loss


def test_it_matches_autodiff_in_float64():
    with jax.enable_x64(True):
        theta = jax.tree.map(lambda x: jnp.asarray(x, jnp.float64), THETA)
        system = RecurrentNet(jnp.sin(jnp.arange(T + 1, dtype=jnp.float64)))
        rtrl = RTRL(ConstantHorizon(T), K, num_particles=1, staggered=False)
        key = jax.random.key(0)

        def mean_loss(theta):
            state = system.init(key, theta, jnp.int32(T))
            total = 0.0
            for _ in range(T):
                state, loss = system.step(key, theta, state)
                total += loss
            return total / T

        state = rtrl.init(system, key, theta)
        estimate = jax.jit(lambda state: rtrl.estimate(system, key, theta, state))
        grads = []
        for _ in range(-(-T // K)):
            result, state = estimate(state)
            grads.append(ravel_pytree(result.grad)[0])
        expected = ravel_pytree(jax.jit(jax.grad(mean_loss))(theta))[0]
        np.testing.assert_allclose(np.mean(grads, axis=0), expected, rtol=1e-6)
        assert not np.allclose(grads[0], expected, rtol=1e-2)  # one truncation is not the episode


def grads(estimator, system=SYSTEM, theta=LINEAR, meta_steps=4, runs=1):
    """The estimates of some meta-steps of several independent runs [runs, meta_steps, P]."""
    return np.asarray(estimates(estimator, meta_steps, runs, system, theta))


@functools.partial(jax.jit, static_argnums=(0, 1, 2))
def estimates(estimator, meta_steps, runs, system, theta):
    def run(key):
        def meta_step(state, i):
            result, state = estimator.estimate(system, jax.random.fold_in(key, i), theta, state)
            return state, ravel_pytree(result.grad)[0]

        return jax.lax.scan(meta_step, estimator.init(system, key, theta), jnp.arange(meta_steps))

    return jax.vmap(run)(jax.random.split(jax.random.key(0), runs))[1]


@pytest.mark.parametrize(("length", "other"), [(None, PES), (2, PES), (6, NRES), (8, NRES)])
def test_pes_and_nres_are_the_ends_of_gpes(length, other):
    common = {"num_pairs": 4, "std": 0.1}
    found = grads(GPES(6, 2, **common, perturbation_length=length))
    np.testing.assert_allclose(found, grads(other(6, 2, **common)), rtol=1e-5, atol=1e-6)


def test_between_its_ends_gpes_is_neither():
    common = {"num_pairs": 4, "std": 0.1}
    found = grads(GPES(8, 2, **common, perturbation_length=4))
    for other in (PES, NRES):
        assert not np.allclose(found, grads(other(8, 2, **common)), rtol=0.1)


@pytest.mark.parametrize("length", [1, 3, 5])
def test_perturbations_last_for_whole_truncations(length):
    with pytest.raises(ValueError, match=f"perturbation_length = {length} must be a multiple of"):
        GPES(8, 2, perturbation_length=length)


def test_dodge_is_nres_where_losses_are_quadratic():
    """Antithetic differences of quadratic functions are their derivatives, whatever sigma is."""
    found = grads(DODGE(6, 2, num_particles=4))
    np.testing.assert_allclose(found, grads(NRES(6, 2, num_pairs=4, std=0.1)), rtol=2e-3, atol=1e-4)


@pytest.mark.parametrize("cls", [DODGE, UORO])
def test_in_the_mean_they_are_rtrl(cls):
    """From the same keys the inner problems are the same, so that only their own draws differ."""
    mean = grads(cls(6, 2, num_particles=4000, staggered=False), meta_steps=3)
    exact = grads(RTRL(6, 2, num_particles=4000, staggered=False), meta_steps=3)
    np.testing.assert_allclose(mean, exact, rtol=0.15, atol=0.05)
    assert not np.allclose(mean, exact, rtol=1e-3)


class ForgetfulUORO(UORO):
    """Begins every truncation without the influence of the ones before."""

    def estimate(self, system, key, theta, state):
        carry = state.carry._replace(right=0 * state.carry.right, left=0 * state.carry.left)
        return super().estimate(system, key, theta, state._replace(carry=carry))


def test_without_the_influence_of_earlier_truncations_uoro_is_not_rtrl():
    mean = grads(ForgetfulUORO(6, 2, num_particles=4000, staggered=False), meta_steps=3)
    exact = grads(RTRL(6, 2, num_particles=4000, staggered=False), meta_steps=3)
    assert not np.allclose(mean, exact, rtol=0.15, atol=0.05)


def test_what_backpropagation_knows_is_not_left_to_noise():
    """On its first truncation PES with the analytic gradient is exact for quadratic losses."""
    common = {"num_pairs": 8, "std": 0.1, "staggered": False}
    exact = grads(RTRL(6, 2, num_particles=8, staggered=False), meta_steps=1)
    np.testing.assert_allclose(grads(PESAnalytic(6, 2, **common), meta_steps=1), exact, rtol=1e-3)
    spread = {
        cls: grads(cls(6, 2, **common), meta_steps=3, runs=64).var(axis=0).sum()
        for cls in (PES, PESAnalytic)
    }
    assert spread[PESAnalytic] < 0.9 * spread[PES]
