"""The loss after the last step as the objective, seen through truncations by telescoped losses."""

import jax
import numpy as np
import pytest

from meta_train import ESTIMATORS, PES, ConstantHorizon, FinalLoss
from meta_train.linearised import pair_variance, reach
from meta_train.variance import gradient_moments
from tests.meta_train.linear_losses import make
from tests.meta_train.linear_system import SYSTEM, THETA, lengths_of, true_gradient
from tests.meta_train.test_unbiased import RANDOM, z_scores

FINAL = FinalLoss(SYSTEM)


def gradient_of_the_last_loss(horizon):
    """By autodiff through every T."""
    grads = [
        true_gradient(ConstantHorizon(T), weigh=lambda progress, T=T: T * (progress == 1))
        for T, _ in zip(*lengths_of(horizon), strict=True)
    ]
    return np.asarray(lengths_of(horizon)[1]) @ np.asarray(grads)


CASES = [
    pytest.param("pes", {}, marks=pytest.mark.slow),
    ("pes", {"telescoped": True}),
    pytest.param("nres", {}, marks=pytest.mark.slow),
    pytest.param("gpes", {"perturbation_length": 6, "telescoped": True}, marks=pytest.mark.slow),
]


@pytest.mark.parametrize(
    "horizon", [pytest.param(ConstantHorizon(10), marks=pytest.mark.slow), RANDOM]
)
@pytest.mark.parametrize(("name", "fields"), CASES)
def test_unbiased_for_the_last_loss(name, fields, horizon):
    estimator = ESTIMATORS[name](horizon, 3, num_pairs=48, std=0.1, mean_over="episodes", **fields)
    truth = gradient_of_the_last_loss(horizon)
    assert z_scores(estimator, truth, FINAL, meta_step=2).max() < 4
    assert z_scores(estimator, true_gradient(horizon), FINAL, meta_step=2).max() > 4


@pytest.mark.slow
def test_truncated_es_is_not():
    estimator = ESTIMATORS["truncated_es"](ConstantHorizon(10), 3, num_pairs=48, std=0.1)
    truth = gradient_of_the_last_loss(ConstantHorizon(10))
    assert z_scores(estimator, truth, FINAL, meta_step=2).max() > 4


@pytest.mark.parametrize("kind", ["final", "present"])
def test_variance_over_an_episode_by_formula(kind):
    """Products of the last accumulator and loss carry no earlier loss, but every later eps: which
    is better depends on whether the losses forget what theta did."""
    losses = make(kind, 5, 4)
    common = {"num_pairs": 1, "std": 0.1, "staggered": False}
    found, expected = {}, {}
    for telescoped in (False, True):
        moments = gradient_moments(
            FinalLoss(losses), PES(5, 1, **common, telescoped=telescoped), jax.random.key(0),
            losses.theta, num_runs=4096, meta_steps=5, runs_at_once=4096,
        )  # fmt: skip
        found[telescoped] = moments.run_variance
        last = losses.influences[-1]
        truth = last.sum(axis=0)
        z = (np.asarray(moments.mean["w"]) - truth) / np.asarray(moments.mean_error["w"])
        assert (np.abs(z) < 4).all()
        seen = np.diff(losses.influences, axis=0, prepend=0.0)
        influence = np.broadcast_to(last, seen.shape) if telescoped else reach(seen)
        expected[telescoped] = pair_variance(influence)
    assert found == pytest.approx(expected, rel=0.1)
    assert (found[True] < found[False]) == (kind == "present")


def test_telescoped_products_add_up_to_the_last_one():
    """Whatever the losses: over an episode xi_T is multiplied by the sum of all differences."""
    common = {"num_pairs": 1, "std": 0.1, "staggered": False}

    def episode(estimator, meta_steps):
        estimate = jax.jit(lambda key, state: estimator.estimate(SYSTEM, key, THETA, state))
        key = jax.random.key(3)
        state, total, xi = estimator.init(SYSTEM, key, THETA), 0.0, []
        for meta_step in range(meta_steps):
            result, state = estimate(jax.random.fold_in(key, meta_step), state)
            total += np.array([*result.grad["drift"], result.grad["start"]["scale"]])
            xi.append(np.asarray(state.carry.xi[0]))
        return total, xi, float(state.carry.earlier[0])

    total, xi, differences = episode(PES(6, 2, telescoped=True, **common), 3)
    # An estimate is C / K of the slope, and that 1 / E[T] times the number of truncations.
    np.testing.assert_allclose(total * 6 / 3, xi[-1] * differences / (2 * 0.1**2), rtol=1e-4)
