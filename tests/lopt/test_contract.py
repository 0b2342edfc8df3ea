"""What every registered learned optimizer must do, as an Optax optimizer and as a rule of theta."""

import dataclasses
import logging

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import lopt
import lopt.base

HORIZON = 50
VARIANTS = [
    *((name, {}) for name in lopt.LOPTS),
    *(
        (name, {"schedule": schedule})
        for name in ("sgd_schedule", "adam_schedule")
        for schedule in ("linear", "inverse_time")
    ),
    ("sgd_schedule", {"momentum": 0.0, "learn_momentum": False}),
    ("adafac_mlp", {"hidden": (12,)}),
    ("mlp", {"hidden": (4, 4)}),
]
NEEDS_PARAMS = ("mlp", "adafac_mlp")


@pytest.fixture(params=VARIANTS, ids=lambda v: "-".join([v[0], *map(str, v[1].values())]))
def rule(request):
    name, fields = request.param
    return lopt.LOPTS[name](**fields)


def name_of(rule):
    return next(name for name, kind in lopt.LOPTS.items() if type(rule) is kind)


def draw_theta(rule, seed=0):
    """Meta-parameters away from their initial values, so that every part of theta matters."""
    theta = rule.init(jax.random.key(seed))
    leaves, treedef = jax.tree.flatten(theta)
    keys = jax.random.split(jax.random.key(seed + 1), len(leaves))
    noise = [0.02 * jax.random.normal(k, x.shape) for k, x in zip(keys, leaves, strict=True)]
    return treedef.unflatten([x + e for x, e in zip(leaves, noise, strict=True)])


def draw_params(seed=0):
    shapes = {"s": (), "one": (1,), "b": (5,), "w": (6, 4), "k": (3, 3, 2, 5), "big": (40, 17)}
    keys = jax.random.split(jax.random.key(seed), len(shapes))
    flat = {n: jax.random.normal(k, s) for k, (n, s) in zip(keys, shapes.items(), strict=True)}
    return {"a": {n: flat[n] for n in ("s", "b", "w")}, "c": (flat["k"], flat["big"], flat["one"])}


def types(tree):
    return jax.tree.map(lambda x: (x.shape, x.dtype, x.weak_type), jax.eval_shape(lambda: tree))


def unroll(rule, theta, params, steps=3):
    tx = rule.bind(theta, HORIZON)

    def body(carry, _):
        params, state = carry
        grads = jax.tree.map(lambda p: 2 * p, params)
        updates, state = tx.update(grads, state, params)
        return (optax.apply_updates(params, updates), state), updates

    return jax.lax.scan(body, (params, tx.init(params)), None, length=steps)


def assert_close(one, two, rtol=1e-5, atol=1e-7):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=rtol, atol=atol), one, two)


def test_registry_is_the_one_of_base():
    assert lopt.LOPTS is lopt.base.LOPTS
    assert {"mlp", "adafac_mlp", "lstm", "sgd_schedule", "adam_schedule"} <= set(lopt.LOPTS)


def test_rule_is_a_hashable_value(rule):
    assert rule == dataclasses.replace(rule)
    assert hash(rule) == hash(dataclasses.replace(rule))


def test_theta_is_a_dict_of_float32_and_follows_the_key(rule):
    theta = rule.init(jax.random.key(0))
    assert isinstance(theta, dict)
    assert all(x.dtype == jnp.float32 and not x.weak_type for x in jax.tree.leaves(theta))
    assert_close(theta, rule.init(jax.random.key(0)), rtol=0, atol=0)
    assert types(theta) == types(jax.eval_shape(rule.init, jax.random.key(0)))


def test_every_meta_parameter_matters(rule):
    params = draw_params()
    theta = draw_theta(rule)

    def total(theta):
        updates = unroll(rule, theta, params, steps=3)[1]
        return sum(jnp.sum(jnp.abs(u)) for u in jax.tree.leaves(updates))

    for leaf in jax.tree.leaves(jax.grad(total)(theta)):
        assert np.all(np.isfinite(leaf))
        assert np.any(leaf != 0)


def test_update_returns_the_step_and_keeps_types(rule):
    tx = rule.bind(draw_theta(rule), HORIZON)
    params = draw_params()
    state = tx.init(params)
    updates, after = tx.update(params, state, params)
    assert types(updates) == types(params)
    assert types(after) == types(state)
    assert isinstance(state, tuple)
    assert hasattr(state, "_fields")
    assert state.count.dtype == jnp.int32
    assert int(after.count) == 1
    assert max(float(jnp.abs(u).max()) for u in jax.tree.leaves(updates)) > 0


