"""Judging theta."""

import dataclasses

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import lopt
import tasks
from meta_train import (
    ConstantHorizon,
    LogUniformHorizon,
    LoptSystem,
    MetaObjective,
    UnrolledSystem,
)
from meta_train.evaluation import meta_losses, meta_validate

KEY = jax.random.key(3)
ADAM = lopt.LOPTS["adam_schedule"](schedule="constant", learning_rate=0.1)
TASK = tasks.make("quadratic", dim=3)


def test_meta_validation_is_the_mean_loss_of_plain_training():
    system = LoptSystem(
        lopt.LOPTS["sgd_schedule"](
            schedule="constant", learning_rate=0.01, momentum=0.0, learn_momentum=False
        ),
        TASK,
        MetaObjective(clip=None),
    )
    theta = system.init_theta(KEY)
    value = meta_validate([system], [1.0], ConstantHorizon(5), theta, KEY, 2)

    losses, value_and_grad = [], jax.jit(jax.value_and_grad(TASK.loss, argnums=2, has_aux=True))
    for key in jax.random.split(jax.random.fold_in(KEY, 0), 2):
        key_init, key_unroll, _ = jax.random.split(key, 3)
        state = system.init(key_init, theta, jnp.int32(5))
        tx = optax.sgd(0.01)
        params, opt_state = state.params, tx.init(state.params)
        for t in range(5):
            key_batch, key_loss, _ = jax.random.split(jax.random.fold_in(key_unroll, t), 3)
            batch = TASK.batch(key_batch, (), "train")
            (loss, _), grads = value_and_grad(key_loss, (), params, batch)
            updates, opt_state = tx.update(grads, opt_state, params)
            params = optax.apply_updates(params, updates)
            losses.append(float(loss))
    assert value == pytest.approx(np.mean(losses), rel=1e-4)


def test_meta_validation_weighs_systems_and_takes_random_horizons():
    system = LoptSystem(ADAM, TASK)
    theta = system.init_theta(KEY)
    horizon = LogUniformHorizon(2, 6)
    one = meta_validate([system], [1.0], horizon, theta, KEY, 4)
    halves = meta_validate([system, system], [1.0, 0.0], horizon, theta, KEY, 4)
    assert one == pytest.approx(halves, rel=1e-5)
    assert np.isfinite(one)


def test_geometric_mean_of_meta_validation():
    systems = [dataclasses.replace(LoptSystem(ADAM, TASK), unit=np.float32(u)) for u in (0.5, 8.0)]
    theta, horizon = systems[0].init_theta(KEY), ConstantHorizon(3)
    losses = meta_losses(systems, horizon, theta, KEY, 2)
    value = meta_validate(systems, [0.25, 0.75], horizon, theta, KEY, 2, geometric=True)
    assert value == pytest.approx(losses[0] ** 0.25 * losses[1] ** 0.75, rel=1e-5)
    assert value < 0.9 * meta_validate(systems, [0.25, 0.75], horizon, theta, KEY, 2)


def test_meta_validation_weighs_steps_or_episodes_alike():
    """A system whose loss is its T, so that either mean is known from the horizons drawn."""
    horizon, num_seeds = LogUniformHorizon(2, 6), 8
    keys = jax.random.split(jax.random.fold_in(KEY, 0), num_seeds)
    lengths = [int(horizon.sample(jax.random.split(key, 3)[2], jnp.int32(0))) for key in keys]
    assert len(set(lengths)) > 1
    means = {"steps": np.square(lengths).sum() / np.sum(lengths), "episodes": np.mean(lengths)}
    for mean_over, expected in means.items():
        value = meta_validate(
            [LengthSystem()], [1.0], horizon, {}, KEY, num_seeds, mean_over=mean_over
        )
        assert value == pytest.approx(expected, rel=1e-5)


@flax.struct.dataclass
class LengthSystem(UnrolledSystem):
    def init(self, key, theta, horizon):
        return horizon

    def step(self, key, theta, state):
        return state, state.astype(jnp.float32)
