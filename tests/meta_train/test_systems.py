"""What every unrolled system must be, and what those of control compute."""

import importlib.util
import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from meta_train import PES, SYSTEMS, Execution, MetaTrainer, systems
from meta_train.unroll import empty_state

KEY = jax.random.key(0)
HORIZON = jnp.int32(4)


def make(name):
    if name == "swimmer" and importlib.util.find_spec("mujoco") is None:
        pytest.skip("mujoco-mjx is not installed; it comes with the extra control")
    return SYSTEMS[name]()


SLOW = {"swimmer": pytest.mark.slow}  # a minute to compile
NAMES = [pytest.param(x, marks=SLOW.get(x, ())) for x in SYSTEMS if x != "lopt"]


@pytest.mark.parametrize("name", NAMES)
def test_system_keeps_its_structure_and_its_losses_are_finite(name):
    system = make(name)
    theta = jax.jit(system.init_theta)(KEY)
    assert {leaf.dtype for leaf in jax.tree.leaves(theta)} == {jnp.dtype("float32")}
    first = jax.jit(system.init)(KEY, theta, HORIZON)
    state = first
    step = jax.jit(type(system).step)
    for t in range(3):
        state, loss = step(system, jax.random.fold_in(KEY, t), theta, state)
        assert loss.shape == ()
        assert loss.dtype == jnp.float32
        assert np.isfinite(loss)
    same = jax.tree.map(lambda a, b: (a.shape, a.dtype) == (b.shape, b.dtype), first, state)
    assert all(jax.tree.leaves(same))
    assert jax.tree.structure(empty_state(system, theta)) == jax.tree.structure(first)


@pytest.mark.parametrize("name", NAMES)
def test_pes_moves_theta(name):
    system = make(name)
    trainer = MetaTrainer(
        [system],
        PES(4, 2, num_pairs=2, std=0.1),
        optax.adam(0.1),
        steps_per_dispatch=2,
        execution=Execution("parallel"),
    )
    before = trainer.init(KEY)
    theta = jax.device_get(before.theta)
    state, records = trainer.step(before)
    assert not np.any(records["diverged"])
    moved = jax.tree.map(lambda new, old: np.any(np.asarray(new) != old), state.theta, theta)
    assert any(jax.tree.leaves(moved))


def test_the_car_needs_a_run_up():
    system = SYSTEMS["mountain_car"]()

    @jax.jit
    def run(theta):
        def step(state, _):
            return system.step(KEY, theta, state)

        return jax.lax.scan(step, jnp.asarray([-0.5, 0.0]), length=300)

    def drive(weights):
        state, losses = jax.device_get(run({"weights": np.float32([weights])}))
        return float(state[0]), float(losses[-1])

    assert drive((0.0, 0.0))[0] == pytest.approx(-math.pi / 6, abs=0.1)
    assert drive((100.0, 0.0))[0] < 0.5, "always to the side where it is"
    place, loss = drive((0.0, 5.0))
    assert place == pytest.approx(0.6)
    assert loss == pytest.approx(-math.sin(1.8), rel=1e-4)


def test_l2_regularisation_ends_at_the_ridge_solution():
    system = SYSTEMS["l2_regularisation"](num_examples=80, learning_rate=0.02)
    theta = {"log_l2": jnp.float32(0.5)}

    def step(state, _):
        return system.step(KEY, theta, state)

    state = system.init(KEY, theta, HORIZON)
    weights, losses = jax.jit(lambda: jax.lax.scan(step, state, length=2000))()
    features, targets = (np.asarray(x, np.float64) for x in system.train)
    assert features.shape == (80, 65)
    square = features.T @ features / 80 + np.exp(0.5) * np.eye(65)
    ridge = np.linalg.solve(square, features.T @ targets / 80)
    np.testing.assert_allclose(weights, ridge, atol=1e-4)
    features, targets = (np.asarray(x, np.float64) for x in system.valid)
    assert losses[-1] == pytest.approx(np.mean((features @ ridge - targets) ** 2), rel=1e-3)
    with pytest.raises(ValueError, match="num_examples = 10000 must be between"):
        SYSTEMS["l2_regularisation"](num_examples=10_000)


def test_l2_regularisation_starts_within_its_spread():
    def first(seed, spread):
        system = SYSTEMS["l2_regularisation"](first_theta=-1.0, first_spread=spread)
        return float(system.init_theta(jax.random.key(seed))["log_l2"])

    starts = [first(seed, 4.0) for seed in range(5)]
    assert len(set(starts)) == 5
    assert all(-5 <= x <= 3 for x in starts)
    assert first(0, 0.0) == -1.0


def test_lorenz_is_followed_by_the_true_theta_alone():
    system = SYSTEMS["lorenz"]()
    true = {"log_prandtl": np.log(np.float32(10)), "log_rayleigh": np.log(np.float32(28))}

    @jax.jit
    def run(theta):
        def step(state, _):
            state, loss = system.step(KEY, theta, state)
            return state, (state.observed, loss)

        return jax.lax.scan(step, system.init(KEY, theta, HORIZON), length=400)[1]

    observed, losses = jax.device_get(run(true))
    assert np.all(losses[:100] < 1e-6)
    assert run(system.init_theta(KEY))[1].max() > 10
    x, y, z = 1.2, 1.3, 1.6
    place = observed[0]
    slope = np.asarray([10 * (y - x), x * (28 - z) - y, x * y - 8 / 3 * z])
    np.testing.assert_allclose(place, np.asarray([x, y, z]) + 0.005 * slope, rtol=1e-5)


