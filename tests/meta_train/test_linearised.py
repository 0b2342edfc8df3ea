"""How the variance of PES and NRES goes with truncations and pairs: by formula, and measured."""

import jax
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

from meta_train import NRES, PES, Execution
from meta_train.experiments.variance import SEQUENCES, reader
from meta_train.linearised import influences, pair_variance, reach
from meta_train.variance import gradient_moments
from tests.meta_train.linear_losses import make

KEY = jax.random.key(0)


def run_variance(estimator, system, theta, runs):
    """Of the gradient of the sum of the losses of whole episodes."""
    truncations = estimator.episodes.max // estimator.steps_per_truncation
    found = gradient_moments(
        system, estimator, KEY, theta, num_runs=runs, meta_steps=truncations,
        runs_at_once=min(runs, 1024), execution=Execution("parallel"),
    )  # fmt: skip
    return found.run_variance * estimator.episodes.max**2


def lockstep(cls, horizon, length, **options):
    return cls(horizon, length, **{"num_pairs": 1, "std": 0.01, "staggered": False} | options)


def squared_norm(influences):
    return float(np.sum(influences.sum(axis=(0, 1)) ** 2))


def by_formula(influences):
    """Of one pair of PES, over the squared norm of the gradient."""
    return pair_variance(reach(influences)) / squared_norm(influences)


@pytest.mark.parametrize(
    ("count", "expected"), [(1, 9.0), (2, 7.0), (5, 6.2), (10, 6.05), (20, 6.01), (50, 6.0)]
)
def test_where_influences_are_equal_the_variance_falls_to_two_thirds(count, expected):
    found = by_formula(make("identical", count, 8).influences)
    assert found == pytest.approx(expected, abs=0.02)


def test_where_they_are_independent_it_grows_with_the_truncations():
    counts = [5, 10, 20, 40]
    found = [
        np.mean([pair_variance(reach(make("independent", count, 8, seed).influences))
                 / (8 * count * (count + 1) / 2) for seed in range(20)])
        for count in counts
    ]  # fmt: skip
    slope = np.polyfit(np.log(counts), np.log(found), 1)[0]
    assert slope == pytest.approx(1, abs=0.1)


@pytest.mark.parametrize("kind", ["identical", "independent", "present"])
def test_the_formula_is_what_is_measured(kind):
    system = make(kind, 6, 4)
    found = run_variance(lockstep(PES, 6, 1), system, system.theta, 4096)
    assert found == pytest.approx(pair_variance(reach(system.influences)), rel=0.1)


def test_the_variance_of_nres_does_not_depend_on_truncations():
    system = make("independent", 6, 4)
    expected = (4 + 1) * squared_norm(system.influences)
    for length in (1, 3):
        found = run_variance(lockstep(NRES, 6, length), system, system.theta, 4096)
        assert found == pytest.approx(expected, rel=0.1)


@pytest.mark.slow
def test_the_variance_falls_in_inverse_proportion_to_the_pairs():
    system, pairs = make("independent", 3, 4), [1, 10, 100, 1000]
    found = [
        run_variance(lockstep(PES, 3, 1, num_pairs=n), system, system.theta, max(8192 // n, 128))
        for n in pairs
    ]
    slope = np.polyfit(np.log(pairs), np.log(found), 1)[0]
    assert slope == pytest.approx(-1, abs=0.05)


def test_influences_are_derivatives_by_the_theta_of_each_truncation():
    system = make("independent", 6, 4)
    found = influences(system, KEY, system.theta, 6, 2)
    expected = system.influences.reshape(3, 2, 3, 2, 4).sum(axis=(1, 3))
    np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.slow
def test_a_net_that_reads():
    """Repeated characters agree, random ones do not; the formula holds for both and for a text."""
    growth = {}
    for sequence in SEQUENCES:
        system = reader(sequence, width=2)
        theta = system.init_theta(KEY)
        found = influences(system, KEY, theta, 40, 5)
        pes, nres = (
            run_variance(lockstep(cls, 40, 5, std=1e-3), system, theta, 512) / squared_norm(found)
            for cls in (PES, NRES)
        )
        full_es = len(ravel_pytree(theta)[0]) + 1
        assert pes == pytest.approx(by_formula(found), rel=0.25)
        assert nres == pytest.approx(full_es, rel=0.25)
        growth[sequence] = pes / full_es
    assert growth["repeated"] < 0.9 < 1.1 < growth["text"] < growth["random"] < 8
    assert growth["random"] > 3
