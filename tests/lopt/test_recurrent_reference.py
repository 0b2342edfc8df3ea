"""``nn_adam``, ``rnn_mlp`` and ``velo`` against float64 numpy, one tensor at a time.

Both sides see the same gradients, parameters and losses, so that only rounding tells them apart.
The tolerances, in units of the largest step that a tensor sees, are about three times the largest
error that was measured; a comment at each says where that comes from.
"""

import jax
import numpy as np
import pytest

import lopt

STEPS = 30
HORIZON = 25
SHAPES = {"empty": (0, 2), "scalar": (), "one": (1,), "long": (29, 20), "axes": (2, 3, 1, 4)}
KINDS = ("random", "zeros", "tiny", "huge", "small", "mixed")
TIMES = [1, 3, 10, 30, 100, 300, 1000, 3000, 10000, 30000, 100000]


def mean(x):
    return np.mean(x) if np.size(x) else 0.0


def rms(x):
    return np.sqrt(mean(np.square(x)) + 1e-9)


def log_size(x):
    return 0.1 * np.log(np.minimum(np.abs(x), 1e10) + 1e-10)


def statistics(x):
    return [mean(x) / np.sqrt(mean(np.square(x)) + 1e-20), log_size(mean(np.square(x)))]


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def layer(net, x):
    return x @ net["w0"] + net["b0"]


class LSTM:
    def __init__(self, net, width):
        self.net, self.h, self.c = net, np.zeros(width), np.zeros(width)

    def __call__(self, x):
        write, candidate, forget, read = np.split(layer(self.net, np.append(x, self.h)), 4)
        self.c = sigmoid(forget + 1) * self.c + sigmoid(write) * np.tanh(candidate)
        self.h = sigmoid(read) * np.tanh(self.c)
        return self.h


class Loss:
    """Averages over 1, 10, 100 and 1000 losses, plain ones where there are fewer."""

    def __init__(self):
        self.count, self.mean, self.distance = 0, [0.0] * 4, [0.0] * 4

    def __call__(self, loss):
        if np.isfinite(loss):
            self.count += 1
            for i, span in enumerate([1, 10, 100, 1000]):
                rate = max(1 / span, 1 / self.count)
                self.mean[i] += rate * (loss - self.mean[i])
                self.distance[i] += rate * (abs(loss - self.mean[i]) - self.distance[i])
        units = [d + 1e-3 * abs(m) + 1e-30 for m, d in zip(self.mean, self.distance, strict=True)]
        steps = [(self.mean[i] - self.mean[i + 1]) / units[i + 1] for i in range(3)]
        return list(np.clip(steps, -3, 3))


def network(net, features, constants=()):
    """Outputs [n, outputs] of the per-parameter network on features of one tensor."""
    rows = [f.reshape(-1) / np.sqrt(1e-5 + mean(np.square(f))) for f in features]
    x = np.stack(rows + [np.full_like(rows[0], c) for c in constants], axis=1)
    last = len(net) // 2 - 1
    for i in range(last + 1):
        x = x @ net[f"w{i}"] + net[f"b{i}"]
        x = np.maximum(x, 0) if i < last else x
    return x


class NNAdamTensor:
    def __init__(self, theta):
        self.theta, self.lstm = theta, LSTM(theta["lstm"], 32)
        self.m, self.v, self.moved = 0.0, 0.0, np.zeros(4)
        self.sum1 = self.sum2 = 0.0

    def step(self, g, p):
        logs = self.moved + 10 * self.theta["hyperparameters"]
        lr, rate1, rate2, eps = np.array([1e-3, 0.1, 1e-3, 1e-8]) * np.exp(logs)
        lr, eps = np.clip(lr, 1e-8, 1e3), np.clip(eps, 1e-11, 1e4)
        rate1, rate2 = np.clip([rate1, rate2], 5e-5, 1)
        self.m = (1 - rate1) * self.m + rate1 * g
        self.v = (1 - rate2) * self.v + rate2 * g * g
        self.sum1 = (1 - rate1) * self.sum1 + rate1
        self.sum2 = (1 - rate2) * self.sum2 + rate2
        m, v = self.m / self.sum1, self.v / self.sum2
        features = [*statistics(m), *statistics(v), *statistics(p), *statistics(g)]
        features += [1 if p.ndim == n else -1 for n in (0, 1)]
        h = self.lstm(np.array([*features, *(0.1 * logs)]))
        self.moved = np.clip(self.moved + 0.03 * layer(self.theta["output"], h), -30, 30)
        return -lr * (1 + eps) * m / (eps + np.sqrt(v + 1e-10))


class NNAdam:
    def __init__(self, theta):
        self.tensors = [NNAdamTensor(theta) for _ in SHAPES]

    def step(self, grads, params, loss):
        del loss
        return [t.step(g, p) for t, g, p in zip(self.tensors, grads, params, strict=True)]


