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
from tests.lopt.cases import (
    HORIZON,
    VARIANTS,
    assert_close,
    draw_params,
    draw_theta,
    types,
    variant_id,
)

CELO2 = ("celo2", "celo2_base")
NEEDS_PARAMS = ("mlp", "adafac_mlp", "nn_adam", "rnn_mlp", "velo", "schedule_free_mlp", *CELO2)
MIXES_LEAVES = ("rnn_mlp", "velo")
USES_VALUE = ("rnn_mlp", "velo", "schedule_free_mlp")
USES_NUM_STEPS = ("velo", "schedule_free_mlp", "sgd_schedule-linear")
CLIPS_GRADIENTS = ("nn_adam", "rnn_mlp", "velo", "schedule_free_mlp", *CELO2)
SHARED_ARRAYS = {"rnn_mlp": 4, "velo": 3, "schedule_free_mlp": 4}
"""Arrays of the state that belong to no leaf of the parameters, besides the count."""


class Case:
    """One rule with everything that the tests share, compiled once."""

    def __init__(self, name, fields):
        self.name, self.id = name, variant_id((name, fields))
        self.rule = lopt.LOPTS[name](**fields)
        self.theta = draw_theta(self.rule)
        self.params = draw_params()
        self.tx = self.rule.bind(self.theta, HORIZON)
        self.state = self.tx.init(self.params)
        self.update = jax.jit(self.tx.update)


@pytest.fixture(scope="module", params=VARIANTS, ids=variant_id)
def case(request):
    return Case(*request.param)


def few(params):
    """Tests that compile their own program use one leaf."""
    return {"w": params["a"]["w"]}


def of_size(tree):
    return [x for x in jax.tree.leaves(tree) if x.size]


def unroll(rule, theta, params, steps=4):
    """Parameters and state after some steps on a quadratic."""
    tx = rule.bind(theta, HORIZON)

    def body(carry, _):
        params, state = carry
        updates, state = tx.update(jax.tree.map(lambda p: 2 * p, params), state, params)
        return (optax.apply_updates(params, updates), state), None

    return jax.lax.scan(body, (params, tx.init(params)), None, length=steps)[0]


def test_registry_is_the_one_of_base():
    assert lopt.LOPTS is lopt.base.LOPTS
    assert {"mlp", "adafac_mlp", "lstm", "sgd_schedule", "adam_schedule"} <= set(lopt.LOPTS)
    assert {"nn_adam", "rnn_mlp", "velo"} <= set(lopt.LOPTS)


def test_rule_is_a_hashable_value(case):
    assert case.rule == dataclasses.replace(case.rule)
    assert hash(case.rule) == hash(dataclasses.replace(case.rule))


def test_theta_is_a_dict_of_float32_and_follows_the_key(case):
    init = jax.jit(case.rule.init)
    theta = init(jax.random.key(0))
    assert isinstance(theta, dict)
    assert all(x.dtype == jnp.float32 and not x.weak_type for x in jax.tree.leaves(theta))
    assert_close(theta, init(jax.random.key(0)), tolerance=0)
    same = jax.tree.map(np.array_equal, theta, init(jax.random.key(1)))
    assert all(jax.tree.leaves(same)) == case.name.endswith("schedule")
    assert types(theta) == types(jax.eval_shape(case.rule.init, jax.random.key(0)))


def test_update_returns_the_step_and_keeps_types(case):
    updates, after = case.update(case.params, case.state, case.params)
    assert types(updates) == types(case.params)
    assert types(after) == types(case.state)
    assert isinstance(case.state, tuple)
    assert hasattr(case.state, "_fields")
    assert case.state.count.dtype == jnp.int32
    assert int(after.count) == 1
    assert all(np.all(np.isfinite(u)) and np.any(u) for u in of_size(updates))
    assert all(np.all(np.isfinite(x)) for x in jax.tree.leaves(after))


def test_abstract_init(case):
    abstract = jax.eval_shape(lambda: case.params)
    assert types(jax.eval_shape(case.tx.init, case.params)) == types(case.state)
    assert types(case.tx.init(abstract)) == types(case.state)


