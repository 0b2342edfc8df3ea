"""The meta-step: it descends, weighs systems, donates, and does not depend on dispatching."""

import contextlib

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from checkpoints import Saver, Store
from meta_train import ESTIMATORS, PES, Execution, MetaTrainer
from tests.meta_train.linear_system import SYSTEM, THETA

ADAM = optax.adam(0.02)
"""One for all: trainers that are equal share their programs."""


def leaves_equal(a, b):
    jax.tree.map(np.testing.assert_array_equal, a, b)


def trainer(**fields):
    defaults = {
        "systems": [SYSTEM],
        "estimator": PES(6, 2, num_pairs=4, std=0.1),
        "meta_optimizer": ADAM,
    }
    return MetaTrainer(**defaults | fields)


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=() if name in ("pes", "bptt") else pytest.mark.slow)
        for name in ESTIMATORS
    ],
)
def test_every_estimator_lowers_the_meta_loss(name):
    t = trainer(estimator=ESTIMATORS[name](6, 2, num_pairs=8, std=0.1), steps_per_dispatch=60)
    _, records = t.step(t.init(jax.random.key(0), THETA))
    losses = np.asarray(records["meta_loss"])
    assert losses.shape == (60,)
    assert losses[-10:].mean() < 0.5 * losses[:10].mean()


def test_meta_steps_do_not_depend_on_how_they_are_dispatched():
    one, three = trainer(), trainer(steps_per_dispatch=3)
    state, records = one.init(jax.random.key(1), THETA), []
    for _ in range(3):
        state, record = one.step(state)
        records.append(record)
    together, together_records = three.step(three.init(jax.random.key(1), THETA))
    assert int(together.meta_step) == int(state.meta_step) == 3
    np.testing.assert_allclose(
        np.concatenate([r["grad_norm"] for r in records]), together_records["grad_norm"], rtol=1e-5
    )
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), state.theta, together.theta
    )


@pytest.mark.parametrize("particles", ["sequential", "parallel"])
def test_a_restored_state_goes_on_bit_for_bit(particles, tmp_path):
    t = trainer(execution=Execution(particles), steps_per_dispatch=3)
    state, _ = t.step(t.init(jax.random.key(1), THETA))
    store = Store(tmp_path)
    told: list[str] = []
    saver = Saver(store, told.append)
    saver.save(3, state, {})
    saver.wait()
    assert told == []
    saver.close()
    restored = store.restore(3, t.abstract_state(THETA))
    leaves_equal(*(jax.tree.map(_data, t.step(s)[0]) for s in (state, restored)))


def _data(leaf):
    is_key = jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)
    return jax.random.key_data(leaf) if is_key else leaf


def test_state_is_donated_and_the_callers_theta_is_not():
    theta = jax.tree.map(jnp.asarray, THETA)
    t = trainer()
    before = t.init(jax.random.key(0), theta)
    t.step(before)
    assert jax.tree.leaves(before.theta)[0].is_deleted()
    assert not jax.tree.leaves(theta)[0].is_deleted()


@contextlib.contextmanager
def no_compilation():
    with jax.log_compiles(), pytest.MonkeyPatch.context() as patch:
        logged = []
        patch.setattr("logging.Logger.handle", lambda self, record: logged.append(record))
        yield
    assert [r.getMessage() for r in logged if "ompiling" in r.getMessage()] == []


def test_a_second_step_does_not_compile_again():
    t = trainer(meta_optimizer=optax.adam(0.02))
    state, _ = t.step(t.init(jax.random.key(0), THETA))
    with no_compilation():
        t.step(state)


def test_a_step_compiled_ahead_is_the_step():
    t = trainer(meta_optimizer=optax.adam(0.02), steps_per_dispatch=2)
    state = t.init(jax.random.key(0), THETA)
    t.compile(THETA)
    with no_compilation():
        t.step(state)


def test_weights_are_shares_of_the_meta_loss():
    both = trainer(systems=[SYSTEM, SYSTEM], weights=[3.0, 1.0])
    assert both.shares == (0.75, 0.25)
    _, records = both.step(both.init(jax.random.key(0), THETA))
    assert int(records["inner_steps"][0]) == 2 * 2 * 4 * 2
    only_first = trainer(systems=[SYSTEM, SYSTEM], weights=[1.0, 0.0])
    alone = trainer()
    a, _ = only_first.step(only_first.init(jax.random.key(0), THETA))
    b, _ = alone.step(alone.init(jax.random.key(0), THETA))
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-5), a.theta, b.theta)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"systems": []}, "at least one system"),
        ({"weights": [1.0, 2.0]}, "2 weights for 1 systems"),
        ({"weights": [-1.0]}, "must not be negative"),
        ({"weights": [0.0]}, "nor all zero"),
        ({"steps_per_dispatch": 0}, "steps_per_dispatch = 0"),
    ],
)
def test_bad_trainers_are_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        trainer(**fields)


def test_a_system_without_initial_theta_says_what_to_do():
    with pytest.raises(NotImplementedError, match="pass theta to"):
        trainer().init(jax.random.key(0))
