"""Measured moments of meta-gradients, where formulas say what they are."""

import jax
import numpy as np
import pytest

from meta_train import ES, PES, RTRL
from meta_train.variance import _statistics, gradient_moments
from tests.meta_train.linear_losses import make
from tests.meta_train.linear_system import SYSTEM, THETA, true_gradient

KEY = jax.random.key(0)


def moments(estimator, system, **options):
    options = {"num_runs": 1024, "runs_at_once": 1024} | options
    return gradient_moments(system, estimator, KEY, system.theta, **options)


def test_full_es_has_the_variance_of_its_formula():
    system = make("independent", 4, 5)
    found = moments(ES(4, num_pairs=2, std=0.1), system)
    squared_norm = float(system.gradient @ system.gradient)
    expected = (5 + 1) * squared_norm / 2
    assert found.variance == pytest.approx(expected, rel=0.1)
    assert abs(found.variance - expected) < 4 * found.variance_error < 0.5 * expected
    assert found.run_variance == pytest.approx(found.variance)  # of one meta-step
    assert abs(found.squared_norm - squared_norm) < 0.2 * squared_norm
    assert found.snr == pytest.approx(1 / 3, abs=4 * found.snr_error)
    assert 0 < found.snr_error < 0.1
    assert found.inner_steps == 4 * 4
    assert found.diverged == 0
    assert found.seconds > 0
    z = (np.asarray(found.mean["w"]) - system.gradient) / np.asarray(found.mean_error["w"])
    assert (np.abs(z) < 4).all()


def test_errors_are_those_of_repeated_measurements():
    """Of estimates that hang together within a run: every other one is the one before."""
    rng = np.random.default_rng(0)
    drawn = 1.0 + rng.normal(size=(400, 48, 3, 5))
    repeated = [
        _statistics(grads.mean(axis=1), np.mean(np.sum(grads**2, axis=-1), axis=1))
        for grads in np.repeat(drawn, 2, axis=2)
    ]
    found, told = np.array([x[1] for x in repeated]), np.array([x[2] for x in repeated])
    np.testing.assert_allclose(found.mean(axis=0), [5, 5 / 3, 5, 1], rtol=0.02)
    np.testing.assert_allclose(told.mean(axis=0), found.std(axis=0), rtol=0.15)
    error_of_mean = np.std([x[0][0] for x in repeated], axis=0)
    np.testing.assert_allclose(error_of_mean, np.mean([x[0][1] for x in repeated]), rtol=0.15)


def test_what_does_not_scatter_has_no_variance():
    system = make("independent", 4, 5)
    found = moments(RTRL(4, 2, num_particles=1, staggered=False), system, num_runs=3,
                    runs_at_once=1, meta_steps=2)  # fmt: skip
    assert found.run_variance == pytest.approx(0, abs=1e-9)
    assert found.variance > 0  # the two truncations of the episode are not alike
    np.testing.assert_allclose(found.mean["w"], system.gradient, rtol=1e-5)


def test_one_run_at_a_time_is_the_same_measurement():
    estimator = PES(6, 2, num_pairs=2, std=0.1)
    one, all_ = (
        gradient_moments(SYSTEM, estimator, KEY, THETA, num_runs=8, meta_steps=3, runs_at_once=n)
        for n in (1, 8)
    )
    assert one.variance == pytest.approx(all_.variance, rel=1e-4)
    assert one.run_variance == pytest.approx(all_.run_variance, rel=1e-4)


def test_meta_steps_of_a_run_are_not_taken_for_independent():
    """Those of PES hang together; the error of the mean is still what the truth lies within."""
    found = gradient_moments(
        SYSTEM, PES(10, 4, num_pairs=8, std=0.1), KEY, THETA, num_runs=128, meta_steps=6,
        runs_at_once=128,
    )  # fmt: skip
    errors = np.array([*found.mean_error["drift"], found.mean_error["start"]["scale"]])
    mean = np.array([*found.mean["drift"], found.mean["start"]["scale"]])
    truth = true_gradient(PES(10, 4).episodes)
    assert (np.abs(mean - truth) < 4 * errors).all()
    assert (errors < 0.1 * np.abs(truth).max()).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_runs": 2}, "num_runs = 2 must be at least 3"),
        ({"meta_steps": 0}, "meta_steps = 0 at least 1"),
        ({"num_runs": 6, "runs_at_once": 4}, "runs_at_once = 4 must divide num_runs = 6"),
    ],
)
def test_impossible_numbers_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        gradient_moments(SYSTEM, PES(6, 2), KEY, THETA, **options)
