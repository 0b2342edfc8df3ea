"""Imported theta takes the steps of the framework that wrote it."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lopt import published
from tests.lopt.test_reference import REFERENCES

STEPS = 100
SHAPES = {"tall": (12, 5), "wide": (4, 9), "window": (3, 2, 6, 5), "bias": (7,), "scalar": ()}
CELO2 = "ff_mod_stack/~/"


def draw(*shape):
    """Weights of the size that a network has at first."""
    rng = np.random.default_rng(sum(shape) + len(shape))
    return np.float32(rng.normal(size=shape) / np.sqrt(max(shape[0], 1)))


def celo2_file(width=8):
    pieces = {f"{CELO2}w0__{i}": draw(rows, width) for i, rows in enumerate(published.PIECES)}
    return {
        **pieces,
        f"{CELO2}b0": draw(width),
        f"{CELO2}w1": draw(width, width),
        f"{CELO2}b1": draw(width),
        f"{CELO2}w2": draw(width, 3),
        f"{CELO2}b2": draw(3),
    }


def other_file(name):
    widths = (39, 4, 4, 2) if name == "adafac_mlp" else (19, 32, 32, 2)
    of_layer = "nn/~/{0}{1}" if name == "adafac_mlp" else "mlp/~/linear_{1}/{0}"
    found = {}
    for i in range(3):
        found[of_layer.format("w", i)] = draw(*widths[i : i + 2])
        found[of_layer.format("b", i)] = draw(widths[i + 1])
    decays = {"momentum_decays": 3, "rms_decays": 1, "adafactor_decays": 3}
    offsets = {key: 0.02 * draw(n) for key, n in decays.items()}
    return found | (offsets if name == "adafac_mlp" else {})


@functools.cache
def recorded(shape):
    """Parameters and gradients of 100 steps, of sizes that change and with one beyond the clip."""
    rng = np.random.default_rng(len(shape))
    scales = 10.0 ** rng.uniform(-3, 1, size=(STEPS, *[1] * len(shape)))
    scales[7] = 1e4
    grads = np.float32(scales * rng.normal(size=(STEPS, *shape)))
    return np.float32(rng.normal(size=(STEPS, *shape))), grads


def steps_here(name, arrays, shape):
    rule, theta = published.convert(name, arrays)
    tx = rule.bind(jax.tree.map(jnp.asarray, theta))

    def body(state, inputs):
        steps, state = tx.update(inputs[1], state, inputs[0])
        return state, steps

    def unroll(params, grads):
        return jax.lax.scan(body, tx.init(params[0]), (params, grads))[1]

    return np.asarray(jax.jit(unroll)(*recorded(shape)))


class Celo2:
    """Celo2 in float64 numpy, from the names and pieces in the file: one tensor."""

    momentum_decays = factor_decays = (0.9, 0.99, 0.999)

    def __init__(self, arrays, shape, *, orthogonal):
        self.net = {key.removeprefix(CELO2): x.astype(float) for key, x in arrays.items()}
        self.shape, self.orthogonal = shape, orthogonal
        self.m, self.v = np.zeros((*shape, 3)), np.zeros(shape)
        self.full = np.zeros((*shape, 3))
        if len(shape) > 1:
            by_size = np.argsort(shape, kind="stable")
            self.longest, self.second = by_size[-1], by_size[-2]
            self.row, self.col = 0.0, 0.0  # broadcast at the first step

    def step(self, p, g):
        g = np.clip(g, -1000, 1000)
        self.m = self.m * self.momentum_decays + g[..., None] * (1 - np.array([0.9, 0.99, 0.999]))
        self.v = 0.95 * self.v + 0.05 * g * g
        scale = (self.v + 1e-8) ** -0.5
        if self.orthogonal and g.ndim < 2:
            return -0.001 * 20 * self.m[..., 0] * scale
        groups = self._groups(p, g, scale[..., None])
        axes = tuple(range(g.ndim))[-2:]
        units = self.net["b0"]
        for i, x in enumerate(groups):
            rms = np.sqrt(1e-9 + np.mean(x * x, axis=axes, keepdims=True))
            units = units + x / rms @ self.net[f"w0__{i}"]
        for i in (1, 2):
            units = np.maximum(units, 0) @ self.net[f"w{i}"] + self.net[f"b{i}"]
        u = units[..., 0]
        u = newton_schulz(u) if self.orthogonal else u
        return -0.001 * u / np.sqrt(1e-9 + np.mean(u * u, axis=axes, keepdims=True))

    def _groups(self, p, g, scale):
        each, m = g[..., None], self.m
        shared = [each, np.clip(each, -0.1, 0.1), p[..., None], m, self.v[..., None], m * scale]
        square, keep = each * each + 1e-30, np.array(self.factor_decays)
        if g.ndim < 2:
            self.full = keep * self.full + (1 - keep) * square
            return [*shared, scale, each * (self.full + 1e-9) ** -0.5, each * scale]
        self.row = keep * self.row + (1 - keep) * square.mean(axis=self.longest, keepdims=True)
        self.col = keep * self.col + (1 - keep) * square.mean(axis=self.second, keepdims=True)
        relative = self.row / (self.row.mean(axis=self.second, keepdims=True) + 1e-9)
        factor = np.maximum(relative, 1e-9) ** -0.5 * np.maximum(self.col, 1e-9) ** -0.5
        row, col = (np.broadcast_to(x, (*self.shape, 3)) for x in (self.row, self.col))
        roots = ((x + 1e-8) ** -0.5 for x in (row, col))
        return [*shared, scale, each * factor, each * scale, row, col, *roots, m * factor]


def newton_schulz(x):
    is_tall = x.shape[-2] > x.shape[-1]
    x = np.swapaxes(x, -2, -1) if is_tall else x
    x = x / (np.linalg.norm(x, axis=(-2, -1), keepdims=True) + 1e-8)
    for _ in range(5):
        gram = x @ np.swapaxes(x, -2, -1)
        x = 3.4445 * x + (-4.7750 * gram + 2.0315 * gram @ gram) @ x
    return np.swapaxes(x, -2, -1) if is_tall else x


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("name", ["celo2", "celo2_base"])
def test_celo2(name, shape):
    arrays, (params, grads) = celo2_file(), recorded(shape)
    reference = Celo2(arrays, shape, orthogonal=name == "celo2")
    pairs = zip(params.astype(float), grads.astype(float), strict=True)
    expected = np.stack([reference.step(p, g) for p, g in pairs])
    found = steps_here(name, arrays, shape)
    assert np.max(np.abs(found - expected)) <= 1e-5 * np.max(np.abs(expected))


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("name", ["mlp", "adafac_mlp"])
def test_learned_optimization(name, shape):
    arrays, (params, grads) = other_file(name), recorded(shape)
    of_layer = "nn/~/{0}{1}" if name == "adafac_mlp" else "mlp/~/linear_{1}/{0}"
    net = {f"{kind}{i}": arrays[of_layer.format(kind, i)] for kind in "wb" for i in range(3)}
    theta = {"mlp": net} | {key: x for key, x in arrays.items() if "/" not in key}
    reference = REFERENCES[name](jax.tree.map(lambda x: x.astype(float), theta))
    pairs = zip(params.astype(float), grads.astype(float), strict=True)
    expected = np.stack([reference.step(g, p) for p, g in pairs])
    found = steps_here(name, arrays, shape)
    assert np.max(np.abs(found - expected)) <= 1e-5 * np.max(np.abs(expected))


def test_hidden_widths_are_those_of_the_file():
    rule, theta = published.convert("celo2", celo2_file(width=5))
    assert rule.hidden == (5, 5)
    assert theta["mlp"]["w0"].shape == (30, 5)
    np.testing.assert_array_equal(theta["mlp"]["w0"][3:6], celo2_file(width=5)[f"{CELO2}w0__3"])


def test_what_does_not_fit_is_refused_with_the_reason():
    good = celo2_file()
    bad = {
        "'ff_mod_stack/~/w0__13' is missing, but should be float32 \\[3, 8\\]": {"w0__13": None},
        "'ff_mod_stack/~/w0__14' is float32 \\[3, 8\\], but should be absent": {
            "w0__14": draw(3, 8)
        },
        "w0__3' is float32 \\[1, 3, 8\\], but": {"w0__3": draw(1, 3, 8)},
        "w1' is float64 \\[8, 8\\], but": {"w1": np.ones((8, 8))},
        "w2' is float32 \\[8, 2\\], but should be float32 \\[8, 3\\]": {"w2": draw(8, 2)},
        "b0' is float32 \\[\\], but": {"b0": np.float32(0)},
        "b0' is missing; it holds": {"b0": None},
        "b1' is missing; it holds": {"b1": None},
    }
    for message, change in bad.items():
        changed = good | {CELO2 + key: x for key, x in change.items()}
        arrays = {key: x for key, x in changed.items() if x is not None}
        with pytest.raises(ValueError, match=message):
            published.convert("celo2", arrays)


def test_rules_that_cannot_be_imported():
    for name in published.REFUSED:
        with pytest.raises(ValueError, match="cannot be imported"):
            published.convert(name, {})
    with pytest.raises(ValueError, match="did you mean 'adafac_mlp'"):
        published.convert("adafac_mlpp", {})
    assert not published.REFUSED.keys() & published.LAYOUTS.keys()
