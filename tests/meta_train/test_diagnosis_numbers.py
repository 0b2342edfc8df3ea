"""The numbers of a diagnosis, where formulas say what they are."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

from meta_train import NRES, PES, Execution, TruncatedES
from meta_train.diagnosis import Plan, Setting, rows, statistics
from meta_train.diagnosis.plan import REFERENCE, fixed
from meta_train.diagnosis.samples import Samples
from tests.meta_train.linear_system import NOISE, SYSTEM, THETA, true_gradient

T, K, STD = 12, 3, 0.1


def test_numbers_are_without_bias_and_their_errors_are_those_of_repeated_measurements():
    rng = np.random.default_rng(0)
    scale, p = np.array([1.0, 2.0, 0.5]), 3
    mean_x, mean_y = np.array([0.5, 0.0, 0.2]), np.array([0.3, 0.4, 0.0])
    found = []
    for _ in range(1500):
        x = mean_x + scale * rng.standard_normal((24, p))
        y = mean_y + rng.standard_normal((16, p))
        found.append(
            [
                statistics.variance(x),
                statistics.squared_norm(x),
                statistics.projection(x, y),
                statistics.squared_distance(x, y),
                statistics.mean(x[:, 0]),
            ]
        )
    values, errors = np.moveaxis(np.array(found), -1, 0)
    expected = [
        np.sum(scale**2),
        mean_x @ mean_x,
        mean_x @ mean_y,
        np.sum((mean_x - mean_y) ** 2),
        mean_x[0],
    ]
    spread = values.std(axis=0)
    assert (np.abs(values.mean(axis=0) - expected) < 4 * spread / np.sqrt(len(found))).all()
    told = np.sqrt(np.mean(errors**2, axis=0))
    # Where noise is most of it, the jackknife tells errors of products of means too large.
    assert (0.9 * spread < told).all()
    assert (told < 1.4 * spread).all()
    np.testing.assert_allclose(told[[0, 4]], spread[[0, 4]], rtol=0.12)


@pytest.fixture(scope="module")
def samples():
    estimators = {
        "pes": PES(T, K, num_pairs=2, std=STD),
        "nres": NRES(T, K, num_pairs=2, std=STD),
        "truncated_es": TruncatedES(T, K, num_pairs=2, std=STD),
    }
    plan = Plan(runs_at_once=4096, most_runs=16384, execution=Execution("parallel"))
    made = Samples(SYSTEM, fixed(estimators), THETA, plan)
    for name, length in ((REFERENCE, T), ("pes", K), ("nres", K), ("truncated_es", K)):
        for _ in range(2):
            made.add(Setting(name, length))
    return made


def influences():
    """dL_t / dtheta_tau [noise, t, tau, P]: losses of truncation t, by its own copy of theta."""
    flat, unravel = ravel_pytree(THETA)

    def losses(thetas, noise):
        state, found = unravel(thetas[0])["start"]["scale"] + NOISE * noise[0], []
        for step in range(T):
            drift = unravel(thetas[step // K])["drift"]
            state = SYSTEM.matrix @ state + drift + NOISE * noise[step + 1]
            found.append(0.5 * jnp.sum(state**2))
        return jnp.sum(jnp.stack(found).reshape(T // K, K), axis=1) / T

    noise = jax.random.normal(jax.random.key(5), (4096, T + 1, 2))
    thetas = jnp.tile(flat, (T // K, 1))
    return np.asarray(jax.jit(jax.vmap(jax.jacobian(losses), (None, 0)))(thetas, noise), np.float64)


def test_variances_are_those_of_the_formulas(samples):
    """Antithetic pairs see the linear part of a quadratic loss alone, so these are exact."""
    g = influences()
    size, whole = g.shape[-1], g.sum(axis=(1, 2))
    np.testing.assert_allclose(whole.mean(axis=0), true_gradient(PES(T, K).episodes), rtol=0.02)
    of_noise = np.mean(np.sum(whole**2, axis=1)) - np.sum(whole.mean(axis=0) ** 2)
    nres = (size + 1) * np.mean(np.sum(whole**2, axis=1)) + of_noise
    later = np.cumsum(g[:, ::-1], axis=1)[:, ::-1]  # of truncations t and after
    count = T // K
    h = np.stack([later[:, np.maximum(rho, np.arange(count)), np.arange(count)]
                  for rho in range(count)], axis=1)  # fmt: skip
    crossed = np.einsum("nrtp,ntrp->n", h, h)
    pes = np.mean(size * np.sum(h**2, axis=(1, 2, 3)) + crossed) + of_noise
    for name, expected in (("pes", pes), ("nres", nres), (REFERENCE, nres)):
        found = rows.of(samples, Setting(name, T if name == REFERENCE else K))
        assert found.variance.value == pytest.approx(expected, rel=0.1)
        assert abs(found.variance.value - expected) < 4 * found.variance.error
    assert pes < 0.9 * nres  # which the measured ones tell apart


def test_bias_is_measured_where_there_is_one(samples):
    pes, nres, truncated = (
        rows.of(samples, Setting(name, K)) for name in ("pes", "nres", "truncated_es")
    )
    norm = np.sum(true_gradient(PES(T, K).episodes) ** 2)
    for row in (pes, nres):
        assert not row.is_biased
        assert abs(row.share.value - 1) < 4 * row.share.error < 0.3
        assert row.bias_words.startswith("not measurable: the noise of 8192 runs")
        assert abs(row.own_signal.value - norm) < 4 * row.own_signal.error
        assert abs(row.signal.value - norm) < 4 * row.signal.error
        ratio = row.snr.over(row.snr_per_inner_step).value
        assert ratio == pytest.approx(2 * T)
    assert truncated.is_biased
    assert truncated.bias_words == "measured"
    assert truncated.share.value < 0.8
    # Only the part along the gradient is signal.
    assert truncated.signal.value == pytest.approx(truncated.share.value**2 * norm, rel=0.1)
    assert rows.of(samples, samples.reference).bias == "reference"


def test_a_system_without_a_gradient_has_no_measurable_bias():
    rng = np.random.default_rng(1)
    assert not statistics.squared_norm(rng.standard_normal((64, 5))).resolved
