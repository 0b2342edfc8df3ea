"""Rules with a recurrent network per tensor: their initial theta, and what they refuse."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import lopt
from lopt import loss_features, per_parameter


def test_initial_nn_adam_is_adam():
    rule = lopt.LOPTS["nn_adam"](learning_rate=0.02, b1=0.8, b2=0.99, eps=1e-3)
    learned = rule.bind(jax.jit(rule.init)(jax.random.key(0)))
    # The step's factor 1 + eps, and the constant under the root.
    adam = optax.adam(0.02 * 1.001, b1=0.8, b2=0.99, eps=1e-3, eps_root=1e-10)
    grads = np.random.default_rng(0).normal(size=(20, 2, 3)).astype(np.float32)

    def run(tx):
        def body(state, g):
            updates, state = tx.update(g, state, jnp.ones((2, 3)))
            return state, updates

        return jax.lax.scan(body, tx.init(jnp.ones((2, 3))), grads)[1]

    actual, expected = jax.jit(lambda: (run(learned), run(adam)))()
    # optax divides by 1 - b2^t, which has lost two digits in the first steps.
    np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-5 * np.max(np.abs(expected)))


@pytest.mark.parametrize("name", ["rnn_mlp", "velo"])
def test_initial_theta_makes_small_steps_down(name):
    """On a badly scaled quadratic, whatever the draw."""
    rule = lopt.LOPTS[name]()
    scales = np.logspace(-1, 1, 12).reshape(4, 3).astype(np.float32)

    def loss(params):
        return jnp.sum(scales * params**2)

    def train(key):
        tx = rule.bind(rule.init(key), 100)
        params = jnp.ones((4, 3))

        def body(carry, _):
            params, state = carry
            value, grads = jax.value_and_grad(loss)(params)
            updates, state = tx.update(grads, state, params, value=value)
            return (optax.apply_updates(params, updates), state), value

        return jax.lax.scan(body, (params, tx.init(params)), None, length=100)[1]

    losses = jax.jit(jax.vmap(train))(jax.random.split(jax.random.key(0), 5))
    assert np.all(np.diff(losses) < 0)
    assert np.all(losses[:, -1] > 0.3 * losses[:, 0])
    assert np.all(losses[:, -1] < 0.97 * losses[:, 0])


def test_network_that_points_down():
    """Its first output is one of its inputs, if nothing of the draw is left."""

    @jax.jit
    def first_output(features):
        net = per_parameter.init_net(jax.random.key(0), (3, 2, 5, 2))
        net = per_parameter.point_down(net, 1, rest=0.0)
        return per_parameter.apply_net(net, [features], (7,), lambda *outputs: outputs[0])

    features = np.random.default_rng(0).normal(size=(3, 7)).astype(np.float32)
    first = first_output(features)
    normal = features[1] / np.sqrt(1e-5 + np.mean(np.square(features[1])))
    np.testing.assert_allclose(first, normal, rtol=1e-5, atol=1e-6)


take = jax.jit(loss_features.update)


def loss_signs(losses):
    averages = loss_features.init()
    for loss in losses:
        averages = take(averages, np.float32(loss))
    return np.asarray(loss_features.features(averages))


def test_features_of_the_loss():
    falling = 10.0 - np.arange(30)
    assert np.all(loss_signs(falling)[:2] < -0.3)
    assert np.all(loss_signs(-falling)[:2] > 0.3)
    np.testing.assert_allclose(loss_signs(1e6 * falling), loss_signs(falling), rtol=1e-3)
    for still in ([], [5.0], [5.0] * 30, [1e38, np.inf, np.nan]):
        np.testing.assert_allclose(loss_signs(still), 0.0, atol=1e-3)


@pytest.mark.parametrize(
    ("name", "fields", "message"),
    [
        ("nn_adam", {"width": 0}, "width = 0 must be a positive integer"),
        ("nn_adam", {"learning_rate": 0.0}, r"learning_rate = 0.0 must be in \[1e-08, 1000\]"),
        ("nn_adam", {"b2": 1.0}, r"b2 = 1.0 must be in \[0, 0.99995\]"),
        ("nn_adam", {"eps": float("nan")}, r"eps = nan must be in \[1e-11, 10000\]"),
        ("rnn_mlp", {"width": -3}, "width = -3 must be a positive integer"),
        ("rnn_mlp", {"hidden": (8, 1)}, r"hidden = \(8, 1\) must hold one integer of at least 2"),
        ("velo", {"bank_size": -1}, "bank_size = -1 must be a positive integer"),
    ],
)
def test_bad_fields(name, fields, message):
    with pytest.raises(ValueError, match=message):
        lopt.LOPTS[name](**fields)