def test_abstract_init(rule):
    tx = rule.bind(draw_theta(rule), HORIZON)
    params = draw_params()
    abstract = jax.eval_shape(lambda: params)
    expected = types(tx.init(params))
    assert types(jax.eval_shape(tx.init, params)) == expected
    assert types(tx.init(abstract)) == expected


def test_unknown_extra_arguments_are_ignored(rule):
    tx = rule.bind(draw_theta(rule), HORIZON)
    params = draw_params()
    plain = tx.update(params, tx.init(params), params)
    extra = tx.update(
        params, tx.init(params), params, value=jnp.array(2.0), grad=params, value_fn=None, x=1
    )
    assert_close(plain, extra, rtol=0, atol=0)


def test_params_none(rule):
    tx = rule.bind(draw_theta(rule), HORIZON)
    params = draw_params()
    if name_of(rule) in NEEDS_PARAMS:
        with pytest.raises(ValueError, match=r"params=None.*update\(grads, state, params\)"):
            tx.update(params, tx.init(params))
    else:
        with_params, _ = tx.update(params, tx.init(params), params)
        assert_close(tx.update(params, tx.init(params))[0], with_params, rtol=0, atol=0)


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_low_precision_params(rule, dtype):
    tx = rule.bind(draw_theta(rule), HORIZON)
    params = jax.tree.map(lambda p: p.astype(dtype), draw_params())
    state = tx.init(params)
    updates, after = tx.update(params, state, params)
    assert all(u.dtype == dtype for u in jax.tree.leaves(updates))
    assert types(after) == types(state)
    assert {x.dtype for x in jax.tree.leaves(state)} <= {jnp.dtype("int32"), jnp.dtype("float32")}
    # The step is computed in float32 and rounded once, so it is not lost beside the parameter.
    wide = jax.tree.map(lambda p: p.astype(jnp.float32), params)
    exact, _ = tx.update(wide, tx.init(wide), wide)
    assert_close(
        jax.tree.map(lambda u: u.astype(jnp.float32), updates),
        exact,
        rtol=float(jnp.finfo(dtype).eps),
        atol=1e-6,
    )


@pytest.mark.parametrize("params", [{}, (), {"a": None}, {"a": None, "b": jnp.ones(3)}])
def test_empty_and_none(rule, params):
    tx = rule.bind(draw_theta(rule), HORIZON)
    state = tx.init(params)
    updates, after = tx.update(params, state, params)
    assert jax.tree.structure(updates) == jax.tree.structure(params)
    assert types(after) == types(state)


def test_zero_sized_leaf(rule):
    params = {"none": jnp.zeros((0, 3)), "w": jnp.ones((2, 3))}
    tx = rule.bind(draw_theta(rule), HORIZON)
    updates, state = tx.update(params, tx.init(params), params)
    assert updates["none"].shape == (0, 3)
    assert all(np.all(np.isfinite(x)) for x in jax.tree.leaves((updates, state)))