class RNNMLPTensor:
    def __init__(self, theta):
        self.theta, self.lstm = theta, LSTM(theta["lstm"], 64)
        self.m, self.v, self.said, self.t = [0.0] * 5, [0.0] * 5, np.zeros(16), 0

    def listen(self, g, p, loss, from_all):
        """Outputs of the LSTM."""
        for i, decay in enumerate([0.5, 0.9, 0.99, 0.999, 0.9999]):
            self.m[i] = decay * self.m[i] + (1 - decay) * g
            self.v[i] = decay * self.v[i] + (1 - decay) * g * g
        axes = [*sorted(p.shape, reverse=True), 1, 1, 1, 1][:4]
        arrays = (np.stack(self.m), np.stack(self.v), p, g)
        x = [s for array in arrays for s in statistics(array)] + [1 if p.ndim == 0 else -1]
        return self.lstm(np.array([*x, *log_size(np.array(axes)), *self.said, *from_all, *loss]))

    def step(self, g, p, h, num_tensors):
        f = [m / np.sqrt(v + 1e-6) for m, v in zip(self.m, self.v, strict=True)]
        r = [1 / np.sqrt(v + 1e-6) for v in self.v]
        features = [g, p, np.log(np.abs(p) + 1e-8), *self.m, *f, *self.v, *r]
        constants = [np.tanh(self.t / x - 1) for x in TIMES]
        constants += [log_size(x) for x in (num_tensors, np.sum(p * p), p.size)]
        out = network(self.theta["mlp"], features, [*constants, *layer(self.theta["to_mlp"], h)])
        self.said = np.mean(out[:, 2:], axis=0) if p.size else np.zeros(16)
        self.t += 1
        return (-out[:, 0] * np.exp(out[:, 1] * 0.001) * 0.001).reshape(p.shape)


class RNNMLP:
    def __init__(self, theta):
        self.theta, self.loss, self.from_all = theta, Loss(), np.zeros(18)
        self.tensors = [RNNMLPTensor(theta) for _ in SHAPES]

    def step(self, grads, params, loss):
        leaves = list(zip(self.tensors, grads, params, strict=True))
        loss = self.loss(loss)
        hs = [t.listen(g, p, loss, self.from_all) for t, g, p in leaves]
        self.from_all = np.mean([layer(self.theta["to_tensors"], h) for h in hs], axis=0)
        return [t.step(g, p, h, len(hs)) for (t, g, p), h in zip(leaves, hs, strict=True)]


class VeLOTensor:
    def __init__(self, theta):
        self.theta, self.lstm = theta, LSTM(theta["lstm"], 64)
        self.m, self.v = [0.0] * 3, 0.0
        self.row, self.col = [0.0] * 3, [0.0] * 3

    def look(self, g, p):
        """The statistics of one tensor."""
        self.m = [d * m + (1 - d) * g for d, m in zip([0.9, 0.99, 0.999], self.m, strict=True)]
        self.v = 0.999 * self.v + 0.001 * g * g
        sizes = [log_size(mean(np.square(m / rms(p)))) for m in self.m]
        rank = sum(n > 1 for n in p.shape)
        return np.array([*sizes, *statistics(self.v / rms(p) ** 2), *(rank == i for i in range(5))])

    def step(self, g, p, x):
        control = layer(self.theta["controls"], self.lstm(x))
        bank, net = self.theta["bank"], {}
        for name, weights in bank.items():
            parts = [c * w for c, w in zip(control[:-1], weights, strict=True)]
            net[name] = 6.25 / np.sqrt(len(parts)) * sum(parts)
        r = 1 / np.sqrt(self.v + 1e-6)
        features = [g, p, *self.m, self.v, *(m * r for m in self.m), r]
        features += self.factored(g) if g.ndim > 1 else self.full(g)
        features += [np.clip(g, -0.1, 0.1), g * r]
        out = network(net, features) if p.size else np.zeros((0, 2))
        step = -out[:, 0] * np.exp(out[:, 1] * 0.001) * 0.001
        return control[-1] * rms(p) * step.reshape(p.shape)

    def full(self, g):
        pairs = zip([0.9, 0.99, 0.999], self.row, strict=True)
        v = self.row = [d * x + (1 - d) * (g * g + 1e-30) for d, x in pairs]
        roots = [1 / np.sqrt(x + 1e-8) for x in v]
        by_v = [m / np.sqrt(x + 1e-6) for m, x in zip(self.m, v, strict=True)]
        return [*(g / np.sqrt(x + 1e-9) for x in v), *v, *v, *roots, *roots, *by_v]

    def factored(self, g):
        if not g.size:
            return []
        axes = [axis for _, axis in sorted((n, axis) for axis, n in enumerate(g.shape))]
        rows, cols, by = [], [], []
        for i, d in enumerate([0.9, 0.99, 0.999]):
            across = np.mean(g * g + 1e-30, axis=axes[-1], keepdims=True)
            down = np.mean(g * g + 1e-30, axis=axes[-2], keepdims=True)
            row = self.row[i] = d * self.row[i] + (1 - d) * across
            col = self.col[i] = d * self.col[i] + (1 - d) * down
            part = row / (np.mean(row, axis=axes[-2], keepdims=True) + 1e-9)
            by.append(1 / np.sqrt(np.maximum(part, 1e-9)) / np.sqrt(np.maximum(col, 1e-9)))
            rows.append(row + 0 * g)
            cols.append(col + 0 * g)
        roots = [1 / np.sqrt(x + 1e-8) for x in (*rows, *cols)]
        by_momentum = [m * b for m, b in zip(self.m, by, strict=True)]
        return [*(g * b for b in by), *rows, *cols, *roots, *by_momentum]


