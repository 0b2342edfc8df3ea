"""Training runs of an evaluation: the same training as anywhere else, and how it is recorded."""

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from lopt import evaluation_params
from meta_train.evaluation import BASELINES, Programs, Runner, train
from meta_train.evaluation.costs import measure_cost
from meta_train.evaluation.training import make_problem, validate
from tasks import Task

KEYS = jax.random.split(jax.random.key(0), 2)
STEPS, SPAN = 12, 4


@flax.struct.dataclass
class Points(Task):
    """Find the mean of normal points; small, so that it compiles at once."""

    accurate: bool = flax.struct.field(pytree_node=False, default=True)

    def init(self, key, cfg):
        return {"w": 3 + jax.random.normal(key, (2,))}

    def batch(self, key, cfg, split):
        return jax.random.normal(key, (4, 2)) + (split == "valid")

    def loss(self, key, cfg, params, batch):
        errors = jnp.square(params["w"][None] - batch)
        metrics = {"accuracy": jnp.mean(errors < 1)} if self.accurate else {}
        return jnp.mean(errors), metrics


TASK = Points()


@pytest.fixture(scope="module")
def runner():
    programs = Programs(TASK, STEPS, SPAN, valid_batches=3)
    return Runner(programs, lambda shared, own: optax.sgd(shared * own["scale"]))


@pytest.fixture(scope="module")
def curves(runner):
    return runner(jnp.float32(0.1), {"scale": np.asarray([1.0, 2.0], np.float32)}, KEYS)


def test_spans_together_are_one_training(curves):
    whole = jax.jit(lambda rate, key: train(TASK, optax.sgd(rate), STEPS, key))
    for i, rate in enumerate((0.1, 0.2)):
        expected = whole(jnp.float32(rate), KEYS[i])
        np.testing.assert_allclose(curves.train_loss[i], expected, rtol=1e-4)
    assert curves.valid_loss.shape == curves.valid_accuracy.shape == (2, STEPS // SPAN)
    assert curves.seconds_per_step > 0


def test_validation_is_on_the_same_batches_each_time(runner, curves):
    """With a learning rate of zero the validation loss stays what it was."""
    still = runner(jnp.float32(0.0), {"scale": np.ones(2, np.float32)}, KEYS)
    assert (still.valid_loss == still.valid_loss[:, :1]).all()
    assert (curves.valid_loss[:, 1:] != curves.valid_loss[:, :1]).all()
    problem = make_problem(TASK, KEYS[0], STEPS)
    loss, accuracy = validate(TASK, problem.cfg, problem.params, problem.valid_key, 3)
    assert still.valid_loss[0, 0] == pytest.approx(float(loss), rel=1e-5)
    assert still.valid_accuracy[0, 0] == pytest.approx(float(accuracy), rel=1e-5)


def test_a_task_without_accuracy():
    programs = Programs(Points(accurate=False), 2, 1, valid_batches=1)
    runner = Runner(programs, lambda shared, own: optax.sgd(0.1))
    found = runner((), {}, KEYS)
    assert np.isnan(found.valid_accuracy).all()
    assert np.isfinite(found.valid_loss).all()
    unseen = runner((), {}, KEYS, validated=False)
    assert unseen.valid_loss.shape == (2, 0)
    np.testing.assert_array_equal(unseen.train_loss, found.train_loss)


def test_a_schedule_free_optimizer_is_judged_at_its_average():
    schedule_free = BASELINES["schedule_free"].bind({}, 1)
    params = {"w": jnp.asarray([1.0, -2.0])}
    state = schedule_free.init(params)
    for _ in range(3):
        updates, state = schedule_free.update({"w": jnp.ones(2)}, state, params)
        params = optax.apply_updates(params, updates)
    expected = optax.contrib.schedule_free_eval_params(state, params)
    assert not np.allclose(expected["w"], params["w"])
    for nested in (state, (optax.EmptyState(), state)):
        np.testing.assert_allclose(evaluation_params(nested, params)["w"], expected["w"])
    assert evaluation_params(optax.adam(0.1).init(params), params) is params


def test_steps_that_spans_do_not_divide():
    with pytest.raises(ValueError, match="num_steps = 10 must be a multiple of span = 4"):
        Programs(TASK, 10, 4, 1)


@pytest.mark.parametrize("name", BASELINES)
def test_every_baseline_takes_traced_hyperparameters(name):
    """All but compiling: one program serves every choice of hyperparameters."""
    baseline = BASELINES[name]
    own = {key: jnp.float32(span.default) for key, span in baseline.space.items()}

    def losses(own, key):
        return train(TASK, baseline.bind(own, STEPS), STEPS, key)

    assert jax.eval_shape(losses, own, KEYS[0]).shape == (STEPS,)


def test_cosine_decay_ends_at_zero():
    baseline = BASELINES["adamw_cosine"].fix({"weight_decay": 0.0})
    optimizer = baseline.bind({"learning_rate": 0.1}, 10)
    params = {"w": jnp.ones(2)}
    state, sizes = optimizer.init(params), []
    for _ in range(11):
        updates, state = optimizer.update({"w": jnp.ones(2)}, state, params)
        sizes.append(float(jnp.abs(updates["w"]).max()))
    assert sizes[0] == pytest.approx(0.1, rel=1e-3)
    assert sizes[10] == pytest.approx(0.0, abs=1e-6)


def test_cost_counts_the_state():
    cost = measure_cost(lambda theta: optax.adam(theta), jnp.float32(0.1))
    assert cost.bytes_per_parameter == pytest.approx(8, abs=0.01)
    assert 0 < cost.ns_per_parameter < 1e4
