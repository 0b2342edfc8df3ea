"""Members of the MLP family are what their arrays say."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import tasks
from tasks.networks import ACTIVATIONS
from tests import rounding

# Of a loss: sums over 64 pixels, units, 10 classes and 16 examples, whose terms of both signs are
# some ten times as large as the sums.
RTOL = 10 * rounding.of_sum(64 + 3 * 8 + 10 + 16)


@pytest.fixture(scope="module")
def family():
    return tasks.make(
        "digits_mlp_family", width=(2, 8), depth=(1, 3), batch_size=16, reparam=(0.01, 100.0)
    )


def member(family, **changes):
    cfg = family.sample(jax.random.key(0))
    plain = {"init_scale": jnp.float32(1), "reparam": jnp.ones_like(cfg.reparam)}
    return cfg._replace(**{**plain, **changes})


@jax.jit
def loss_of(task, cfg, params):
    batch = task.batch(jax.random.key(2), cfg, "train")
    return task.loss(jax.random.key(0), cfg, params, batch)[0]


@jax.jit
def init(task, cfg):
    return task.init(jax.random.key(1), cfg)


value_and_grad = jax.jit(jax.value_and_grad(loss_of, argnums=2))


def test_samples_cover_their_ranges(family):
    cfgs = jax.jit(jax.vmap(family.sample))(jax.random.split(jax.random.key(0), 500))
    assert set(np.unique(cfgs.width)) == set(range(2, 9))
    assert set(np.unique(cfgs.depth)) == {1, 2, 3}
    assert set(np.unique(cfgs.activation)) == {0, 1, 2}
    assert cfgs.reparam.shape == (500, 4, 2)
    assert 0.01 <= cfgs.reparam.min() < 0.02
    assert 50 < cfgs.reparam.max() <= 100.01
    assert abs(np.log10(cfgs.reparam).mean()) < 0.1
    assert 0.5 <= cfgs.init_scale.min() < cfgs.init_scale.max() <= 2.0001
    counts = np.bincount(cfgs.width)
    assert counts[2] > counts[8]  # log-uniform, not uniform


def test_masked_units_do_not_change_the_loss_and_live_ones_do(family):
    tanh = jnp.int32(1)  # whose units never die
    cfg = member(family, width=jnp.int32(3), depth=jnp.int32(3), activation=tanh)
    params = init(family, cfg)
    names = list(params)
    before = loss_of(family, cfg, params)
    dead, live = (jax.tree.map(np.array, params) for _ in range(2))
    for name in names[:-1]:
        dead[name]["kernel"][:, 3:] += 5
        dead[name]["bias"][3:] += 5
    for name in names[1:]:
        dead[name]["kernel"][3:] += 5
    assert loss_of(family, cfg, dead) == before
    live[names[-1]]["kernel"][2, 0] += 5
    assert loss_of(family, cfg, live) != before


def test_skipped_layers_do_not_change_the_loss_and_live_ones_do(family):
    params = init(family, member(family))
    changed = jax.tree.map(np.array, params)
    changed[list(params)[2]]["bias"] += 1
    for depth, equal in ((1, True), (2, True), (3, False)):
        cfg = member(family, depth=jnp.int32(depth), width=jnp.int32(8))
        assert bool(loss_of(family, cfg, changed) == loss_of(family, cfg, params)) is equal


@pytest.mark.parametrize("index", [0, 1, 2])
def test_largest_member_equals_a_plain_mlp(family, index):
    cfg = member(family, width=jnp.int32(8), depth=jnp.int32(3), activation=jnp.int32(index))
    plain = tasks.make(
        "digits_mlp", hidden=(8, 8, 8), activation=family.activations[index], batch_size=16
    )
    params = init(family, cfg)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=rounding.of_sum(1)),
        params,
        init(plain, ()),
    )
    np.testing.assert_allclose(loss_of(family, cfg, params), loss_of(plain, (), params), rtol=RTOL)


def test_a_small_member_equals_the_small_mlp(family):
    cfg = member(family, width=jnp.int32(3), depth=jnp.int32(1), activation=jnp.int32(1))
    params = init(family, cfg)
    names = list(params)
    small = {
        "Dense_0": {"kernel": params[names[0]]["kernel"][:, :3], "bias": jnp.zeros(3)},
        "Dense_1": {"kernel": params[names[-1]]["kernel"][:3], "bias": jnp.zeros(10)},
    }
    plain = tasks.make("digits_mlp", hidden=(3,), activation="tanh", batch_size=16)
    np.testing.assert_allclose(loss_of(family, cfg, params), loss_of(plain, (), small), rtol=RTOL)


def test_initial_scale_follows_the_live_fan_in():
    family = tasks.make("digits_mlp_family", width=(4, 64), depth=(1, 2))
    cfg = member(family, width=jnp.int32(16), init_scale=jnp.float32(2))
    params = list(init(family, cfg).values())
    expected = (2 / np.sqrt(64), 2 / np.sqrt(16), 2 / np.sqrt(16))
    for layer, std in zip(params, expected, strict=True):
        np.testing.assert_allclose(np.std(layer["kernel"]), std, rtol=0.1)


def test_reparametrisation_keeps_the_function_and_scales_the_gradient(family):
    plain = member(family)
    scaled = plain._replace(reparam=family.sample(jax.random.key(9)).reparam)
    params = [init(family, cfg) for cfg in (plain, scaled)]
    values, grads = zip(
        *(value_and_grad(family, cfg, p) for cfg, p in zip((plain, scaled), params, strict=True)),
        strict=True,
    )
    np.testing.assert_allclose(values[0], values[1], rtol=RTOL)
    for i, name in enumerate(grads[0]):
        for j, kind in enumerate(("kernel", "bias")):
            expected = grads[0][name][kind] * scaled.reparam[i, j]
            scale = float(jnp.max(jnp.abs(expected))) + 1e-12
            np.testing.assert_allclose(grads[1][name][kind] / scale, expected / scale, atol=1e-4)


def test_every_activation_by_name_is_elementwise_and_finite():
    x = jnp.linspace(-3.0, 3.0, 12).reshape(3, 4)
    for name, function in ACTIVATIONS.items():
        y = function(x)
        assert y.shape == x.shape, name
        assert np.all(np.isfinite(y)), name
        np.testing.assert_allclose(function(x[1]), y[1], rtol=1e-5, atol=1e-6)
