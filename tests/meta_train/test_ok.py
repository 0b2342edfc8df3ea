"""The low-rank approximation of RTRL: each of its draws, and what they amount to."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

from meta_train import OK, RTRL, UORO, InfluenceBalancing
from meta_train.estimators.ok import reduce, sketch
from meta_train.variance import gradient_moments
from tests.meta_train.test_forward import RecurrentNet, grads

KEYS = jax.random.split(jax.random.key(0), 4000)
RNG = np.random.default_rng(0)
UNITS = 8
THETA = {
    "recurrent": (RNG.normal(size=(UNITS, UNITS)) / np.sqrt(UNITS)).astype(np.float32),
    "input": RNG.normal(size=UNITS).astype(np.float32),
    "start": np.zeros(UNITS, np.float32),
}
reduced = jax.jit(reduce, static_argnums=2)
NET = RecurrentNet(jnp.sin(1.3 * jnp.arange(21.0)))


def assert_mean(found, expected):
    """Of many matrices [draws, S, P]."""
    found = np.asarray(found, np.float64)
    errors = found.std(axis=0) / np.sqrt(len(found))
    assert (np.abs(found.mean(axis=0) - expected) < 5 * errors + 1e-4).all()


@pytest.mark.parametrize(
    ("spectrum", "rank", "certain"),
    [([4, 3, 2, 1, 1], 3, 1), ([1, 1, 1, 1, 1], 2, 0), ([9, 5, 0.1, 0.1, 0.1], 3, 2)],
)
def test_the_reduction_is_unbiased_and_as_exact_as_can_be(spectrum, rank, certain):
    u, v = (np.linalg.qr(RNG.normal(size=(n, 5)))[0] for n in (7, 9))
    factors = jnp.asarray(u * spectrum, jnp.float32), jnp.asarray(v, jnp.float32)
    left, right = jax.jit(jax.vmap(lambda key: reduce(key, factors, rank)))(KEYS)
    assert left.shape == (4000, 7, rank)
    found = np.asarray(left @ right.swapaxes(1, 2), np.float64)
    whole = (u * spectrum) @ v.T
    assert_mean(found, whole)
    rest = np.array(spectrum[certain:])
    least = rest.sum() ** 2 / (rank - certain) - np.sum(rest**2)
    assert np.mean(np.sum((found - whole) ** 2, axis=(1, 2))) == pytest.approx(least, rel=0.05)


def test_what_has_the_rank_stays_as_it_is():
    factors = tuple(np.float32(RNG.normal(size=(n, 4))) for n in (7, 9))
    wide = tuple(np.concatenate([x, 0 * x], axis=1) for x in factors)
    left, right = reduced(KEYS[0], wide, 4)
    np.testing.assert_allclose(left @ right.T, factors[0] @ factors[1].T, atol=1e-5)


@pytest.mark.parametrize("factor", [0.0, 1.0])
def test_less_than_the_rank_is_no_harm(factor):
    one = np.zeros((7, 6), np.float32)
    one[:, 0] = factor
    left, right = reduced(KEYS[0], (one, one), 3)
    np.testing.assert_allclose(left @ right.T, factor, atol=1e-6)


@pytest.mark.parametrize("shape", [(4, 6), (6, 4)])
def test_the_sketch_is_unbiased_and_exact_at_full_rank(shape):
    matrix = np.float32(RNG.normal(size=shape))

    def draw(key, rank):
        left, right = sketch(key, lambda x: matrix @ x, lambda x: x @ matrix, shape, rank)
        return left @ right.T

    assert_mean(jax.jit(jax.vmap(lambda key: draw(key, 2)))(KEYS), matrix)
    np.testing.assert_allclose(jax.jit(lambda: draw(KEYS[0], 4))(), matrix, atol=1e-5)


@pytest.mark.slow
def test_at_full_rank_it_is_rtrl():
    common = {"num_particles": 2, "staggered": False}
    found = grads(OK(20, 5, rank=UNITS, **common), NET, THETA)
    np.testing.assert_allclose(found, grads(RTRL(20, 5, **common), NET, THETA), rtol=1e-3)


def test_few_parameters_need_few_directions():
    system = InfluenceBalancing()
    theta = system.init_theta(jax.random.key(0))
    common = {"num_particles": 1}
    found, exact = (
        grads(cls(None, 5, **common), system, theta, meta_steps=12) for cls in (OK, RTRL)
    )
    np.testing.assert_allclose(found, exact, rtol=1e-3)


@pytest.mark.slow
def test_at_equal_cost_its_variance_is_below_that_of_uoro():
    """2 r + 1 derivatives per inner step, where UORO takes three."""
    exact = grads(RTRL(20, 5, num_particles=1, staggered=False), NET, THETA)[0].mean(axis=0)

    def moments(estimator):
        found = gradient_moments(
            NET, estimator, jax.random.key(0), THETA, num_runs=512, meta_steps=4, runs_at_once=512
        )
        mean, error = (np.asarray(ravel_pytree(x)[0]) for x in (found.mean, found.mean_error))
        assert (np.abs(mean - exact) < 4.5 * error + 1e-6).all()
        return found

    uoro = moments(UORO(20, 5, num_particles=1, staggered=False))
    for rank in (2, 4):
        found = moments(OK(20, 5, num_particles=1, staggered=False, rank=rank))
        same_cost = uoro.run_variance * 3 / (2 * rank + 1)
        assert found.run_variance + 3 * found.run_variance_error < 0.8 * same_cost


def test_impossible_ranks_are_refused():
    with pytest.raises(ValueError, match="rank = 0 must be at least 1"):
        OK(20, 5, rank=0)
