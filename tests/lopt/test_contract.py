"""What every registered learned optimizer must do, as an Optax optimizer and as a rule of theta."""

import dataclasses
import functools
import logging

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import lopt
import lopt.base

HORIZON = 50
SCHEDULES = [("sgd_schedule", {"schedule": s}) for s in ("linear", "inverse_time")]
VARIANTS = [*((name, {}) for name in lopt.LOPTS), *SCHEDULES]
NEEDS_PARAMS = ("mlp", "adafac_mlp")


def draw_theta(rule, seed=0):
    """Meta-parameters away from their initial values, so that every part of theta matters."""
    theta = rule.init(jax.random.key(seed))
    leaves, treedef = jax.tree.flatten(theta)
    noise = np.random.default_rng(seed)
    return treedef.unflatten(
        [x + noise.normal(0, 0.02, x.shape).astype(np.float32) for x in leaves]
    )


def draw_params(seed=0):
    draw = np.random.default_rng(seed).normal

    def leaf(*shape):
        return jnp.asarray(draw(size=shape), jnp.float32)

    return {
        "a": {"s": leaf(), "b": leaf(5), "w": leaf(6, 4)},
        "c": (leaf(3, 1, 2, 5), leaf(2, 1, 3)),
    }


class Case:
    """One rule with everything that the tests share, compiled once."""

    def __init__(self, name, fields):
        self.name = name
        self.rule = lopt.LOPTS[name](**fields)
        self.theta = draw_theta(self.rule)
        self.params = draw_params()
        self.tx = self.rule.bind(self.theta, HORIZON)
        self.state = self.tx.init(self.params)
        self.update = jax.jit(self.tx.update)
        self.unroll = jax.jit(functools.partial(unroll, self.rule))


@pytest.fixture(
    scope="module", params=VARIANTS, ids=lambda v: "-".join([v[0], *map(str, v[1].values())])
)
def case(request):
    return Case(*request.param)


def few(params):
    """Tests that compile their own program use one leaf."""
    return {"w": params["a"]["w"]}


def types(tree):
    return jax.tree.map(lambda x: (x.shape, x.dtype, x.weak_type), jax.eval_shape(lambda: tree))


def unroll(rule, theta, params, steps=3):
    """Parameters and state after some steps on a quadratic."""
    tx = rule.bind(theta, HORIZON)

    def body(carry, _):
        params, state = carry
        updates, state = tx.update(jax.tree.map(lambda p: 2 * p, params), state, params)
        return (optax.apply_updates(params, updates), state), None

    return jax.lax.scan(body, (params, tx.init(params)), None, length=steps)[0]


def assert_close(one, two, rtol=1e-5, atol=1e-7):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=rtol, atol=atol), one, two)


def test_registry_is_the_one_of_base():
    assert lopt.LOPTS is lopt.base.LOPTS
    assert {"mlp", "adafac_mlp", "lstm", "sgd_schedule", "adam_schedule"} <= set(lopt.LOPTS)


def test_rule_is_a_hashable_value(case):
    assert case.rule == dataclasses.replace(case.rule)
    assert hash(case.rule) == hash(dataclasses.replace(case.rule))


def test_theta_is_a_dict_of_float32_and_follows_the_key(case):
    theta = case.rule.init(jax.random.key(0))
    assert isinstance(theta, dict)
    assert all(x.dtype == jnp.float32 and not x.weak_type for x in jax.tree.leaves(theta))
    assert_close(theta, case.rule.init(jax.random.key(0)), rtol=0, atol=0)
    assert types(theta) == types(jax.eval_shape(case.rule.init, jax.random.key(0)))


def test_update_returns_the_step_and_keeps_types(case):
    updates, after = case.update(case.params, case.state, case.params)
    assert types(updates) == types(case.params)
    assert types(after) == types(case.state)
    assert isinstance(case.state, tuple)
    assert hasattr(case.state, "_fields")
    assert case.state.count.dtype == jnp.int32
    assert int(after.count) == 1
    assert all(np.all(np.isfinite(u)) and np.any(u != 0) for u in jax.tree.leaves(updates))


