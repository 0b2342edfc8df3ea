"""``celo2`` and ``celo2_base`` against numpy in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import lopt

STEPS = 6
DECAYS = (0.9, 0.99, 0.999)
SHAPES = [(6, 4), (4, 6), (5, 5), (3, 2, 5), (2, 3, 1, 4), (7,), (), (30, 20)]


def draw(shape):
    normal = np.random.default_rng(0).normal
    grads = normal(size=(STEPS, *shape)) * 10.0 ** normal(size=(STEPS, *shape))
    grads[1] *= 1e4  # some are clipped
    return np.float32(normal(size=(STEPS, *shape))), np.float32(grads)


def draw_theta(rule):
    normal = np.random.default_rng(1).normal
    theta = jax.device_get(jax.jit(rule.init)(jax.random.key(0)))
    return jax.tree.map(lambda x: jnp.asarray(x + np.float32(normal(0, 0.1, x.shape))), theta)


def normalise(x):
    axes = tuple(range(x.ndim))[-2:]
    return x / np.sqrt(1e-9 + np.mean(x**2, axis=axes, keepdims=True))


def rs(x):
    return np.maximum(x, 1e-9) ** -0.5


def orthogonalise(x):
    if x.shape[-2] > x.shape[-1]:
        return np.swapaxes(orthogonalise(np.swapaxes(x, -2, -1)), -2, -1)
    x = x / (np.sqrt(np.sum(x**2, axis=(-2, -1), keepdims=True)) + 1e-8)
    for _ in range(5):
        a = x @ np.swapaxes(x, -2, -1)
        x = 3.4445 * x + (-4.7750 * a + 2.0315 * a @ a) @ x
    return x


def reference(net, params, grads, *, orthogonal):
    """The steps of one tensor, by the formulas of the paper's code."""
    shape = params.shape[1:]
    m, v = [np.zeros(shape)] * 3, np.zeros(shape)
    rows, cols, full = [0.0] * 3, [0.0] * 3, [0.0] * 3
    for p, raw in zip(params.astype(float), grads.astype(float), strict=True):
        g = np.clip(raw, -1000, 1000)
        m = [b * x + (1 - b) * g for b, x in zip(DECAYS, m, strict=True)]
        v = 0.95 * v + 0.05 * g**2
        s = 1 / np.sqrt(v + 1e-8)
        factors, own = [], []
        if len(shape) < 2:
            if orthogonal:
                yield -0.02 * m[0] * s
                continue
            full = [c * x + (1 - c) * (g**2 + 1e-30) for c, x in zip(DECAYS, full, strict=True)]
            factors = [g * rs(x + 1e-9) for x in full]
        else:
            second, largest = np.argsort(shape, kind="stable")[-2:]
            for k, c in enumerate(DECAYS):
                square = g**2 + 1e-30
                rows[k] = c * rows[k] + (1 - c) * np.mean(square, axis=largest, keepdims=True)
                cols[k] = c * cols[k] + (1 - c) * np.mean(square, axis=second, keepdims=True)
            mean = [np.mean(r, axis=second, keepdims=True) for r in rows]
            by = [rs(r / (a + 1e-9)) * rs(q) for r, a, q in zip(rows, mean, cols, strict=True)]
            factors = [g * x for x in by]
            tiled = [np.broadcast_to(x, shape) for x in (*rows, *cols)]
            own = [*tiled, *(1 / np.sqrt(x + 1e-8) for x in tiled)]
            own += [x * y for x, y in zip(m, by, strict=True)]
        features = [g, np.clip(g, -0.1, 0.1), p, *m, v, *(x * s for x in m), s, *factors, g * s]
        x = np.stack([normalise(f) for f in (*features, *own)], axis=-1)
        for layer in range(3):
            w = net[f"w{layer}"][: x.shape[-1]]
            x = np.maximum(x, 0) if layer else x
            x = x @ w + net[f"b{layer}"]
        u = orthogonalise(x[..., 0]) if orthogonal else x[..., 0]
        yield -0.001 * normalise(u)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("name", ["celo2", pytest.param("celo2_base", marks=pytest.mark.slow)])
def test_against_numpy(name, shape):
    rule = lopt.LOPTS[name]()
    theta, (params, grads) = draw_theta(rule), draw(shape)
    tx = rule.bind(theta)

    def body(state, inputs):
        steps, state = tx.update(inputs[0], state, inputs[1])
        return state, steps

    steps = jax.jit(lambda g, p: jax.lax.scan(body, tx.init(p[0]), (g, p))[1])(grads, params)
    net = jax.tree.map(lambda x: np.asarray(x, np.float64), theta["mlp"])
    expected = np.stack(list(reference(net, params, grads, orthogonal=name == "celo2")))
    # Newton-Schulz multiplies the rounding of small singular values by up to 3.4 in each step.
    tolerance = 2e-3 if name == "celo2" and len(shape) > 1 else 1e-5
    np.testing.assert_allclose(steps, expected, rtol=0, atol=tolerance * np.max(np.abs(expected)))


def test_meta_parameters_and_size_of_the_step():
    for name in ("celo2", "celo2_base"):
        rule = lopt.LOPTS[name](learning_rate=0.01)
        theta = draw_theta(rule)
        assert sum(x.size for x in jax.tree.leaves(theta)) == 347
        params, grads = (x[0] for x in draw((8, 3)))
        tx = lopt.with_options(rule.bind(theta), learning_rate_multiplier=0.5)
        steps, _ = jax.jit(tx.update)(grads, tx.init(params), params)
        np.testing.assert_allclose(np.sqrt(np.mean(steps**2)), 0.005, rtol=1e-4)


def test_matrices_become_orthogonal():
    """Singular values near one, each matrix of a stack by itself."""
    from lopt import celo2

    x = np.float32(np.random.default_rng(0).normal(size=(3, 9, 4)))
    values = np.linalg.svd(jax.jit(celo2._orthogonalise)(x), compute_uv=False)
    assert np.all(np.abs(values - 1) < 0.4)


@pytest.mark.parametrize("name", ["celo2", "celo2_base"])
def test_bad_fields(name):
    rule = lopt.LOPTS[name]
    with pytest.raises(ValueError, match=r"learning_rate = -1\.0 must be positive and finite"):
        rule(learning_rate=-1.0)
    with pytest.raises(ValueError, match="integer of at least 2"):
        rule(hidden=(1,))
