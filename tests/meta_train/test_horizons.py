"""Horizons: draws agree with the expectations that the estimators rely on."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meta_train import ConstantHorizon, LogUniformHorizon, ScheduledHorizon, make_horizon

NOW = jnp.int32(0)


def draws(horizon, meta_step=NOW, count=20_000):
    keys = jax.random.split(jax.random.key(1), count)
    return np.asarray(jax.vmap(lambda key: horizon.sample(key, meta_step))(keys))


@pytest.mark.parametrize("horizon", [ConstantHorizon(7), LogUniformHorizon(3, 40)])
@pytest.mark.parametrize("length", [1, 4, 7])
def test_means_are_those_of_the_draws(horizon, length):
    lengths = draws(horizon)
    assert lengths.min() >= getattr(horizon, "low", horizon.max)
    assert lengths.max() == horizon.max
    assert lengths.mean() == pytest.approx(horizon.mean(NOW), rel=0.02)
    truncations = np.ceil(lengths / length)
    assert truncations.mean() == pytest.approx(horizon.mean_truncations(length, NOW), rel=0.02)


def test_running_episodes_are_long_ones():
    horizon, length = LogUniformHorizon(2, 30), 4
    keys = jax.random.split(jax.random.key(2), 20_000)
    running = np.asarray(jax.vmap(lambda key: horizon.sample_running(key, length))(keys))
    fresh = draws(horizon)
    weights = np.ceil(fresh / length)
    expected = (fresh * weights).sum() / weights.sum()
    assert running.mean() == pytest.approx(expected, rel=0.02)
    assert running.mean() > 1.3 * fresh.mean()


def test_schedule_moves_geometrically_and_stops():
    horizon = ScheduledHorizon(start=10, end=1000, meta_steps=100)
    at = [int(horizon.sample(jax.random.key(0), jnp.int32(m))) for m in (0, 50, 100, 5000)]
    assert at == [10, 100, 1000, 1000]
    assert float(horizon.mean(jnp.int32(50))) == 100
    assert float(horizon.mean_truncations(30, jnp.int32(50))) == 4


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 200), st.integers(1, 50))
def test_constant_horizon_counts_truncations(horizon, length):
    constant = ConstantHorizon(horizon)
    assert constant.mean_truncations(length, NOW) == -(-horizon // length)
    assert constant.is_ragged(length) == (horizon % length != 0)


def test_make_horizon_from_plain_data():
    assert make_horizon(5) == ConstantHorizon(5)
    assert make_horizon({"name": "log_uniform", "low": 2, "high": 9}) == LogUniformHorizon(2, 9)
    assert make_horizon(ConstantHorizon(3)) == ConstantHorizon(3)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"name": "loguniform", "low": 1, "high": 2}, "unknown horizon 'loguniform'; known: e"),
        ({"name": "log_uniform", "low": 9, "high": 2}, "horizon.high = 2 is below horizon.low = 9"),
        ({"name": "log_uniform", "low": 9}, "takes the fields low, high; got low"),
        ({"name": "constant", "length": 0}, "horizon = 0"),
        (True, "horizon = True"),
        ("1000", "horizon = '1000'"),
    ],
)
def test_bad_horizons_are_refused(spec, message):
    with pytest.raises(ValueError, match=message):
        make_horizon(spec)
