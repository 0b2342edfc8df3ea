"""The first theta of every rule descends, before any meta-training."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import lopt
import tasks
from meta_train.evaluation import train
from meta_train.particles import map_particles

STEPS = 200
KEYS = 4
BY_DEFAULT = ("lstm", "schedule_free_mlp")
DATA = {"digits_mlp": {"hidden": (16,), "batch_size": 32}, "quadratic": {"dim": 10}}


@pytest.mark.parametrize(
    "task_name", ["digits_mlp", pytest.param("quadratic", marks=pytest.mark.slow)]
)
@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=() if name in BY_DEFAULT else pytest.mark.slow)
        for name in lopt.LOPTS
    ],
)
def test_the_first_theta_lowers_the_loss(name, task_name):
    """Of several draws and problems each: the end is well below the start."""
    rule, task = lopt.LOPTS[name](), tasks.make(task_name, **DATA[task_name])

    def run(key):
        key_theta, key_run = jax.random.split(key)
        tx = rule.bind(rule.init(key_theta), STEPS)
        return train(task, tx, STEPS, key_run)

    keys = jax.random.split(jax.random.key(0), KEYS)
    losses = np.asarray(jax.jit(lambda keys: map_particles(run, keys))(keys))
    start, end = losses[:, :5].mean(axis=1), losses[:, -20:].mean(axis=1)
    assert np.all(end < 0.95 * start)


def test_the_lstm_begins_with_steps_down_of_much_the_same_size():
    """As Adam's, they hardly depend on the size of the gradients, and turn when those turn."""
    rule = lopt.LOPTS["lstm"]()
    grads = np.float32([1e-3, -1e-3, 1e-1, -1e-1])

    @jax.jit
    def run():
        tx = rule.bind(rule.init(jax.random.key(0)))

        def step(state, time):
            steps, state = tx.update(jnp.where(time < 100, grads, -grads), state)
            return state, steps

        return jax.lax.scan(step, tx.init(grads), jnp.arange(150))[1]

    steps = np.asarray(run())
    for found, sign in ((steps[99], 1), (steps[-1], -1)):
        assert np.all(-sign * found * np.sign(grads) > 0.0005)
        assert np.max(np.abs(found)) < 3 * np.min(np.abs(found))
