"""Options of estimators that work by antithetic pairs: how they perturb and what they compare."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from meta_train import ES, ESTIMATORS, PES
from meta_train.estimators.clocks import group_keys
from meta_train.estimators.pairs import PERTURBATIONS, perturb
from meta_train.estimators.reduction import FITNESS_SHAPINGS, Contribution, shape_fitness
from meta_train.variance import gradient_moments
from tests.meta_train.linear_losses import make
from tests.meta_train.linear_system import true_gradient
from tests.meta_train.test_unbiased import HORIZONS, z_scores

PAIRED = [
    name
    for name, cls in ESTIMATORS.items()
    if "perturbation" in {field.name for field in dataclasses.fields(cls)}
]
UNUSUAL = [name for name in PERTURBATIONS if name != "normal"]


@functools.partial(jax.jit, static_argnames=("name", "num_pairs"))
def draws(name, num_pairs, size=5, std=0.5):
    """Perturbations of all pairs in many meta-steps [meta_steps, num_pairs, P]."""
    theta = jnp.zeros(size)

    def meta_step(key):
        indices = jnp.arange(num_pairs)
        return jax.vmap(lambda i: perturb(name, group_keys(key, i), theta, std, num_pairs))(indices)

    return jax.vmap(meta_step)(jax.random.split(jax.random.key(0), 4000))


@pytest.mark.parametrize("name", PERTURBATIONS)
def test_perturbations_have_mean_zero_and_the_covariance_asked_for(name):
    eps = np.asarray(draws(name, 3), np.float64)
    np.testing.assert_allclose(eps.mean(axis=0), 0, atol=5 * 0.5 / np.sqrt(4000))
    for pair in eps.swapaxes(0, 1):
        np.testing.assert_allclose(np.cov(pair.T), 0.25 * np.eye(5), atol=0.03)


def test_orthogonal_ones_are_so_within_blocks_and_as_long_as_normal_ones():
    eps = np.asarray(draws("orthogonal", 8), np.float64)
    products = np.einsum("mip,mjp->mij", eps, eps)
    block = np.arange(8) // 5
    together = (block[:, None] == block) & ~np.eye(8, dtype=bool)
    np.testing.assert_allclose(products[:, together], 0, atol=1e-5)
    assert np.abs(products[:, block[:, None] != block]).max() > 0.1
    lengths = np.sum((eps / 0.5) ** 2, axis=-1)  # chi squared with 5 degrees of freedom
    assert lengths.mean() == pytest.approx(5, rel=0.02)
    assert lengths.var() == pytest.approx(10, rel=0.05)
    assert np.abs(np.corrcoef(lengths.T) - np.eye(8)).max() < 0.08


def test_signs_are_signs():
    assert set(np.unique(draws("sign", 3))) == {-0.5, 0.5}


@pytest.mark.parametrize(
    ("name", "variance"),
    [
        pytest.param("normal", (6 + 1) / 4, marks=pytest.mark.slow),
        ("sign", (6 - 1) / 4),
        ("orthogonal", (6 + 2) / 4 - 1),
    ],
)
def test_variance_of_full_es_by_kind_of_perturbation(name, variance):
    system = make("independent", 3, 6)
    estimator = ES(3, num_pairs=4, std=0.1, perturbation=name)
    found = gradient_moments(
        system, estimator, jax.random.key(1), system.theta, num_runs=2048, runs_at_once=2048
    )
    assert found.variance == pytest.approx(variance * system.gradient @ system.gradient, rel=0.1)


def unbiased_cases():
    for name in PAIRED:
        for kind in UNUSUAL:
            yield pytest.param(name, kind, marks=() if name == "pes" else pytest.mark.slow)


@pytest.mark.parametrize(("name", "kind"), list(unbiased_cases()))
def test_every_kind_of_perturbation_is_as_unbiased_as_the_normal_one(name, kind):
    horizon, length = HORIZONS["random"]
    estimator = ESTIMATORS[name](horizon, length, num_pairs=48, std=0.1, perturbation=kind)
    worst = z_scores(estimator, true_gradient(horizon), meta_step=2).max()
    assert (worst < 4) == estimator.unbiased == ESTIMATORS[name].unbiased


@pytest.mark.parametrize(
    ("name", "shaping"),
    [
        pytest.param(
            name, shaping, marks=() if (name, shaping) == ("pes", "sign") else pytest.mark.slow
        )
        for name in PAIRED
        if name != "pes_analytic"
        for shaping in FITNESS_SHAPINGS
    ],
)
def test_shaped_fitness_is_biased_and_says_so(name, shaping):
    horizon, length = HORIZONS["divides"]
    estimator = ESTIMATORS[name](horizon, length, num_pairs=48, std=0.1, fitness_shaping=shaping)
    assert not estimator.unbiased
    assert not dataclasses.replace(estimator, num_pairs=4).unbiased
    assert ESTIMATORS[name](horizon, length).unbiased == ESTIMATORS[name].unbiased
    assert z_scores(estimator, true_gradient(horizon)).max() > 4


shaped_by = jax.jit(shape_fitness, static_argnums=(0, 3))


def contribution(losses):
    losses, count = np.float32(losses), len(losses)
    with np.errstate(invalid="ignore"):
        grads = (losses[:, :1] - losses[:, 1:]) * np.arange(1, 1 + count, dtype=np.float32)[:, None]
    return Contribution(grads, losses, np.ones(count, np.int32), np.ones(count, np.float32))


@pytest.mark.parametrize(
    ("shaping", "expected"),
    [
        ("sign", [1.0, -1.0, 0.0, 1.0, np.nan]),
        # Among +-0, +-0 (the pair that is dropped), +-1, +-1 and +-100.
        ("centred_ranks", [6 / 18, -6 / 18, 0.0, 9 / 18, np.nan]),
    ],
)
def test_shaped_differences(shaping, expected):
    part = contribution([[3.0, 2.0], [1.0, 2.0], [5.0, 5.0], [100.0, 0.0], [np.inf, 0.0]])
    shaped = shaped_by(shaping, part, np.arange(5), 5)
    found = shaped.grad[:, 0] / np.arange(1, 6)
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    np.testing.assert_array_equal(shaped.healthy, [True, True, True, True, False])


def test_ranks_reach_from_minus_to_plus_one_half_for_many_pairs():
    rng = np.random.default_rng(0)
    part = contribution(np.stack([rng.normal(size=200), np.zeros(200)], axis=1))
    shaped = shaped_by("centred_ranks", part, np.arange(200), 200)
    found = np.sort(np.asarray(shaped.grad)[:, 0] / np.arange(1, 201))
    both = np.sort([*found, *-found])
    np.testing.assert_allclose(both, np.linspace(-0.5, 0.5, 400), atol=1e-6)


def test_an_outlier_does_not_rule_a_shaped_estimate():
    losses = np.array([[1.0, 0.0], [1.0, 0.0], [0.0, 1e9]])
    for shaping in FITNESS_SHAPINGS:
        grads = shaped_by(shaping, contribution(losses), np.arange(3), 3).grad
        assert np.abs(np.asarray(grads)).max() <= 3


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"perturbation": "gauss"}, "'gauss' must be one of normal, sign, orthogonal"),
        ({"fitness_shaping": "rank"}, "'rank' must be one of none, sign, centred_ranks"),
        (
            {"fitness_shaping": "sign", "telescoped": True},
            "'sign' leaves nothing of losses that could be telescoped",
        ),
    ],
)
def test_unknown_options_are_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        PES(6, 2, **fields)
