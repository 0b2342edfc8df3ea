"""Groups of meta-parameters: standard deviations, learning rates and freezing of their own."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from meta_train import ESTIMATORS, PES, MetaTrainer
from meta_train.groups import average_theta, averaged, scale_groups, sigma
from meta_train.horizons import ConstantHorizon
from tests.meta_train.linear_system import SYSTEM, THETA, true_gradient
from tests.meta_train.test_unbiased import z_scores

STDS = {"drift": 0.1, "start": 0.03}
EVOLUTION = ["pes", "nres", "es", "truncated_es"]


def test_every_element_has_the_deviation_of_its_group():
    np.testing.assert_allclose(sigma(THETA, tuple(STDS.items())), [0.1, 0.1, 0.03])


@pytest.mark.slow
def test_groups_of_different_deviations_keep_the_estimate_unbiased():
    estimator = PES(ConstantHorizon(6), 4, num_pairs=48, std=STDS)
    assert z_scores(estimator, true_gradient(estimator.episodes), meta_step=2).max() < 4


@pytest.mark.parametrize(
    "name", ["pes", *(pytest.param(name, marks=pytest.mark.slow) for name in EVOLUTION[1:])]
)
def test_a_frozen_group_has_no_gradient_and_disturbs_no_other(name):
    estimator = ESTIMATORS[name](6, 2, num_pairs=4, std=STDS | {"start": 0.0})
    trainer = MetaTrainer([SYSTEM], estimator, optax.sgd(0.1), steps_per_dispatch=3)
    state, _ = trainer.step(trainer.init(jax.random.key(0), THETA))
    assert float(state.theta["start"]["scale"]) == THETA["start"]["scale"]
    assert (np.asarray(state.theta["drift"]) != THETA["drift"]).all()


@pytest.mark.parametrize(
    ("std", "message"),
    [
        ({"drift": -0.1, "start": 0.1}, r"std = -0.1 of drift must be a finite number at least 0"),
        ({"drift": 0.0, "start": 0.0}, "std = 0.0 of drift"),
    ],
)
def test_impossible_deviations_are_refused(std, message):
    with pytest.raises(ValueError, match=message):
        PES(6, 2, std=std)


@pytest.mark.parametrize("std", [{"drift": 0.1}, STDS | {"end": 0.1}])
def test_groups_that_theta_does_not_have_are_refused(std):
    trainer = MetaTrainer([SYSTEM], PES(6, 2, num_pairs=2, std=std), optax.sgd(0.1))
    with pytest.raises(ValueError, match=r"theta's top-level groups are drift, start"):
        trainer.step(trainer.init(jax.random.key(0), THETA))


def test_estimators_with_groups_are_equal_and_hash_alike():
    one, other = (PES(6, 2, std=std) for std in (STDS, dict(reversed(STDS.items()))))
    assert one == other
    assert hash(one) == hash(other)


def test_updates_of_a_group_are_scaled():
    scale = scale_groups({"drift": 0.5, "start": 0.0})
    updates = jax.tree.map(jnp.ones_like, THETA)
    scaled, _ = scale.update(updates, scale.init(THETA))
    np.testing.assert_array_equal(scaled["drift"], [0.5, 0.5])
    assert float(scaled["start"]["scale"]) == 0.0


def test_the_average_of_theta_is_a_mean_at_first_and_exponential_later():
    optimizer = optax.chain(optax.sgd(1.0), average_theta(0.25))
    theta, rng = jnp.zeros(2), np.random.default_rng(0)
    state = optimizer.init(theta)
    thetas, expected = [np.zeros(2)], np.zeros(2)
    for meta_step in range(1, 8):
        updates, state = optimizer.update(
            jnp.asarray(rng.normal(size=2), jnp.float32), state, theta
        )
        theta = optax.apply_updates(theta, updates)
        thetas.append(np.asarray(theta))
        expected = expected + max(0.25, 1 / (meta_step + 1)) * (thetas[-1] - expected)
        np.testing.assert_allclose(averaged(state, theta), expected, rtol=1e-5, atol=1e-6)
        if meta_step < 4:
            np.testing.assert_allclose(expected, np.mean(thetas, axis=0), rtol=1e-5, atol=1e-6)


def test_without_an_average_theta_is_judged_itself():
    theta = jnp.ones(2)
    assert averaged(optax.adam(0.1).init(theta), theta) is theta