def test_abstract_init(case):
    abstract = jax.eval_shape(lambda: case.params)
    assert types(jax.eval_shape(case.tx.init, case.params)) == types(case.state)
    assert types(case.tx.init(abstract)) == types(case.state)


def test_unknown_extra_arguments_are_ignored(case):
    params = few(case.params)
    state = case.tx.init(params)
    plain = case.update(params, state, params)
    loud = functools.partial(case.tx.update, value_fn=None, mystery=1)
    extra = jax.jit(loud)(params, state, params, value=jnp.float32(2.0), grad=params)
    assert_close(plain, extra, rtol=0, atol=0)


def test_params_none(case):
    if case.name in NEEDS_PARAMS:
        with pytest.raises(ValueError, match=r"params=None.*update\(grads, state, params\)"):
            case.tx.update(case.params, case.state)
    else:
        expected = case.update(case.params, case.state, case.params)
        assert_close(case.update(case.params, case.state), expected, rtol=0, atol=0)


def test_bfloat16_params(case):
    dtype = jnp.bfloat16
    params = jax.tree.map(lambda p: p.astype(dtype), case.params)
    state = case.tx.init(params)
    updates, after = case.update(params, state, params)
    assert all(u.dtype == dtype for u in jax.tree.leaves(updates))
    assert types(after) == types(state) == types(case.state)
    # The step is computed in float32 and rounded once, so it is not lost beside the parameter.
    wide = jax.tree.map(lambda p: p.astype(jnp.float32), params)
    exact, _ = case.update(wide, state, wide)
    narrow = jax.tree.map(lambda u: u.astype(jnp.float32), updates)
    assert_close(narrow, exact, rtol=float(jnp.finfo(dtype).eps), atol=1e-6)


@pytest.mark.parametrize("params", [{}, (), {"a": None}, {"a": None, "b": jnp.ones(3)}])
def test_empty_and_none(case, params):
    state = case.tx.init(params)
    updates, after = jax.eval_shape(case.tx.update, params, state, params)
    assert jax.tree.structure(updates) == jax.tree.structure(params)
    assert types(after) == types(state)


def test_zero_sized_leaf(case):
    params = {"none": jnp.zeros((0, 3)), "w": jnp.ones((2, 3))}
    updates, state = case.update(params, case.tx.init(params), params)
    assert updates["none"].shape == (0, 3)
    assert all(np.all(np.isfinite(x)) for x in jax.tree.leaves((updates, state)))


def test_leaves_do_not_influence_each_other(case):
    updates, _ = case.update(case.params, case.state, case.params)
    changed = {**case.params, "c": jax.tree.map(lambda p: 3 * p + 1, case.params["c"])}
    other, _ = case.update(changed, case.state, changed)
    assert_close(updates["a"], other["a"], rtol=1e-5, atol=1e-7)


def test_extreme_gradients_do_not_raise(case):
    for size in (0.0, 1e-30, 1e-20, 1e20, 3e38, np.inf, np.nan):
        grads = jax.tree.map(lambda p, size=size: jnp.full_like(p, size), case.params)
        updates, after = case.update(grads, case.state, case.params)
        assert types(after) == types(case.state)
        if size < 1:
            assert all(np.all(np.isfinite(x)) for x in jax.tree.leaves((updates, after)))


def test_jit_compiles_once(case, caplog):
    _, state = case.update(case.params, case.state, case.params)
    with jax.log_compiles(), caplog.at_level(logging.WARNING):
        case.update(case.params, state, case.params)
    assert not [r for r in caplog.records if "Compiling" in r.getMessage()]