class VeLO:
    def __init__(self, theta):
        self.theta, self.loss, self.t = theta, Loss(), 0
        self.tensors = [VeLOTensor(theta) for _ in SHAPES]

    def step(self, grads, params, loss):
        leaves = list(zip(self.tensors, grads, params, strict=True))
        places = [0.03, 0.1, 0.2, 0.4, 0.6, 0.8, 0.9, 1.0, 1.1]
        shared = [np.tanh(10 * (self.t / HORIZON - x)) for x in places] + self.loss(loss)
        self.t += 1
        rows = [np.array([*t.look(g, p), *shared]) for t, g, p in leaves]
        heard = np.max([np.maximum(layer(self.theta["shared"], x), 0) for x in rows], axis=0)
        inputs = [layer(self.theta["own"], x) + heard for x in rows]
        return [t.step(g, p, x) for (t, g, p), x in zip(leaves, inputs, strict=True)]


REFERENCES = {"nn_adam": NNAdam, "rnn_mlp": RNNMLP, "velo": VeLO}
TOLERANCES = {
    # Measured 3e-7: a handful of roundings of 6e-8 each.
    "nn_adam": 1e-6,
    # Measured 4e-6, of a tensor of one element, and 1.1e-6 of others. Where |p| is close to one,
    # log|p| has few digits, and to divide it by its own size over the tensor brings them forward.
    "rnn_mlp": 1e-5,
    # Measured 1e-6: sums of some 30 products that cancel in part, as in ``mlp``.
    "velo": 3e-6,
}


def draw_theta(rule):
    """Every meta-parameter away from its initial value."""
    rng = np.random.default_rng(0)
    theta = jax.tree.map(
        lambda x: x + (0.02 * rng.normal(size=x.shape)).astype(np.float32),
        jax.jit(rule.init)(jax.random.key(1)),
    )
    return theta, jax.tree.map(lambda x: np.asarray(x, np.float64), theta)


def draw_gradients(kind, rng):
    scales = {"random": 1.0, "zeros": 0.0, "tiny": 1e-20, "huge": 1e20, "small": 1e-4}
    scale = np.full(STEPS, scales.get(kind, 1.0))
    if kind == "mixed":
        scale = 10.0 ** rng.integers(-12, 7, STEPS)
        scale[::7] = 0
    return [
        (rng.normal(size=(STEPS, *s)) * scale.reshape(-1, *[1] * len(s))).astype(np.float32)
        for s in SHAPES.values()
    ]


def draw_losses(kind, rng):
    losses = (2 * np.exp(-np.arange(STEPS) / 20) + 0.3 * rng.normal(size=STEPS)).astype(np.float32)
    if kind == "mixed":
        losses[[4, 9]] = np.nan, np.inf
    return losses


@pytest.fixture(scope="module", params=REFERENCES)
def rule(request):
    """Name, theta in float64, and a program that returns all steps of a training."""
    theta, theta64 = draw_theta(lopt.LOPTS[request.param]())
    tx = lopt.LOPTS[request.param]().bind(theta, HORIZON)

    def body(state, inputs):
        grads, params, loss = inputs
        steps, state = tx.update(grads, state, params, value=loss)
        return state, steps

    def run(grads, params, losses):
        first = [p[0] for p in params]
        return jax.lax.scan(body, tx.init(first), (grads, params, losses))[1]

    return request.param, theta64, jax.jit(run)


@pytest.mark.parametrize("kind", KINDS)
def test_steps(rule, kind):
    name, theta64, run = rule
    rng = np.random.default_rng(2)
    grads, losses = draw_gradients(kind, rng), draw_losses(kind, rng)
    params = [rng.normal(size=(STEPS, *s)).astype(np.float32) for s in SHAPES.values()]
    actual = run(grads, params, losses)
    model = REFERENCES[name](theta64)
    expected = []
    for t in range(STEPS):
        clipped = [np.clip(g[t].astype(float), -1e3, 1e3) for g in grads]
        expected.append(model.step(clipped, [p[t].astype(float) for p in params], losses[t]))
    for i, shape in enumerate(SHAPES.values()):
        wanted = np.stack([steps[i] for steps in expected])
        assert actual[i].shape == (STEPS, *shape)
        size = np.max(np.abs(wanted), initial=0.0)
        np.testing.assert_allclose(actual[i], wanted, rtol=0, atol=TOLERANCES[name] * size)