def test_leaves_do_not_influence_each_other(rule):
    params = draw_params()
    theta = draw_theta(rule)
    (together, _), _ = unroll(rule, theta, params)
    for path, leaf in jax.tree.leaves_with_path(params):
        (alone, _), _ = unroll(rule, theta, leaf)
        joint = dict(jax.tree.leaves_with_path(together))[path]
        np.testing.assert_allclose(alone, joint, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("size", [0.0, 1e-30, 1e-20, 1e20, 3e38, np.inf, np.nan])
def test_extreme_gradients_do_not_raise(rule, size):
    tx = rule.bind(draw_theta(rule), HORIZON)
    params = {"w": jnp.ones((3, 2)), "b": jnp.ones(1)}
    grads = jax.tree.map(lambda p: p * size, params)
    updates, after = jax.jit(tx.update)(grads, tx.init(params), params)
    assert types(after) == types(tx.init(params))
    if size < 1:
        assert all(np.all(np.isfinite(x)) for x in jax.tree.leaves((updates, after)))


def test_jit_compiles_once(rule, caplog):
    tx = rule.bind(draw_theta(rule), HORIZON)
    params = draw_params()
    update = jax.jit(tx.update)
    state = jax.jit(tx.init)(params)
    _, state = update(params, state, params)
    with jax.log_compiles(), caplog.at_level(logging.WARNING):
        update(params, state, params)
    assert not [r for r in caplog.records if "Compiling" in r.getMessage()]
    assert update._cache_size() == 1


def test_vmap_over_particles_equals_a_loop(rule):
    thetas = [draw_theta(rule, seed) for seed in (0, 5)]
    params = [draw_params(seed) for seed in (0, 5)]
    stack = lambda *xs: jnp.stack(xs)
    batched = jax.vmap(lambda t, p: unroll(rule, t, p)[0])(
        jax.tree.map(stack, *thetas), jax.tree.map(stack, *params)
    )
    for i in range(2):
        single = unroll(rule, thetas[i], params[i])[0]
        assert_close(jax.tree.map(lambda x, i=i: x[i], batched), single, rtol=1e-4, atol=1e-6)


def test_vmap_over_states_only(rule):
    theta = draw_theta(rule)
    params = [draw_params(seed) for seed in (0, 5)]
    stacked = jax.tree.map(lambda *xs: jnp.stack(xs), *params)
    batched = jax.vmap(lambda p: unroll(rule, theta, p)[0])(stacked)
    single = unroll(rule, theta, params[1])[0]
    assert_close(jax.tree.map(lambda x: x[1], batched), single, rtol=1e-4, atol=1e-6)


def test_map_params_finds_the_per_parameter_state(rule):
    tx = rule.bind(draw_theta(rule), HORIZON)
    params = draw_params()
    state = tx.init(params)
    names = jax.tree.unflatten(
        jax.tree.structure(params), list(range(len(jax.tree.leaves(params))))
    )
    marked = optax.tree.map_params(
        tx, lambda _, name: name, state, names, transform_non_params=lambda _: -1
    )
    assert marked.count == -1
    found = [x for x in jax.tree.leaves(marked) if x != -1]
    assert len(found) == len(jax.tree.leaves(state)) - 1
    if found:
        assert set(found) == set(jax.tree.leaves(names))




WRAPPERS = {
    "chain": lambda tx: optax.chain(optax.clip(1.0), tx, optax.add_decayed_weights(1e-3)),
    "named_chain": lambda tx: optax.named_chain(("a", optax.scale(2.0)), ("b", tx)),
    "masked": lambda tx: optax.masked(tx, lambda p: jax.tree.map(lambda x: x.ndim > 1, p)),
    "partition": lambda tx: optax.partition(
        {"x": tx, "y": optax.sgd(0.1)}, lambda p: jax.tree.map(lambda x: "yx"[x.ndim > 1], p)
    ),
    "MultiSteps": lambda tx: optax.MultiSteps(tx, 2).gradient_transformation(),
    "apply_if_finite": lambda tx: optax.apply_if_finite(tx, 3),
    "inject": lambda tx: optax.inject_hyperparams(
        lambda factor: optax.chain(tx, optax.scale(factor))
    )(factor=0.5),
    "plateau": lambda tx: optax.chain(tx, optax.contrib.reduce_on_plateau()),
}


@pytest.mark.parametrize("wrapper", WRAPPERS)
def test_inside_optax_wrappers(rule, wrapper):
    tx = optax.with_extra_args_support(WRAPPERS[wrapper](rule.bind(draw_theta(rule), HORIZON)))
    params = draw_params()

    def body(carry, _):
        params, state = carry
        grads = jax.tree.map(lambda p: 2 * p, params)
        updates, state = tx.update(grads, state, params, value=jnp.float32(1.0))
        return (optax.apply_updates(params, updates), state), None

    (after, state), _ = jax.lax.scan(body, (params, tx.init(params)), None, length=4)
    assert types(after) == types(params)
    assert types(state) == types(tx.init(params))
    moved = jax.tree.map(lambda a, b: float(jnp.abs(a - b).max()), after, params)
    assert max(jax.tree.leaves(moved)) > 0


def test_apply_if_finite_protects_the_state(rule):
    inner = rule.bind(draw_theta(rule), HORIZON)
    tx = optax.apply_if_finite(inner, 3)
    params = {"w": jnp.ones((2, 2))}
    bad = {"w": jnp.full((2, 2), jnp.nan)}
    updates, state = tx.update(bad, tx.init(params), params)
    assert not np.any(updates["w"])
    assert all(np.all(np.isfinite(x)) for x in jax.tree.leaves(state.inner_state))


def test_differentiable_through_time(rule):
    """Reverse mode equals forward mode, so backpropagation can go through update()."""
    params = {"w": draw_params()["c"][1], "b": jnp.ones(3)}
    theta = draw_theta(rule)

    def loss(theta):
        (after, _), _ = unroll(rule, theta, params, steps=3)
        return sum(jnp.sum(jnp.sin(x)) for x in jax.tree.leaves(after))

    tangent = jax.tree.map(lambda x: jnp.ones_like(x) * 0.1, theta)
    _, forward = jax.jvp(loss, (theta,), (tangent,))
    backward = sum(
        jnp.vdot(g, t)
        for g, t in zip(jax.tree.leaves(jax.grad(loss)(theta)), jax.tree.leaves(tangent), strict=True)
    )
    np.testing.assert_allclose(forward, backward, rtol=1e-3, atol=1e-4)