def test_extra_arguments(case):
    """Unknown ones are ignored, and the loss may have any dtype."""
    params = few(case.params)
    inputs = params, case.tx.init(params), params

    def program(**extra_args):
        return jax.make_jaxpr(functools.partial(case.tx.update, **extra_args))(*inputs)

    plain = program()
    assert str(program(value_fn=None, mystery=1, grad=params)) == str(plain)
    for value in (None, 2.0, np.float32(2.0), jnp.bfloat16(2.0)):
        assert program(value=value).out_avals == plain.out_avals


def matters(function):
    """Whether the result depends on the argument, a number."""
    try:
        # Refuses what differs between the elements of the batch.
        jax.eval_shape(jax.vmap(function, out_axes=None), jnp.arange(1, 3))
    except ValueError as error:
        if "out_axes" not in str(error):
            raise
        return True
    return False


def test_what_the_rule_looks_at(case):
    params = few(case.params)
    state = case.tx.init(params)

    def update(value=1.0, num_steps=HORIZON):
        tx = case.rule.bind(case.theta, num_steps)
        return tx.update(params, state, params, value=value)

    assert matters(lambda value: update(value=value)) == (case.name in USES_VALUE)
    assert matters(lambda steps: update(num_steps=steps)) == (case.id in USES_NUM_STEPS)
    assert case.rule.needs_num_steps == (case.id in USES_NUM_STEPS)


def test_num_steps(case):
    """It may be traced, is needed where the rule looks at it, and is checked everywhere."""
    for bad in (0, -3):
        with pytest.raises(ValueError, match=f"num_steps = {bad} must be"):
            case.rule.bind(case.theta, bad)
    if not case.rule.needs_num_steps:
        case.rule.bind(case.theta)
        return
    with pytest.raises(ValueError, match=r"num_steps is None; call bind\(theta, num_steps=T\)"):
        case.rule.bind(case.theta)

    params = few(case.params)
    inputs = params, case.tx.init(params)._replace(count=jnp.int32(7)), params
    traced = jax.jit(lambda num_steps: case.rule.bind(case.theta, num_steps).update(*inputs))
    assert_close(traced(jnp.int32(HORIZON)), case.update(*inputs))


def test_params_none(case):
    if case.name in NEEDS_PARAMS:
        with pytest.raises(ValueError, match=r"params=None.*update\(grads, state, params\)"):
            case.tx.update(case.params, case.state)
    else:
        params = few(case.params)
        state = case.tx.init(params)
        expected = case.update(params, state, params)
        assert_close(case.update(params, state), expected)


def test_bfloat16_params(case):
    updates, after = case.update(case.params, case.state, case.params)
    assert updates["half"].dtype == jnp.bfloat16
    assert all(x.dtype in (jnp.float32, jnp.int32) for x in jax.tree.leaves((case.state, after)))
    # The step is computed in float32 and rounded once, so it is not lost beside the parameter.
    narrow, wide = updates["half"].astype(jnp.float32), updates["a"]["b"]
    np.testing.assert_allclose(narrow, wide, rtol=2**-8, atol=1e-5 * np.max(np.abs(wide)))


@pytest.mark.parametrize("params", [{}, (), {"a": None}, {"a": None, "b": jnp.ones(3)}])
def test_empty_and_none(case, params):
    state = case.tx.init(params)
    updates, after = jax.eval_shape(case.tx.update, params, state, params)
    assert jax.tree.structure(updates) == jax.tree.structure(params)
    assert types(after) == types(state)


def test_how_leaves_influence_each_other(case):
    """Not at all, or without regard to their order; shown by the third step's updates."""

    def third(params):
        state = case.state
        for _ in range(3):
            updates, state = case.update(params, state, params)
        return updates

    def swap(tree):
        a, c = tree["a"], tree["c"]
        return {**tree, "a": {**a, "w": c[2]}, "c": (*c[:2], a["w"])}

    updates, swapped = third(case.params), swap(third(swap(case.params)))
    assert_close((updates["a"], updates["c"]), (swapped["a"], swapped["c"]))
    changed = {**case.params, "c": jax.tree.map(lambda p: 3 * p + 1, case.params["c"])}
    if case.name in MIXES_LEAVES:
        assert np.any(updates["a"]["w"] != third(changed)["a"]["w"])
    else:
        assert_close(updates["a"], third(changed)["a"])