def test_character_lstm_predicts_as_in_numpy():
    system = SYSTEMS["character_lstm"](width=3, num_chars=2000)
    theta = system.init_theta(KEY)
    state = system.init(KEY, theta, HORIZON)
    flat = {name: np.asarray(x, np.float64) for name, x in theta.items()}
    place, hidden, cell = int(state.place), np.zeros(3), np.zeros(3)
    text = np.asarray(system.text.characters)

    def sigmoid(x):
        return 1 / (1 + np.exp(-x))

    step = jax.jit(system.step)
    for _ in range(5):
        state, loss = step(KEY, theta, state)
        gates = flat["embedding"][text[place]] @ flat["input"] + hidden @ flat["recurrent"]
        i, f, g, o = np.split(gates + flat["bias"], 4)
        cell = sigmoid(f + 1) * cell + sigmoid(i) * np.tanh(g)
        hidden = sigmoid(o) * np.tanh(cell)
        logits = hidden @ flat["output"] + flat["output_bias"]
        place += 1
        expected = np.log(np.exp(logits).sum()) - logits[text[place]]
        assert float(loss) == pytest.approx(expected, rel=1e-4)


def predict(layers, units, images):
    """Logits of the MLP in NumPy, and what every layer reads."""
    inputs = [images]
    for (kernel, bias), live in zip(layers[:-1], units, strict=True):
        inputs.append(np.maximum(inputs[-1] @ kernel + bias, 0))
        inputs[-1][:, live:] = 0
    return inputs[-1] @ layers[-1][0] + layers[-1][1], inputs


def cross_entropy(logits, labels):
    return np.mean(np.log(np.exp(logits).sum(axis=1)) - logits[np.arange(len(labels)), labels])


def test_many_hyperparameters_train_as_in_numpy():
    system = SYSTEMS["many_hyperparameters"](width=10, batch_size=7)
    theta = system.init_theta(KEY)
    assert sum(leaf.size for leaf in jax.tree.leaves(theta)) == 29
    theta["log_learning_rate"] = jax.tree.map(lambda x: x + 4, theta["log_learning_rate"])
    theta["logit_width"] = jnp.asarray([-1.0, 0.0, 1.0, 2.0, 9.0])
    units = (2, 5, 7, 8, 9)
    state = system.init(KEY, theta, HORIZON)

    def arrays(layers):
        layers = [layers[f"layer_{i}"] for i in range(6)]
        return [[np.asarray(x[name], np.float64) for name in ("kernel", "bias")] for x in layers]

    layers, step = arrays(state.params), jax.jit(system.step)
    velocities = [[np.zeros_like(x) for x in layer] for layer in layers]
    rates, logits = (arrays(theta[x]) for x in ("log_learning_rate", "logit_momentum"))
    for key in jax.random.split(KEY, 5):
        state, loss = step(key, theta, state)
        key_train, key_valid = jax.random.split(key)
        images, labels = (np.asarray(x) for x in system.data.draw(key_train, "train", 7))
        scores, inputs = predict(layers, units, images.astype(np.float64))
        delta = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
        delta = (delta - np.eye(10)[labels]) / 7
        for i in reversed(range(6)):
            gradients = (inputs[i].T @ delta, delta.sum(axis=0))
            delta = (delta @ layers[i][0].T) * (inputs[i] > 0)
            for j, gradient in enumerate(gradients):
                momentum = 1 / (1 + np.exp(-logits[i][j]))
                velocities[i][j] = momentum * velocities[i][j] + gradient
                layers[i][j] = layers[i][j] - np.exp(rates[i][j]) * velocities[i][j]
        images, labels = (np.asarray(x) for x in system.data.draw(key_valid, "valid", 7))
        expected = cross_entropy(predict(layers, units, images)[0], labels)
        assert float(loss) == pytest.approx(expected, rel=1e-4)


def test_swimmer_without_its_packages_is_a_clear_error(monkeypatch):
    monkeypatch.setattr(systems.swimmer.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"pip install 'lopt\[control\]'"):
        SYSTEMS["swimmer"]()


@pytest.mark.slow
def test_swimmer_moves_as_in_mujoco_itself():
    mujoco = pytest.importorskip("mujoco", reason="comes with the extra control")
    system = make("swimmer")
    theta = {"weights": jnp.zeros((2, 8)).at[:, 0].set(1.0)}
    step = jax.jit(lambda state: system.step(KEY, theta, state))
    model = mujoco.MjModel.from_xml_path(str(systems.swimmer.model_file()))
    data = mujoco.MjData(model)
    data.qpos[2] = 0.3
    state = (jnp.asarray(data.qpos, jnp.float32), jnp.zeros(5))
    for _ in range(20):
        before = data.qpos[0]
        data.ctrl[:] = min(1.0, max(-1.0, data.qpos[2]))
        cost = 1e-4 * float(np.sum(np.square(data.ctrl)))
        mujoco.mj_step(model, data, 4)
        state, loss = step(state)
        assert -float(loss) == pytest.approx((data.qpos[0] - before) / 0.04 - cost, abs=1e-2)
    np.testing.assert_allclose(state[0], data.qpos, atol=1e-2)