@pytest.mark.parametrize("theta_axis", [0, None])
def test_vmap_equals_a_loop(case, theta_axis):
    """Over particles with their own theta, and over states with one theta."""
    thetas = [draw_theta(case.rule, 0), draw_theta(case.rule, 5 if theta_axis == 0 else 0)]
    params = [few(draw_params(0)), few(draw_params(5))]
    theta, batch = (jax.tree.map(lambda *xs: jnp.stack(xs), *xs) for xs in (thetas, params))
    if theta_axis is None:
        theta = thetas[0]
    batched = jax.jit(jax.vmap(functools.partial(unroll, case.rule), in_axes=(theta_axis, 0)))(
        theta, batch
    )
    for i in range(2):
        single = case.unroll(thetas[i], params[i])
        assert_close(jax.tree.map(lambda x, i=i: x[i], batched), single, rtol=1e-4, atol=1e-6)


def test_gradients_through_time(case):
    """Reverse mode equals forward mode, and every meta-parameter matters somewhere."""

    def loss(theta):
        after, _ = unroll(case.rule, theta, few(case.params), steps=2)
        return jnp.sum(jnp.sin(after["w"]))

    tangent = jax.tree.map(lambda x: jnp.full_like(x, 0.1), case.theta)
    gradient = jax.jit(jax.grad(loss))(case.theta)
    _, forward = jax.jit(lambda t: jax.jvp(loss, (case.theta,), (t,)))(tangent)
    backward = sum(0.1 * jnp.sum(g) for g in jax.tree.leaves(gradient))
    np.testing.assert_allclose(forward, backward, rtol=1e-3, atol=1e-5)
    for leaf in jax.tree.leaves(gradient):
        assert np.all(np.isfinite(leaf))
        assert np.any(leaf != 0)


def test_map_params_finds_the_per_parameter_state(case):
    names = jax.tree.unflatten(
        jax.tree.structure(case.params), list(range(len(jax.tree.leaves(case.params))))
    )
    marked = optax.tree.map_params(
        case.tx, lambda _, name: name, case.state, names, transform_non_params=lambda _: -1
    )
    assert marked.count == -1
    found = [x for x in jax.tree.leaves(marked) if x != -1]
    assert len(found) == len(jax.tree.leaves(case.state)) - 1
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
def test_inside_optax_wrappers(case, wrapper):
    """Traced, not run: scan itself refuses a state whose types change."""
    tx = optax.with_extra_args_support(WRAPPERS[wrapper](case.tx))

    def train(params):
        def body(carry, _):
            params, state = carry
            grads = jax.tree.map(lambda p: 2 * p, params)
            updates, state = tx.update(grads, state, params, value=jnp.float32(1.0))
            return (optax.apply_updates(params, updates), state), None

        return jax.lax.scan(body, (params, tx.init(params)), None, length=4)[0]

    after, state = jax.eval_shape(train, case.params)
    assert types(after) == types(case.params)
    assert types(state) == types(jax.eval_shape(tx.init, case.params))


def test_multi_steps_applies_the_mean_gradient(case):
    params = few(case.params)
    tx = optax.MultiSteps(case.tx, 2)
    update = jax.jit(tx.update)
    state = tx.init(params)
    one, two = {"w": params["w"] * 1.5}, {"w": params["w"] * 0.5}
    first, state = update(one, state, params)
    second, _ = update(two, state, params)
    assert not np.any(first["w"])
    expected, _ = case.update(params, case.tx.init(params), params)
    assert_close(second, expected, rtol=1e-4, atol=1e-6)


def test_apply_if_finite_protects_the_state(case):
    tx = optax.apply_if_finite(case.tx, 3)
    params = few(case.params)
    state = tx.init(params)
    bad = jax.tree.map(lambda p: jnp.full_like(p, jnp.nan), params)
    updates, after = jax.jit(tx.update)(bad, state, params)
    assert not np.any(updates["w"])
    assert_close(after.inner_state, state.inner_state, rtol=0, atol=0)