def test_extreme_gradients_do_not_raise(case):
    for size in (0.0, 1e-30, 1e-20, 1e20, 3e38, np.inf, np.nan):
        grads = jax.tree.map(lambda p, size=size: jnp.full_like(p, size), case.params)
        updates, after = case.update(grads, case.state, case.params)
        assert types(after) == types(case.state)
        if size < 1 or (case.name in CLIPS_GRADIENTS and not np.isnan(size)):
            assert all(np.all(np.isfinite(x)) for x in jax.tree.leaves((updates, after)))


def test_jit_compiles_once(case, caplog):
    _, state = case.update(case.params, case.state, case.params)
    with jax.log_compiles(), caplog.at_level(logging.WARNING):
        case.update(case.params, state, case.params)
    assert not [r for r in caplog.records if "Compiling" in r.getMessage()]


def train(rule, theta, params):
    """Parameters and state after four steps, and a gradient with respect to theta."""

    def loss(theta):
        after, state = unroll(rule, theta, params)
        return jnp.sum(jnp.sin(after["w"])), (after, state)

    return jax.grad(loss, has_aux=True)(theta)[::-1]


@pytest.fixture(scope="module")
def particles(case):
    """Theta and parameters of two particles, and a function that trains several."""
    drawn = [(draw_theta(case.rule, seed), few(draw_params(seed))) for seed in (0, 5)]
    batch = jax.tree.map(lambda *xs: np.stack(xs), *drawn)
    program = jax.jit(jax.vmap(functools.partial(train, case.rule)))
    return *batch, lambda *batch: jax.device_get(program(*batch))


def test_vmap_equals_a_loop(case, particles):
    """Over particles, each with its own theta."""
    *batch, train_all = particles
    out, _ = train_all(*batch)
    turned, _ = train_all(*jax.tree.map(lambda x: x[::-1], batch))
    assert_close(out, jax.tree.map(lambda x: x[::-1], turned))

    single = few(case.params)
    state = case.tx.init(single)
    for _ in range(4):
        updates, state = case.update(jax.tree.map(lambda p: 2 * p, single), state, single)
        single = optax.apply_updates(single, updates)
    assert_close(jax.tree.map(lambda x: x[0], out), (single, state), tolerance=1e-4)


def test_gradients_through_time(particles):
    """They are finite, and every meta-parameter matters somewhere."""
    *batch, train_all = particles
    _, grads = train_all(*batch)
    for leaf in jax.tree.leaves(grads):
        assert np.all(np.isfinite(leaf))
        assert all(np.any(of_particle) for of_particle in leaf)


def test_map_params_finds_the_per_parameter_state(case):
    names = jax.tree.unflatten(
        jax.tree.structure(case.params), list(range(len(jax.tree.leaves(case.params))))
    )
    marked = optax.tree.map_params(
        case.tx, lambda _, name: name, case.state, names, transform_non_params=lambda _: -1
    )
    assert marked.count == -1
    found = [x for x in jax.tree.leaves(marked) if x != -1]
    shared = 1 + SHARED_ARRAYS.get(case.name, 0)
    assert len(found) == len(jax.tree.leaves(case.state)) - shared
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

    params = {"w": case.params["a"]["w"], "b": case.params["a"]["b"]}
    after, state = jax.eval_shape(train, params)
    assert types(after) == types(params)
    assert types(state) == types(jax.eval_shape(tx.init, params))


def test_multi_steps_and_apply_if_finite():
    """The mean of two gradients is applied, and one between them that is not finite is not."""
    case, params = Case("mlp", {}), few(draw_params())
    tx = optax.apply_if_finite(optax.MultiSteps(case.tx, 2).gradient_transformation(), 3)
    update = jax.jit(tx.update)
    half, bad, rest = ({"w": params["w"] * factor} for factor in (1.5, np.nan, 0.5))
    first, state = update(half, tx.init(params), params)
    between, after = update(bad, state, params)
    last, _ = update(rest, after, params)
    assert not np.any(first["w"])
    assert not np.any(between["w"])
    assert_close(after.inner_state, state.inner_state, tolerance=0)
    expected, _ = case.update(params, case.tx.init(params), params)
    assert_close(last, expected)
