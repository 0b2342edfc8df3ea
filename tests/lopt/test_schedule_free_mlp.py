"""``schedule_free_mlp`` against numpy and Optax, its symmetries, and the average to judge."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import lopt
from lopt import loss_features, whitening

STEPS, HORIZON = 12, 10
SHAPES = {"matrix": (6, 4), "large": (40, 20), "kernel": (3, 2, 5), "vector": (7,), "scalar": ()}
LOSSES = np.float32([2.0, 1.9, 1.5, 1.6, 1.2, 1.0, 1.1, 0.9, 0.8, 0.9, 0.7, 0.6])
Rule = lopt.LOPTS["schedule_free_mlp"]


def draw(scale=1.0, seed=0):
    """Parameters, and gradients of every step with some coordinates that never move."""
    normal = np.random.default_rng(seed).normal
    params = {k: np.float32(0.3 * normal(size=s)) for k, s in SHAPES.items()}
    grads = {k: np.float32(scale * normal(0.3, 1.0, (STEPS, *s))) for k, s in SHAPES.items()}
    grads["matrix"][:, 2] = 0.0
    return params, grads


def draw_theta(rule, std=0.05):
    normal = np.random.default_rng(1).normal
    theta = jax.device_get(jax.jit(rule.init)(jax.random.key(0)))
    return jax.tree.map(lambda x: x + np.float32(normal(0, std, x.shape)), theta)


@functools.partial(jax.jit, static_argnums=0)
def unroll(make, params, grads, *theta):
    """Steps, parameters and averages after every step of given gradients by ``make(*theta)``."""
    tx = optax.with_extra_args_support(make(*theta))

    def body(carry, inputs):
        params, state = carry
        grads, value = inputs
        steps, state = tx.update(grads, state, params, value=value)
        params = optax.apply_updates(params, steps)
        return (params, state), (steps, params, lopt.evaluation_params(state, params))

    return jax.lax.scan(body, (params, tx.init(params)), (grads, LOSSES))[1]


@functools.cache
def bound(rule):
    """One function for each rule, so that its program is compiled once."""
    return lambda theta: rule.bind(theta, HORIZON)


def assert_close(found, expected, tolerance):
    """Within a fraction of the largest element."""
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=tolerance * np.max(np.abs(b)))


def rms(x):
    return np.sqrt(np.mean(np.square(x)))


@functools.cache
def features_of_loss():
    def body(averages, value):
        averages = loss_features.update(averages, value)
        return averages, loss_features.features(averages)

    found = jax.jit(lambda: jax.lax.scan(body, loss_features.init(), LOSSES)[1])()
    return np.asarray(found, np.float64)


def mlp(net, inputs):
    for layer in range(len(net) // 2):
        inputs = np.maximum(inputs, 0) if layer else inputs
        inputs = inputs @ net[f"w{layer}"] + net[f"b{layer}"]
    return inputs[..., 0]


class Whitening:
    """The whitening as in its docstring, in float64, of a tensor without long axes."""

    def __init__(self, shape):
        small = np.prod(shape[:-1]) <= 64
        self.shape = (int(np.prod(shape[:-1])), shape[-1]) if len(shape) > 1 and small else shape
        sides = self.shape if len(shape) > 1 else ()
        self.covariances = [np.zeros((n, n)) for n in sides]
        self.bases = [np.eye(n) for n in sides]

    def __call__(self, g, damping):
        white = folded = g.reshape(self.shape)
        for axis, basis in enumerate(self.bases):
            rows = np.moveaxis(folded, axis, 0).reshape(len(basis), -1)
            rows = rows[:, :: max(folded.size // len(basis) ** 2, 1)]
            gram = rows @ rows.T / rows.shape[1]
            self.covariances[axis] = 0.99 * self.covariances[axis] + 0.01 * gram
            relative = self.covariances[axis] / np.mean(np.diag(self.covariances[axis]))
            turned = basis.T @ relative @ basis
            diagonal = np.diag(turned)
            root = basis @ np.diag((diagonal + damping) ** -0.5) @ basis.T
            white = np.moveaxis(np.tensordot(root, white, axes=(1, axis)), 0, axis)
            gaps = diagonal[None] - diagonal[:, None]
            turns = turned * gaps / (gaps**2 + 2 * turned**2 + 1e-30)
            basis = basis + basis @ turns * min(0.7 / np.abs(turns).sum(1).max(), 1.0)
            self.bases[axis] = 1.5 * basis - 0.5 * basis @ basis.T @ basis
        return white.reshape(g.shape)


def reference(theta, y, grads, num_params):
    """x, y and z as in the docstring, one tensor in float64; y and x after every step."""
    theta = jax.tree.map(lambda x: np.asarray(x, np.float64), theta)
    own = {k: 5 * v for k, v in theta["scalars"].items()}
    beta = 1 / (1 + np.exp(-(np.log(4) + own["beta"])))
    x = z = y = np.asarray(y, np.float64)
    v, whiten = np.zeros_like(y), Whitening(y.shape)
    mean = 0.0
    path = total = searched = 0.0
    for t, (g, loss) in enumerate(zip(np.asarray(grads, np.float64), features_of_loss())):  # noqa: B905
        agree = rms(z - x) / path if path > 1e-12 else 1.0
        size, progress = np.sqrt(rms(x) ** 2 + 1e-8), min(t / HORIZON, 1.0)
        fan_in = np.prod(y.shape[:-1]) if y.ndim > 1 else 32
        f = [float(y.ndim < 2), 0.3 * np.log(fan_in / 32), 0.15 * (np.log(y.size) - 6)]
        f += [0.3 * (np.log(size) + 2), 0.3 * (1 + np.log(agree)), 0.3 * searched]
        f += [0.15 * (np.log(num_params) - 8)]
        f += [0.5 * np.log(1.02 - progress), *(0.5 * loss[1:])]
        factor = np.exp(np.clip(own["step_size"] @ [1.0, *f], -4, 4))
        white = whiten(g, 3e-3 * np.exp(own["damping"]))
        mean = mean + max(0.001, 1 / (t + 1)) * (rms(white) ** 2 - mean)
        v = 0.999 * v + 0.001 * white**2
        c = v / (1 - 0.999 ** (t + 1))
        s = 1 / np.sqrt(c + 1e-12 * mean)
        d, lead = white * s, y - x
        limit = max(4, 2 * np.sqrt(fan_in) * size)
        searched = min(searched, np.log(limit / (rms(d) * factor + 1e-30)))
        warm = 1 - np.exp(-(t + 1) / (2 * np.exp(own["warmup_steps"])))
        eta = 0.046 * warm * np.exp(searched) * factor / max(fan_in / 32, 1)
        over_lead = 1 / np.hypot(rms(lead), 1e-3 * (1 - beta) * eta)
        cosine = np.clip(np.mean(d * lead) * over_lead, -1, 1)
        gain = 0.3 * np.exp(own["gain"]) + 1.5 * np.exp(own["early_gain"]) / (t + 1)
        searched -= gain * cosine * np.exp(own["tilt"]) ** (1 if cosine < 0 else -1)
        searched = np.clip(searched, -6, 6)
        if "network" in theta:
            per = [
                d,
                white / np.sqrt(mean),
                c * s / np.sqrt(mean),
                lead * over_lead,
                x / size,
            ]
            inputs = np.stack([*per, *(np.full_like(y, k) for k in f)], axis=-1)
            d = d + rms(d) * 3 * np.tanh(mlp(theta["network"], inputs) / 3)
        z = z - eta * (d + 3e-3 * np.exp(own["weight_decay"]) * y)
        weight = (t + 1) ** own["weight_power"] * warm**2
        total += weight
        mix = weight / total
        x, path = (1 - mix) * x + mix * z, (1 - mix) * (path + eta)
        y = beta * x + (1 - beta) * z
        yield y, x


@pytest.mark.parametrize("hidden", [(), pytest.param((8, 8), marks=pytest.mark.slow), (9,)])
@pytest.mark.parametrize("longer", [1, pytest.param(30, id="too_long_steps")])
def test_against_numpy(hidden, longer):
    rule = Rule(hidden=hidden)
    theta = draw_theta(rule)
    scalars = theta["scalars"]
    scalars["step_size"][0] += np.log(longer) / 5
    params, grads = draw()
    _, found, averages = unroll(bound(rule), params, grads, theta)
    num_params = sum(x.size for x in params.values())
    for name, start in params.items():
        curves = reference(theta, start, grads[name], num_params)
        expected = [np.stack(x) for x in zip(*curves, strict=True)]
        moved = np.max(np.abs(expected[0] - start))
        for ours, theirs in zip((found[name], averages[name]), expected, strict=True):
            np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-4 * moved)


def test_first_theta_is_schedule_free_adamw_where_nothing_is_whitened(monkeypatch):
    """That of Optax, whose warm-up is another: here there is none; for up to 32 inputs.

    Nor is the step size searched for.
    """
    monkeypatch.setattr(whitening, "MAX_SIDE", 1)
    still = {"gain": 1e-9, "early_gain": 1e-9}
    rule = Rule(learning_rate=0.03, beta=0.8, warmup_steps=1e-3, weight_decay=0.1, **still)
    theta = rule.init(jax.random.key(0))
    adamw = optax.adamw(0.03, b1=0.0, eps=1e-12, weight_decay=0.1)
    params, grads = ({k: v for k, v in x.items() if k != "large"} for x in draw())
    theirs = unroll(lambda: optax.contrib.schedule_free(adamw, 0.03, b1=0.8), params, grads)
    assert_close(unroll(lambda: rule.bind(theta, HORIZON), params, grads), theirs, 2e-5)


def test_whitening_of_gradients_with_known_covariance():
    """Rows and columns of D are uncorrelated in the end, however they were mixed."""
    normal = np.random.default_rng(3).normal
    left, right = np.diag(2.0 ** np.arange(6)), np.diag(3.0 ** np.arange(4))
    left, right = left + normal(size=(6, 6)), right + normal(size=(4, 4))
    grads = np.float32(left @ normal(size=(1500, 6, 4)) @ right)

    def body(sides, inputs):
        grad, time = inputs
        correction = -1.0 / jnp.expm1((time + 1.0) * jnp.log(whitening.DECAY))
        white, sides = whitening.whiten(grad, sides, jnp.float32(1e-5), correction)
        return sides, white

    times = jnp.arange(len(grads), dtype=jnp.float32)
    first = whitening.init(grads[0])
    white = np.asarray(jax.jit(lambda: jax.lax.scan(body, first, (grads, times))[1])())[500:]
    for mixed, even in ((grads[500:], white), (grads[500:].swapaxes(1, 2), white.swapaxes(1, 2))):
        condition = [np.linalg.cond(np.mean(x @ x.swapaxes(1, 2), axis=0)) for x in (mixed, even)]
        assert condition[0] > 100
        assert condition[1] < 1.6


@pytest.mark.parametrize(
    "factor", [1e-10, *(pytest.param(x, marks=pytest.mark.slow) for x in (1e-6, 1e6)), 1e10]
)
def test_gradients_in_another_unit(factor):
    rule = Rule()
    theta, (params, grads) = draw_theta(rule), draw()
    scaled = {k: np.float32(factor) * g for k, g in grads.items()}
    run = functools.partial(unroll, bound(rule), params)
    assert_close(run(scaled, theta), run(grads, theta), 1e-5)


def test_factor_on_the_steps_is_one_on_the_learning_rate():
    params, grads = draw()
    theta, rate = Rule().init(jax.random.key(0)), Rule().learning_rate
    whole = unroll(bound(Rule()), params, grads, theta)
    tx = Rule(learning_rate=rate / 2).bind(theta, HORIZON)
    doubled = lopt.with_options(tx, learning_rate_multiplier=2.0)
    assert_close(unroll(lambda: doubled, params, grads)[:2], whole[:2], 1e-5)


def test_the_network_can_be_left_out_and_added():
    """Its last layer is zero, so that a rule meta-trained without it goes on where it was."""
    alone = draw_theta(Rule(hidden=()))
    both = Rule().init(jax.random.key(0)) | alone
    assert set(alone) == {"scalars"}
    assert sum(x.size for x in jax.tree.leaves(alone)) == 19
    params, grads = draw()
    expected = unroll(bound(Rule(hidden=())), params, grads, alone)
    assert_close(unroll(bound(Rule()), params, grads, both), expected, 1e-5)
    assert np.any(Rule().init(jax.random.key(1))["network"]["w0"] != both["network"]["w0"])


def test_derivatives_where_gradients_vanish():
    """Of whole tensors as of single coordinates, which second moments of zero must not spoil."""
    rule, (params, grads) = Rule(), draw()
    params = {k: params[k] for k in ("matrix", "vector")}

    @jax.jit
    @jax.grad
    def derivative(theta, grads):
        return optax.tree.norm(unroll(bound(rule), params, grads, theta)[2])

    for still in params:
        grads_now = {k: grads[k] * (k != still) for k in params}
        found = jax.tree.leaves(derivative(draw_theta(rule), grads_now))
        assert all(np.all(np.isfinite(x)) and np.max(np.abs(x)) < 1e3 for x in found)
        assert still == "matrix" or all(map(np.any, found))


def test_state_has_two_numbers_per_parameter_and_squares_of_short_sides():
    params, _ = draw()
    params |= {"long": np.zeros((65, 3)), "window": np.zeros((3, 3, 16, 70))}
    state = Rule().bind(Rule().init(jax.random.key(0)), HORIZON).init(params)
    kept = (state.second_moment, state.lead)
    size = sum(p.size for p in params.values())
    assert sum(x.size for x in jax.tree.leaves(kept)) == 2 * size
    sides = [6, 4, 40, 20, 6, 5, 3, 9, 16]
    assert (
        sum(x.size for x in jax.tree.leaves(state.whitening))
        == 2 * sum(n * n for n in sides) + 2 * 2
    )


def test_state_can_be_donated():
    """No array is in it twice."""
    state = Rule().bind(Rule().init(jax.random.key(0)), HORIZON).init(draw()[0])
    shapes = jax.tree.map(jnp.shape, state)
    assert jax.tree.map(jnp.shape, jax.jit(lambda x: x, donate_argnums=0)(state)) == shapes


def is_matrix(params):
    return jax.tree.map(lambda p: p.ndim > 1, params)


WRAPPERS = {
    "chain": lambda tx: optax.chain(optax.clip(1.0), tx, optax.add_decayed_weights(-1e-3)),
    "options": lambda tx: lopt.with_options(tx, weight_decay=1e-3),
    "masked": lambda tx: optax.masked(tx, is_matrix),
    "partition": lambda tx: optax.partition(
        {"x": tx, "y": optax.sgd(0.1)}, lambda p: jax.tree.map(lambda x: "yx"[x.ndim > 1], p)
    ),
    "MultiSteps": lambda tx: optax.MultiSteps(tx, 2).gradient_transformation(),
    "apply_if_finite": lambda tx: optax.apply_if_finite(tx, 3),
    "inject": lambda tx: optax.inject_hyperparams(lambda clip: optax.chain(optax.clip(clip), tx))(
        clip=0.5
    ),
}
KINDS = {
    "ours": lambda: Rule().bind(Rule().init(jax.random.key(0)), HORIZON),
    "optax": lambda: optax.contrib.schedule_free(optax.sgd(0.1), 0.1),
}


@pytest.mark.parametrize("kind", ["ours", pytest.param("optax", marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    "wrapper",
    [
        pytest.param(name, marks=() if name in ("chain", "masked", "inject") else pytest.mark.slow)
        for name in WRAPPERS
    ],
)
def test_average_inside_wrappers(wrapper, kind):
    """It is behind the parameters that the rule moves, and the others are as they are."""
    params, grads = draw()
    _, found, averages = unroll(lambda: WRAPPERS[wrapper](KINDS[kind]()), params, grads)
    partly = wrapper in ("masked", "partition")
    for name in SHAPES:
        moved = not partly or len(SHAPES[name]) > 1
        assert np.any(found[name][-1] != averages[name][-1]) == moved
    assert jax.tree.map(jnp.shape, found) == jax.tree.map(jnp.shape, averages)


def test_average_of_other_optimizers_and_dtypes():
    params, _ = draw()
    assert lopt.evaluation_params(optax.adam(0.1).init(params), params) is params
    half = jax.tree.map(lambda p: jnp.asarray(p, jnp.bfloat16), params)
    state = KINDS["ours"]().init(half)
    before = lopt.evaluation_params(state, half)
    assert all(np.all(a == b) for a, b in zip(before.values(), half.values(), strict=True))
    assert {x.dtype for x in before.values()} == {jnp.dtype("bfloat16")}


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"beta": 1.0}, "beta = 1.0 must be above 0 and below 1"),
        ({"learning_rate": 0.0}, "learning_rate = 0.0 must be positive and finite"),
        ({"damping": 0.0}, "damping = 0.0 must be positive"),
        ({"weight_decay": -1.0}, "weight_decay = -1.0 must be positive"),
        ({"warmup_steps": float("inf")}, "warmup_steps = inf must be positive and finite"),
        ({"hidden": (0,)}, "positive integer per hidden layer"),
    ],
)
def test_bad_fields(fields, message):
    with pytest.raises(ValueError, match=message):
        Rule(**fields)
