"""Judging theta."""

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
from meta_train.evaluation import LEARNING_RATES, compare, meta_validate

KEY = jax.random.key(3)
ADAM = lopt.LOPTS["adam_schedule"](schedule="constant", learning_rate=0.1)
TASK = tasks.make("quadratic", dim=3)
RATES = (0.01, 0.1, 1e30)


@pytest.fixture(scope="module")
def rows():
    theta = ADAM.init(KEY)
    return compare(ADAM, theta, {"q": TASK}, 30, key=KEY, num_seeds=4, learning_rates=RATES)


def test_there_is_a_row_for_every_optimizer_and_rate(rows):
    assert [(row.optimizer, row.learning_rate) for row in rows] == [
        ("learned", None),
        *[("adam", rate) for rate in RATES],
        *[("sgd_momentum", rate) for rate in RATES],
    ]
    assert all(row.curve.shape == (30,) for row in rows)
    assert len(LEARNING_RATES) >= 13


def test_all_optimizers_meet_the_same_problems(rows):
    learned = rows[0]
    adam = next(row for row in rows if row.learning_rate == 0.1 and row.optimizer == "adam")
    np.testing.assert_allclose(learned.curve, adam.curve, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(learned.mean_loss, adam.mean_loss, rtol=1e-3)


def test_divergence_is_infinite_and_never_the_best(rows):
    diverged = [row for row in rows if row.learning_rate == 1e30 and row.optimizer != "adam"]
    assert all(row.mean_loss == np.inf and not row.best for row in diverged)
    for optimizer in ("learned", "adam", "sgd_momentum"):
        best = [row for row in rows if row.optimizer == optimizer and row.best]
        assert len(best) == 1
        assert best[0].mean_loss == min(r.mean_loss for r in rows if r.optimizer == optimizer)


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

    losses = []
    for key in jax.random.split(jax.random.fold_in(KEY, 0), 2):
        key_init, key_unroll, _ = jax.random.split(key, 3)
        state = system.init(key_init, theta, jnp.int32(5))
        tx = optax.sgd(0.01)
        params, opt_state = state.params, tx.init(state.params)
        for t in range(5):
            key_batch, key_loss, _ = jax.random.split(jax.random.fold_in(key_unroll, t), 3)
            batch = TASK.batch(key_batch, (), "train")
            (loss, _), grads = jax.value_and_grad(TASK.loss, argnums=2, has_aux=True)(
                key_loss, (), params, batch
            )
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
