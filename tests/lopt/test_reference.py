"""``mlp``, ``adafac_mlp`` and ``lstm`` against float64 numpy, one tensor or parameter at a time.

Tolerance: both sides compute the same formula, one in float32. A step is a sum of some 30 to 60
products that may cancel, so its rounding error is in units of 2^-24 = 6e-8 of the largest step
that the tensor sees, not of the step itself, and at most one unit for each product, in whatever
order they are added: 4e-6. Measured: 1e-6.
"""

import functools
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import lopt
from lopt import per_parameter

STEPS = 100
TOLERANCE = 4e-6
TIMES = [1, 3, 10, 30, 100, 300, 1000, 3000, 10000, 30000, 100000]


def f32_range(x):
    """float64, except that what overflows float32 is infinite."""
    with np.errstate(over="ignore"):
        return np.where(np.isfinite(np.float32(x)), x, np.float64(np.float32(x)))


def normalise(feature):
    return feature / np.sqrt(1e-5 + np.mean(np.square(feature)))


def network(net, features, t):
    """Steps of one tensor, with one row of inputs for each parameter."""
    times = [np.full(features[0].size, np.tanh(t / x - 1)) for x in TIMES]
    x = np.stack([normalise(f).reshape(-1) for f in features] + times, axis=1)
    for layer in range(len(net) // 2):
        x = np.maximum(x, 0) if layer else x
        x = x @ net[f"w{layer}"] + net[f"b{layer}"]
    steps = -x[:, 0] * np.exp(x[:, 1] * 0.001) * 0.001
    return steps.reshape(features[0].shape)


class MLP:
    def __init__(self, theta):
        self.net, self.t = theta["mlp"], 0
        self.momenta = {0.1: 0.0, 0.5: 0.0, 0.9: 0.0, 0.99: 0.0, 0.999: 0.0, 0.9999: 0.0}

    def step(self, g, p):
        for decay in self.momenta:
            self.momenta[decay] = decay * self.momenta[decay] + (1 - decay) * g
        out = network(self.net, [g, p, *self.momenta.values()], self.t)
        self.t += 1
        return out


def moved_decays(start, offsets):
    return [1 - (1 - d) * np.exp(10 * x) for d, x in zip(start, offsets, strict=True)]


class AdafacMLP:
    def __init__(self, theta):
        self.net, self.t = theta["mlp"], 0
        self.md = moved_decays([0.9, 0.99, 0.999], theta["momentum_decays"])
        self.vd = moved_decays([0.999], theta["rms_decays"])[0]
        self.fd = moved_decays([0.9, 0.99, 0.999], theta["adafactor_decays"])
        self.m, self.v, self.row, self.col = [0.0] * 3, 0.0, [0.0] * 3, [0.0] * 3

    def step(self, g, p):
        square = f32_range(g * g)
        self.m = [d * m + (1 - d) * g for d, m in zip(self.md, self.m, strict=True)]
        self.v = self.vd * self.v + (1 - self.vd) * square
        rsqrt = 1 / np.sqrt(self.v + 1e-6)
        features = [g, p, *self.m, self.v, *[m * rsqrt for m in self.m], rsqrt]
        features += self._matrix(g, square) if g.ndim > 1 else self._vector(g, square)
        out = network(self.net, features, self.t)
        self.t += 1
        return out

    def _vector(self, g, square):
        v = self.row = [
            d * v + (1 - d) * (square + 1e-30) for d, v in zip(self.fd, self.row, strict=True)
        ]
        by_root = [1 / np.sqrt(np.maximum(x + 1e-9, 1e-9)) for x in v]
        return [
            *[g * r for r in by_root],
            *v,
            *v,
            *[1 / np.sqrt(x + 1e-8) for x in v],
            *[1 / np.sqrt(x + 1e-8) for x in v],
            *[m * (x + 1e-6) ** -0.5 for m, x in zip(self.m, v, strict=True)],
        ]

    def _matrix(self, g, square):
        sizes = sorted((n, axis) for axis, n in enumerate(g.shape))
        second, first = sizes[-2][1], sizes[-1][1]
        rows, cols, factors = [], [], []
        for k, d in enumerate(self.fd):
            across = np.mean(square + 1e-30, axis=first, keepdims=True)
            down = np.mean(square + 1e-30, axis=second, keepdims=True)
            self.row[k] = d * self.row[k] + (1 - d) * across
            self.col[k] = d * self.col[k] + (1 - d) * down
            mean = np.mean(self.row[k], axis=second, keepdims=True)
            by_row = 1 / np.sqrt(np.maximum(self.row[k] / (mean + 1e-9), 1e-9))
            by_col = 1 / np.sqrt(np.maximum(self.col[k], 1e-9))
            factors.append(by_row * by_col)
            rows.append(np.broadcast_to(self.row[k], g.shape))
            cols.append(np.broadcast_to(self.col[k], g.shape))
        return [
            *[g * f for f in factors],
            *rows,
            *cols,
            *[1 / np.sqrt(x + 1e-8) for x in rows],
            *[1 / np.sqrt(x + 1e-8) for x in cols],
            *[m * f for m, f in zip(self.m, factors, strict=True)],
        ]


REFERENCES = {"mlp": MLP, "adafac_mlp": AdafacMLP}


@functools.cache
def draw_theta(rule):
    """Biases, weights and decays all away from their initial values.

    The network does not point down: where the momentum that it follows cancels out, its digits do.
    """
    rng = np.random.default_rng(0)

    def move(x):
        return x + (0.02 * rng.normal(size=x.shape)).astype(np.float32)

    with mock.patch.object(per_parameter, "point_down", lambda net, feature: net):
        theta = jax.tree.map(move, jax.jit(rule.init)(jax.random.key(1)))
    return theta, jax.tree.map(lambda x: np.asarray(x, np.float64), theta)


def draw_gradients(shape, kind, rng):
    scale = {"random": 1.0, "zeros": 0.0, "tiny": 1e-20, "huge": 1e20, "small": 1e-4}.get(kind)
    grads = rng.normal(size=(STEPS, *shape))
    if kind == "mixed":
        scale = 10.0 ** rng.integers(-12, 7, (STEPS, *[1] * len(shape)))
        grads[::7] = 0
    return (grads * scale).astype(np.float32)


@functools.cache
def unroll(rule):
    """Steps for given gradients and parameters [steps, ...], compiled once for each shape."""
    tx = rule.bind(draw_theta(rule)[0])

    def body(state, inputs):
        step, state = tx.update(inputs[0], state, inputs[1])
        return state, step

    return jax.jit(lambda g, p: jax.lax.scan(body, tx.init(p[0]), (g, p))[1])


def compare(rule, reference, shape, kind):
    rng = np.random.default_rng(2)
    grads = draw_gradients(shape, kind, rng)
    params = rng.normal(size=(STEPS, *shape)).astype(np.float32)
    steps = unroll(rule)(grads, params)
    model = reference(draw_theta(rule)[1])
    with np.errstate(all="ignore"):
        expected = np.stack(
            [
                model.step(g.astype(float), p.astype(float))
                for g, p in zip(grads, params, strict=True)
            ]
        )
    size = np.max(np.abs(expected), initial=0.0, where=np.isfinite(expected))
    np.testing.assert_allclose(steps, expected, rtol=0, atol=TOLERANCE * size)


@pytest.mark.parametrize("kind", ["random", "zeros", "tiny", "huge", "small", "mixed"])
@pytest.mark.parametrize("shape", [(4, 3), (1,)])
@pytest.mark.parametrize("name", REFERENCES)
def test_adversarial_gradients(name, shape, kind):
    compare(lopt.LOPTS[name](), REFERENCES[name], shape, kind)


@pytest.mark.parametrize("shape", [(), (1, 1), (7,), (3, 3), (2, 5, 3), (2, 3, 1, 4)])
@pytest.mark.parametrize("name", REFERENCES)
def test_shapes(name, shape):
    compare(lopt.LOPTS[name](), REFERENCES[name], shape, "random")


@pytest.mark.parametrize(
    ("name", "shape", "hidden"),
    [
        ("mlp", (1030,), (32, 32)),
        ("mlp", (29, 20), (4, 4)),
        ("adafac_mlp", (1030,), (4, 4)),
        ("adafac_mlp", (29, 20), (4, 4)),
        ("adafac_mlp", (29, 20), (9,)),
    ],
)
def test_large_tensors(name, shape, hidden, monkeypatch):
    """Longer than a block and not a multiple of one: blocks and unrolled arithmetic."""
    monkeypatch.setitem(globals(), "STEPS", 3)
    compare(lopt.LOPTS[name](hidden=hidden), REFERENCES[name], shape, "random")


@pytest.mark.parametrize(("name", "count"), [("mlp", 1762), ("adafac_mlp", 197)])
def test_meta_parameter_count(name, count):
    theta = jax.eval_shape(lopt.LOPTS[name]().init, jax.random.key(0))
    assert sum(x.size for x in jax.tree.leaves(theta)) == count


@pytest.mark.parametrize("name", REFERENCES)
def test_initial_weights(name):
    """Normal of standard deviation 1/sqrt(inputs) cut at two of them; zero biases and offsets.

    Two units of every layer carry the direction down instead, and of the last layer is a tenth.
    """
    theta = jax.jit(lopt.LOPTS[name](hidden=(200, 200)).init)(jax.random.key(0))
    assert not any(np.any(x) for k, x in theta.items() if k != "mlp")
    assert not any(np.any(x) for k, x in theta["mlp"].items() if k.startswith("b"))
    w0, w1, w2 = (np.asarray(theta["mlp"][f"w{layer}"]) for layer in range(3))
    for weights, inputs in ((w0[:, 2:], len(w0)), (w1[2:, 2:], 200), (10 * w2[2:], 200)):
        root = np.sqrt(inputs)
        assert np.max(np.abs(weights)) * root <= 2.0 + 1e-5
        # A unit normal cut at two has the standard deviation 0.8796.
        np.testing.assert_allclose(np.std(weights) * root, 0.8796, rtol=0.1)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def preprocess(g, p):
    if abs(g) >= np.exp(-p):
        return np.log(abs(g)) / p, np.sign(g)
    return -1.0, np.exp(p) * g


@pytest.mark.parametrize("p", [10.0, 5.0])
def test_lstm_preprocessing(p):
    from lopt import lstm

    sizes = np.concatenate([[0.0], np.logspace(-12, 6, 60)])
    grads = np.concatenate([sizes, -sizes]).astype(np.float32)
    expected = np.array([preprocess(float(g), p) for g in grads]).T
    np.testing.assert_allclose(lstm.preprocess(jnp.asarray(grads), p), expected, 1e-5, 1e-6)


def test_lstm_against_a_loop():
    rule = lopt.LOPTS["lstm"](hidden=(5, 3))
    theta, theta64 = draw_theta(rule)
    rng = np.random.default_rng(0)
    grads = (rng.normal(size=(20, 2, 3)) * 10.0 ** rng.integers(-7, 2, (20, 2, 3))).astype("f")
    tx = rule.bind(theta)
    steps = jax.jit(
        lambda g: jax.lax.scan(lambda s, x: tx.update(x, s)[::-1], tx.init(g[0]), g)[1]
    )(grads)
    for index in np.ndindex(2, 3):
        state = [(np.zeros(5), np.zeros(5)), (np.zeros(3), np.zeros(3))]
        for t in range(20):
            x = np.array(preprocess(float(grads[t][index]), 10.0))
            for layer, (h, c) in enumerate(state):
                weights = theta64[f"lstm{layer}"]
                gates = np.concatenate([x, h]) @ weights["w"] + weights["b"]
                write, candidate, forget, read = np.split(gates, 4)
                c = sigmoid(forget + 1) * c + sigmoid(write) * np.tanh(candidate)
                x = sigmoid(read) * np.tanh(c)
                state[layer] = x, c
            out = 0.01 * (x @ theta64["output"]["w"] + theta64["output"]["b"])[0]
            np.testing.assert_allclose(steps[t][index], out, rtol=1e-4, atol=1e-8)
