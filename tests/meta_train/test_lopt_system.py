"""Training a task with a learned optimizer, seen as an unrolled system."""

from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import lopt
import tasks
from meta_train import PES, LoptSystem, MetaObjective, MetaTrainer
from meta_train.particles import PARTNERS_TOGETHER, Execution, map_partners
from tests.tasks import compiled

RATE = 0.02
OPTIMIZER = lopt.LOPTS["sgd_schedule"](
    schedule="constant", learning_rate=RATE, momentum=0.0, learn_momentum=False
)
TASK = tasks.make("quadratic", dim=3)
KEY = jax.random.key(0)


def episode(system, num_steps, key=KEY):
    """The first state, and states and meta-losses of one episode."""
    theta = system.init_theta(key)

    def step(state, key):
        state, loss = system.step(key, theta, state)
        return state, (state, loss)

    state = system.init(key, theta, jnp.int32(num_steps))
    _, (states, losses) = jax.lax.scan(step, state, jax.random.split(key, num_steps))
    return state, states, losses


@jax.jit
def at(states, t):
    return jax.tree.map(lambda leaf: leaf[t], states)


def test_a_step_is_what_optax_would_do():
    state, states, losses = jax.jit(lambda: episode(LoptSystem(OPTIMIZER, TASK), 1))()

    @jax.jit
    def by_optax(params):
        key_batch, key_loss, _ = jax.random.split(jax.random.split(KEY, 1)[0], 3)
        batch = TASK.batch(key_batch, (), "train")
        (loss, _), grads = jax.value_and_grad(TASK.loss, argnums=2, has_aux=True)(
            key_loss, (), params, batch
        )
        tx = optax.sgd(RATE)
        updates, _ = tx.update(grads, tx.init(params), params)
        return optax.apply_updates(params, updates), loss

    expected, loss = by_optax(state.params)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a[0], b, rtol=1e-5), states.params, expected
    )
    np.testing.assert_allclose(losses[0], loss, rtol=1e-5)


@pytest.mark.parametrize("split", ["train", "valid"])
def test_final_objective_sums_to_the_last_loss(split):
    objective = MetaObjective(kind="final", split=split, clip=None)
    system = LoptSystem(OPTIMIZER, TASK, objective)
    _, states, losses = jax.jit(lambda: episode(system, 7))()
    last = at(states, -1)
    expected = jax.jit(system._judge)(last.key_eval, last.cfg, last.params)
    np.testing.assert_allclose(losses.sum() / 7, expected, rtol=1e-4)


def test_validation_loss_is_that_after_the_step():
    system = LoptSystem(OPTIMIZER, TASK, MetaObjective(split="valid", clip=None))
    _, states, losses = jax.jit(lambda: episode(system, 1))()
    key_judge = jax.random.split(jax.random.split(KEY, 1)[0], 3)[2]
    expected = jax.jit(system._judge)(key_judge, (), at(states.params, 0))
    np.testing.assert_allclose(losses[0], expected, rtol=1e-5)


@pytest.mark.parametrize("split", ["train", "valid"])
def test_error_is_one_minus_the_accuracy_after_the_step(split):
    task = tasks.make("digits_mlp", hidden=(4,), batch_size=8)
    system = LoptSystem(OPTIMIZER, task, MetaObjective(split=split, measure="error", clip=None))
    _, states, losses = jax.jit(lambda: episode(system, 3))()
    keys = jax.random.split(KEY, 3)
    for t in range(3):
        key_batch, key_loss = jax.random.split(jax.random.split(keys[t], 3)[2])
        batch = compiled.batch(task, key_batch, (), split)
        _, metrics = compiled.loss(task, key_loss, (), at(states.params, t), batch)
        np.testing.assert_allclose(losses[t], 1 - metrics["accuracy"], atol=1e-6)
    with pytest.raises(ValueError, match="measure"):
        MetaObjective(split="mixed", measure="error")


def test_mixed_loss_is_of_both_splits_and_in_units():
    losses = {}
    for split in ("train", "valid", "mixed"):
        objective = MetaObjective(split=split, clip=None, valid_weight=0.3)
        system = LoptSystem(OPTIMIZER, TASK, objective, unit=2.0, valid_unit=4.0)
        losses[split] = np.asarray(jax.jit(lambda s=system: episode(s, 4))()[2])
    mixed = 0.7 * losses["train"] + 0.3 * losses["valid"] * 2 / 4
    np.testing.assert_allclose(losses["mixed"], mixed, rtol=1e-5)
    plain = LoptSystem(OPTIMIZER, TASK, MetaObjective(clip=None))
    twice = np.asarray(jax.jit(lambda: episode(plain, 4))()[2])
    np.testing.assert_allclose(losses["train"], twice / 2, rtol=1e-5)


