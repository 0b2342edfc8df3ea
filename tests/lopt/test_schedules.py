"""Learned hyperparameters: parity with Optax, and the schedules' formulas."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import lopt

T = 40


def train(tx, steps=T):
    params = {"w": jnp.linspace(-1.0, 2.0, 12).reshape(3, 4), "b": jnp.ones(2)}

    @jax.jit
    def run(initial):
        def body(carry, t):
            params, state = carry
            # Gradients that do not depend on the trajectory do not amplify rounding.
            grads = jax.tree.map(lambda p: jnp.sin(3 * p + t), initial)
            updates, state = tx.update(grads, state, params)
            return (optax.apply_updates(params, updates), state), updates

        return jax.lax.scan(body, (initial, tx.init(initial)), jnp.arange(steps) * 0.1)[1]

    return run(params)


def bound(rule, num_steps=None, **theta):
    drawn = rule.init(jax.random.key(0))
    assert set(theta) <= set(drawn)
    return rule.bind(drawn | {k: jnp.float32(v) for k, v in theta.items()}, num_steps)


def assert_same(one, two):
    # Logarithms and logits round the hyperparameters to float32, and Optax's own 1 - b2**t has
    # lost five digits at t = 1; the trajectories are otherwise the same.
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(two), strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=3e-5 * np.max(np.abs(b)))


@pytest.mark.parametrize(
    ("momentum", "learned"), [(0.0, False), (0.5, True), (0.9, True), (0.9, False), (0.99, True)]
)
def test_sgd_is_optax_sgd(momentum, learned):
    rule = lopt.SGDSchedule(learning_rate=0.03, momentum=momentum, learn_momentum=learned)
    assert_same(train(bound(rule)), train(optax.sgd(0.03, momentum or None)))


@pytest.mark.parametrize(("b1", "b2"), [(0.9, 0.999), (0.5, 0.95)])
def test_adam_is_optax_adam(b1, b2):
    rule = lopt.AdamSchedule(learning_rate=0.01, b1=b1, b2=b2, eps=1e-6)
    assert_same(train(bound(rule)), train(optax.adam(0.01, b1, b2, 1e-6)))


@pytest.mark.parametrize("rule", [lopt.SGDSchedule, lopt.AdamSchedule])
def test_linear_schedule(rule):
    tx = bound(
        rule(schedule="linear"), T, log_initial_learning_rate=-2.0, log_final_learning_rate=-4.0
    )

    def rates(t):
        done = jnp.minimum(t / T, 1)
        return (1 - done) * math.exp(-2) + done * math.exp(-4)

    other = optax.sgd(rates, 0.9) if rule is lopt.SGDSchedule else optax.adam(rates)
    assert_same(train(tx, T + 20), train(other, T + 20))


@pytest.mark.parametrize("rule", [lopt.SGDSchedule, lopt.AdamSchedule])
def test_inverse_time_schedule(rule):
    tx = bound(rule(schedule="inverse_time", time_scale=7.0), log_learning_rate=-2.0, log_decay=0.3)

    def rates(t):
        return math.exp(-2) / (1 + t / 7.0) ** math.exp(0.3)

    other = optax.sgd(rates, 0.9) if rule is lopt.SGDSchedule else optax.adam(rates)
    assert_same(train(tx), train(other))


def test_plain_sgd_has_two_meta_parameters_and_no_trace():
    rule = lopt.SGDSchedule(
        schedule="linear", learning_rate=math.exp(-4), momentum=0.0, learn_momentum=False
    )
    theta = rule.init(jax.random.key(0))
    assert set(theta) == {"log_initial_learning_rate", "log_final_learning_rate"}
    np.testing.assert_allclose(list(theta.values()), -4.0, rtol=1e-6)
    assert len(jax.tree.leaves(rule.bind(theta, 10).init(jnp.ones(3)))) == 1


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"schedule": "lineer"}, "did you mean 'linear'"),
        ({"learning_rate": 0.0}, "learning_rate = 0.0 must be positive"),
        ({"learning_rate": math.nan}, "learning_rate = nan"),
        ({"time_scale": -1.0}, "time_scale = -1.0"),
        ({"momentum": 1.0}, "momentum = 1.0"),
        ({"momentum": 0.0}, "logit is learned"),
    ],
)
def test_bad_fields(fields, message):
    with pytest.raises(ValueError, match=message):
        lopt.SGDSchedule(**fields)


@pytest.mark.parametrize("kind", [lopt.MLPLopt, lopt.AdafacMLPLopt, lopt.LSTMLopt])
@pytest.mark.parametrize("hidden", [(), (0,), (4, -1)])
def test_bad_widths(kind, hidden):
    with pytest.raises(ValueError, match="integer"):
        kind(hidden=hidden)
