"""The first theta of every rule descends, before any meta-training."""

import jax
import jax.numpy as jnp
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
    losses = jax.jit(lambda keys: map_particles(run, keys))(keys)
    start, end = jnp.mean(losses[:, :5], axis=1), jnp.mean(losses[:, -20:], axis=1)
    assert jnp.all(end < 0.95 * start)


def test_the_lstm_begins_with_steps_down_of_much_the_same_size():
    """As Adam's, they hardly depend on the size of the gradients, and turn when those turn."""
    rule = lopt.LOPTS["lstm"]()
    tx = rule.bind(rule.init(jax.random.key(0)))
    grads = jnp.array([1e-3, -1e-3, 1e-1, -1e-1])

    def step(state, time):
        steps, state = tx.update(jnp.where(time < 100, grads, -grads), state)
        return state, steps

    _, steps = jax.lax.scan(step, tx.init(grads), jnp.arange(150))
    for found, sign in ((steps[99], 1), (steps[-1], -1)):
        assert jnp.all(-sign * found * jnp.sign(grads) > 0.0005)
        assert jnp.max(jnp.abs(found)) < 3 * jnp.min(jnp.abs(found))
