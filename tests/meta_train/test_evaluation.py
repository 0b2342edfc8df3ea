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
from meta_train.evaluation import LEARNING_RATES, compare, meta_losses, meta_validate
from meta_train.evaluation.training import advance, make_problem, validate

KEY = jax.random.key(3)
ADAM = lopt.LOPTS["adam_schedule"](schedule="constant", learning_rate=0.1)
TASK = tasks.make("quadratic", dim=3)
RATES = (0.01, 0.1, 1e30)


@pytest.fixture(scope="module")
def rows():
    theta = ADAM.init(KEY)
    return compare(
        ADAM, theta, {"q": TASK}, 30, key=KEY, num_seeds=4, learning_rates=RATES,
        baselines=("adam", "sgd_momentum"),
    )  # fmt: skip


def test_there_is_a_row_for_every_optimizer_and_rate(rows):
    assert [(row.optimizer, row.learning_rate) for row in rows] == [
        ("learned", None),
        *[("adam", rate) for rate in RATES],
        *[("sgd_momentum", rate) for rate in RATES],
    ]
    assert all(row.curve.shape == (30,) for row in rows)
    assert len(LEARNING_RATES) >= 13


def test_rates_are_chosen_on_other_seeds_than_all_are_judged_on():
    """Of two equal rates one is judged, the other keeps what tuning measured."""
    rates = {"learning_rates": (0.1, 0.1), "baselines": ("adam",)}
    rows = compare(ADAM, ADAM.init(KEY), {"q": TASK}, 5, key=KEY, num_seeds=2, **rates)
    learned, judged, tuned = rows
    assert (judged.best, tuned.best) == (True, False)
    assert judged.mean_loss == pytest.approx(learned.mean_loss, rel=1e-3)
    assert tuned.mean_loss != pytest.approx(learned.mean_loss, rel=1e-2)
    assert tuned.band is None


def test_bands_hold_all_seeds(rows):
    for row in (row for row in rows if row.best):
        np.testing.assert_allclose(row.band.mean, row.curve, rtol=1e-6)  # blocks of one step
        assert np.all(row.band.low < row.band.mean)
        assert np.all(row.band.mean < row.band.high)


def test_long_curves_have_bands_of_few_blocks():
    rates = {"learning_rates": (0.01,), "baselines": ("schedule_free",)}
    _, row = compare(ADAM, ADAM.init(KEY), {"q": TASK}, 250, key=KEY, num_seeds=2, **rates)
    assert len(row.band.steps) == 84  # of 3 steps, the last of one
    assert (row.band.steps[0], row.band.steps[-1]) == (2, 250)
    assert row.band.mean[0] == pytest.approx(row.curve[:3].mean())
    assert row.band.mean[-1] == pytest.approx(row.curve[-1])


def test_the_last_validation_is_of_the_average():
    rates = {"learning_rates": (0.1,), "baselines": ("schedule_free",)}
    _, row = compare(ADAM, ADAM.init(KEY), {"q": TASK}, 5, key=KEY, num_seeds=2, **rates)
    optimizer, losses = optax.contrib.schedule_free_adamw(0.1), []
    for key in jax.random.split(jax.random.split(KEY)[1], 2):
        cfg, params, step_keys, valid_key = make_problem(TASK, key, 5)
        state = optimizer.init(params)
        params, state, _ = advance(TASK, optimizer, cfg, params, state, step_keys)
        judged = optax.contrib.schedule_free_eval_params(state, params)
        losses.append(float(validate(TASK, cfg, judged, valid_key, 16)[0]))
    assert row.final_valid_loss == pytest.approx(np.mean(losses), rel=1e-4)


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