def test_validation_judges_the_average_that_the_optimizer_keeps():
    rule = lopt.LOPTS["schedule_free_mlp"](hidden=())
    system = LoptSystem(rule, TASK, MetaObjective(split="valid", clip=None))
    _, states, losses = jax.jit(lambda: episode(system, 5))()
    last = at(states, -1)
    key_judge = jax.random.split(jax.random.split(KEY, 5)[-1], 3)[2]
    average = lopt.evaluation_params(last.opt_state, last.params)
    judge = jax.jit(system._judge)
    np.testing.assert_allclose(losses[-1], judge(key_judge, (), average), rtol=1e-5)
    assert not np.allclose(losses[-1], judge(key_judge, (), last.params), rtol=1e-3)


@pytest.mark.parametrize(
    ("first", "clip", "normalize", "loss", "expected"),
    [
        (2.0, 2.0, False, 10.0, 4.0),
        (2.0, 2.0, False, 3.0, 3.0),
        (2.0, None, False, 10.0, 10.0),
        (2.0, 2.0, True, 10.0, 2.0),
        (-2.0, 2.0, False, 10.0, 0.0),
        (2.0, 2.0, False, np.inf, np.inf),
        (2.0, 2.0, False, np.nan, np.nan),
    ],
)
def test_shape_bounds_and_normalises(first, clip, normalize, loss, expected):
    objective = MetaObjective(clip=clip, normalize=normalize)
    shaped = objective.apply(jnp.float32(loss), jnp.float32(first))
    np.testing.assert_allclose(shaped, expected, rtol=1e-6)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"kind": "median"}, "objective.kind = 'median'; known: mean, final"),
        ({"split": "test"}, "objective.split = 'test'; known: train, valid, mixed"),
        ({"clip": 0.5}, "objective.clip = 0.5 must be at least 1"),
        ({"split": "mixed", "valid_weight": 2.0}, "objective.valid_weight = 2.0 must be between"),
        ({"split": "mixed", "kind": "final"}, 'goes with objective.kind = "mean" alone'),
    ],
)
def test_bad_objectives_are_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        MetaObjective(**fields)


@flax.struct.dataclass
class CursedTask(tasks.Task):
    """A quadratic of which some members have a loss that is not a number after a few steps."""

    chance: Any

    def sample(self, key):
        return jax.random.uniform(key) < self.chance

    def init(self, key, cfg):
        return {"x": 1.0 + jax.random.normal(key, (4,)), "age": jnp.zeros(())}

    def loss(self, key, cfg, params, batch):
        loss = 0.5 * jnp.sum((params["x"] - batch) ** 2) - params["age"]
        return jnp.where(cfg & (params["age"] > 0.1), jnp.nan, loss), {}

    def batch(self, key, cfg, split):
        return 0.1 * jax.random.normal(key, (4,))


def test_meta_training_survives_a_task_that_turns_nan():
    system = LoptSystem(OPTIMIZER, CursedTask(np.float32(0.125)), MetaObjective(clip=None))
    trainer = MetaTrainer(
        [system], PES(20, 5, num_pairs=4, std=0.05), optax.adam(0.05), steps_per_dispatch=60
    )
    state, records = trainer.step(trainer.init(KEY))
    diverged = np.asarray(records["diverged"])
    assert 0 < diverged.sum() < 60 * 8 / 2
    assert np.isfinite(records["grad_norm"]).all()
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(state.theta))


def test_sequential_and_parallel_execution_agree():
    """By default a CPU takes the pairs in turn, and both partners of one at once."""
    system = LoptSystem(lopt.LOPTS["mlp"](hidden=(12,)), tasks.make("quadratic", dim=600))

    def run(execution):
        trainer = MetaTrainer(
            [system], PES(5, 3, num_pairs=2, std=0.05), optax.adam(0.1), execution=execution
        )
        state = trainer.init(KEY)
        program = str(jax.make_jaxpr(trainer._steps)(state))
        state, records = trainer.step(state)
        return state.theta, records["grad_norm"], program.count("scan")

    *sequential, most = run(Execution("sequential", block_size=64))
    *by_default, fewer = run(Execution(block_size=64))
    *parallel, least = run(Execution("parallel", block_size=2**20))
    assert least < fewer < most
    for found in (by_default, parallel):
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3), sequential, found)


def test_partners_with_large_states_take_turns():
    def looks(size):
        return str(jax.make_jaxpr(lambda x: map_partners(jnp.sum, x))(np.zeros((2, size))))

    most = PARTNERS_TOGETHER // 4
    assert "scan" not in looks(most)
    assert "scan" in looks(most + 1)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"particles": "vmap"}, "particles = 'vmap' must be one of sequential, parallel"),
        ({"block_size": 0}, "block_size = 0 must be a whole number of parameters"),
    ],
)
def test_impossible_executions_are_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        Execution(**fields)
