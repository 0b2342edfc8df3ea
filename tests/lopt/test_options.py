"""Weight decay and learning-rate multipliers against hand arithmetic."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import lopt
from tests.lopt.cases import assert_close

PARAMS = {"w": jnp.array([[1.0, -2.0], [3.0, 0.5]]), "b": jnp.array([4.0, -1.0])}
GRADS = {"w": jnp.array([[0.5, 0.25], [-1.0, 2.0]]), "b": jnp.array([1.0, -8.0])}


@pytest.fixture(scope="module")
def tx():
    rule = lopt.LOPTS["sgd_schedule"](learning_rate=0.5)
    return rule.bind(rule.init(jax.random.key(0)))


def run(tx):
    """Parameters and updates of three steps with the same gradients."""
    params, state = PARAMS, tx.init(PARAMS)
    for _ in range(3):
        updates, state = tx.update(GRADS, state, params)
        yield params, updates
        params = optax.apply_updates(params, updates)


def by_hand(tx, multiplier, decay, decayed=("w", "b")):
    """p <- p + m (step - decay * p), with the steps of the bare optimizer on the same way."""
    params, state = PARAMS, tx.init(PARAMS)
    for t in range(3):
        steps, state = tx.update(GRADS, state, params)
        updates = {
            k: multiplier(t)
            * (np.asarray(steps[k]) - decay * np.asarray(params[k]) * (k in decayed))
            for k in params
        }
        yield params, updates
        params = {k: params[k] + updates[k] for k in params}


def assert_same(found, expected):
    """Up to the few roundings of 6e-8 that a compiler may leave out by fusing."""
    for one, two in zip(found, expected, strict=True):
        assert_close(one, two, tolerance=1e-6)


@pytest.mark.parametrize(
    ("options", "multiplier", "decay", "decayed"),
    [
        ({}, 1.0, 0.0, ()),
        ({"learning_rate_multiplier": 0.25}, 0.25, 0.0, ()),
        ({"learning_rate_multiplier": 0}, 0.0, 0.0, ()),
        ({"weight_decay": 0.01}, 1.0, 0.01, "wb"),
        ({"weight_decay": 0.01, "learning_rate_multiplier": 2.0}, 2.0, 0.01, "wb"),
        ({"weight_decay": 0.01, "weight_decay_mask": {"w": True, "b": False}}, 1.0, 0.01, "w"),
        (
            {
                "weight_decay": 0.01,
                "weight_decay_mask": lambda params: jax.tree.map(lambda p: p.ndim > 1, params),
                "learning_rate_multiplier": 0.5,
            },
            0.5,
            0.01,
            "w",
        ),
    ],
)
def test_against_hand_arithmetic(tx, options, multiplier, decay, decayed):
    expected = by_hand(tx, lambda t: multiplier, decay, decayed)
    assert_same(run(lopt.with_options(tx, **options)), expected)


def test_schedule_is_applied_to_step_and_decay(tx):
    schedule = optax.linear_schedule(1.0, 0.0, 4)
    with_options = lopt.with_options(tx, learning_rate_multiplier=schedule, weight_decay=0.1)
    assert_same(run(with_options), by_hand(tx, lambda t: 1.0 - t / 4, 0.1))


def test_clipping_by_chain(tx):
    clipped = optax.chain(optax.clip(0.5), lopt.with_options(tx, weight_decay=0.01))
    params, state = PARAMS, clipped.init(PARAMS)
    updates, _ = clipped.update(GRADS, state, params)
    grads = jax.tree.map(lambda g: jnp.clip(g, -0.5, 0.5), GRADS)
    steps, _ = tx.update(grads, tx.init(params), params)
    assert_same([updates], [jax.tree.map(lambda s, p: s - 0.01 * p, steps, params)])


def test_hyperparameters_can_be_injected_and_changed(tx):
    @optax.inject_hyperparams
    def make(multiplier, decay):
        return lopt.with_options(tx, learning_rate_multiplier=multiplier, weight_decay=decay)

    injected = make(multiplier=0.5, decay=0.01)
    state = injected.init(PARAMS)
    first, _ = injected.update(GRADS, state, PARAMS)
    assert_same([first], [next(by_hand(tx, lambda t: 0.5, 0.01))[1]])
    state.hyperparams["multiplier"] = jnp.float32(2.0)
    second, _ = injected.update(GRADS, state, PARAMS)
    assert_same([second], [jax.tree.map(lambda u: 4 * u, first)])


def test_extra_arguments_reach_the_optimizer():
    seen = {}

    def update(grads, state, params=None, **extra):
        seen.update(extra)
        return grads, state

    inner = optax.GradientTransformationExtraArgs(lambda params: optax.EmptyState(), update)
    options = {"learning_rate_multiplier": 2.0, "weight_decay": 0.1}
    with_options = lopt.with_options(inner, **options)
    with_options.update(GRADS, with_options.init(PARAMS), PARAMS, value=1.5)
    assert seen == {"value": 1.5}
    plain = lopt.with_options(optax.sgd(0.1), **options)
    plain.update(GRADS, plain.init(PARAMS), PARAMS, value=1.5)


FROZEN = {"w": False, "b": True}
LABELS = {"w": "learned", "b": "frozen"}


@pytest.mark.parametrize(
    "wrap",
    [
        lambda tx: optax.chain(tx, optax.freeze(FROZEN)),
        lambda tx: optax.selective_transform(tx, freeze_mask=FROZEN),
        lambda tx: optax.multi_transform({"learned": tx, "frozen": optax.set_to_zero()}, LABELS),
    ],
    ids=["freeze", "selective_transform", "multi_transform"],
)
def test_frozen_parameters_stay_and_the_others_move_as_without(tx, wrap):
    with_options = lopt.with_options(tx, learning_rate_multiplier=0.5, weight_decay=0.01)
    wrapped = optax.with_extra_args_support(wrap(with_options))
    updates, _ = wrapped.update(GRADS, wrapped.init(PARAMS), PARAMS, value=jnp.float32(1.0))
    expected = next(by_hand(tx, lambda t: 0.5, 0.01))[1]
    assert_same([updates], [{"w": expected["w"], "b": jnp.zeros(2)}])


def test_steps_keep_the_dtype_of_the_parameters(tx):
    params = jax.tree.map(lambda p: p.astype(jnp.bfloat16), PARAMS)
    schedule = optax.constant_schedule(0.5)
    with_options = lopt.with_options(tx, weight_decay=0.01, learning_rate_multiplier=schedule)
    updates, _ = jax.eval_shape(with_options.update, params, with_options.init(params), params)
    assert {u.dtype for u in jax.tree.leaves(updates)} == {jnp.dtype(jnp.bfloat16)}


@pytest.mark.parametrize("name", ["learning_rate_multiplier", "weight_decay"])
@pytest.mark.parametrize("value", [-0.1, float("nan"), float("inf"), True])
def test_bad_numbers_are_refused(tx, name, value):
    with pytest.raises(ValueError, match=rf"{name} = .* must be a finite number of at least 0"):
        lopt.with_options(tx, **{name: value})


def test_other_mistakes_are_refused(tx):
    with pytest.raises(ValueError, match="weight_decay_mask is given, but weight_decay = 0"):
        lopt.with_options(tx, weight_decay_mask=True)
    with pytest.raises(TypeError, match=r"MLPLopt.*rule\.bind\(theta\)"):
        lopt.with_options(lopt.LOPTS["mlp"]())
    decaying = lopt.with_options(optax.sgd(0.1), weight_decay=0.1)
    with pytest.raises(ValueError, match="not passing `params`"):
        decaying.update(GRADS, decaying.init(PARAMS))
