"""Every estimator against the formula of its docstring, in NumPy, on a small recurrent net.

Derivatives are those of the net's equations by hand, everything is in float64; random draws alone
come from the keys that the estimators use.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

from meta_train import ESTIMATORS, ConstantHorizon
from meta_train.estimators.clocks import group_keys
from meta_train.estimators.uoro import _SIGNS
from tests.meta_train.test_forward import THETA, K, RecurrentNet, T

UNITS, STD, GROUPS = 3, 0.1, 2
WINDOWS = [range(first, min(first + K, T)) for first in range(0, T, K)]
INPUTS = np.sin(np.arange(T + 1.0))
FLAT = np.concatenate([THETA[name].ravel() for name in sorted(THETA)])


def split(flat):
    return flat[:UNITS], flat[UNITS:-UNITS].reshape(UNITS, UNITS), flat[-UNITS:]


def step(flat, units, t):
    """The next units and the loss; derivatives of both by the units and by theta."""
    inward, recurrent, _ = split(flat)
    after = np.tanh(recurrent @ units + inward * INPUTS[t])
    slope = np.diag(1 - after**2)
    by_weights = np.einsum("ij,k->ijk", np.eye(UNITS), units).reshape(UNITS, -1)
    by_theta = slope @ np.hstack([np.eye(UNITS) * INPUTS[t], by_weights, np.zeros((UNITS, UNITS))])
    error = after.sum() - INPUTS[t + 1]
    of_loss = 2 * error * np.ones(UNITS)
    by_units = slope @ recurrent
    return after, error**2, (by_units, by_theta), (of_loss @ by_units, of_loss @ by_theta)


def start_influence():
    return np.hstack([np.zeros((UNITS, FLAT.size - UNITS)), np.eye(UNITS)])


def run(flat, units, window):
    """Units after a window, and the sum of its losses."""
    total = 0.0
    for t in window:
        units, loss, *_ = step(flat, units, t)
        total += loss
    return units, total


def differentiated(units, influence, window):
    """The same at theta, with ds/dtheta carried along; and the gradient of the sum."""
    grad = np.zeros(FLAT.size)
    for t in window:
        units, _, (by_units, by_theta), (loss_by_units, loss_by_theta) = step(FLAT, units, t)
        grad += loss_by_units @ influence + loss_by_theta
        influence = by_units @ influence + by_theta
    return units, influence, grad


def normals(keys):
    return [np.asarray(jax.random.normal(k.perturbation, FLAT.shape)) for k in keys]


def evolution(keys, fresh_at, xi_of):
    """Antithetic pairs with a new perturbation in the windows ``fresh_at``."""
    drawn = [STD * x for x in normals(keys)]
    eps, xi, states = np.zeros(FLAT.size), np.zeros(FLAT.size), None
    for i, window in enumerate(WINDOWS):
        if i in fresh_at:
            eps = drawn[i]
            xi = xi_of(xi, eps)
        thetas = FLAT + eps, FLAT - eps
        states = states or [split(theta)[2] for theta in thetas]
        ends = [run(theta, units, window) for theta, units in zip(thetas, states, strict=True)]
        states = [units for units, _ in ends]
        yield xi, eps, ends[0][1] - ends[1][1]


def slopes(keys, fresh_at):
    return [
        xi * difference / (2 * STD**2)
        for xi, _, difference in evolution(keys, fresh_at, lambda xi, eps: xi + eps)
    ]


def es(keys):
    grads = []
    for eps in normals(keys):
        above, below = (
            run(theta, split(theta)[2], range(T))[1]
            for theta in (FLAT + STD * eps, FLAT - STD * eps)
        )
        grads.append(STD * eps * (above - below) / (2 * STD**2) / len(WINDOWS))
    return grads


def truncated_es(keys):
    units, grads = split(FLAT)[2], []
    for eps, window in zip(normals(keys), WINDOWS, strict=True):
        above, below = (run(FLAT + sign * STD * eps, units, window)[1] for sign in (1, -1))
        grads.append(STD * eps * (above - below) / (2 * STD**2))
        units, _ = run(FLAT, units, window)
    return grads


def derivatives(forget):
    units, influence, grads = split(FLAT)[2], start_influence(), []
    for window in WINDOWS:
        units, influence, grad = differentiated(units, influence, window)
        grads.append(grad)
        influence = influence * (not forget)
    return grads


def pes_analytic(keys):
    known = derivatives(forget=True)
    found = evolution(keys, range(len(WINDOWS)), lambda xi, eps: xi + eps)
    return [
        p + xi * (difference / 2 - eps @ p) / STD**2
        for p, (xi, eps, difference) in zip(known, found, strict=True)
    ]


def uoro(keys):
    def signs(key):
        return np.asarray(jax.random.rademacher(jax.random.fold_in(key, _SIGNS), (UNITS,), float))

    def add(left, right, nu, by_nu):
        def balance(left, right):
            return np.sqrt((np.linalg.norm(right) + 1e-7) / (np.linalg.norm(left) + 1e-7))

        old, new = balance(left, right), balance(nu, by_nu)
        return old * left + new * nu, right / old + by_nu / new

    nu, units, grads = signs(keys[0].init), split(FLAT)[2], []
    left, right = add(np.zeros(UNITS), np.zeros(FLAT.size), nu, nu @ start_influence())
    for key, window in zip(keys, WINDOWS, strict=True):
        grad = np.zeros(FLAT.size)
        for t in window:
            nu = signs(jax.random.fold_in(key.unroll, t))
            units, _, (by_units, by_theta), (of_units, of_theta) = step(FLAT, units, t)
            grad += (of_units @ left) * right + of_theta
            left, right = add(by_units @ left, right, nu, nu @ by_theta)
        grads.append(grad)
    return grads


def dodge(keys):
    direction = normals(keys)[0]
    return [(grad @ direction) * direction for grad in derivatives(forget=False)]


EVERY = range(len(WINDOWS))
BY_DERIVATIVES = {"std": 0.0, "num_particles": GROUPS}
CASES = {
    "pes": (lambda keys: slopes(keys, EVERY), {}),
    "nres": (lambda keys: slopes(keys, [0]), {}),
    "gpes": (lambda keys: slopes(keys, [0, 2]), {"perturbation_length": 2 * K}),
    "pes_analytic": (pes_analytic, {}),
    "es": (es, {}),
    "truncated_es": (truncated_es, {}),
    "bptt": (lambda keys: [sum(derivatives(forget=False)) / len(WINDOWS)] * 3, BY_DERIVATIVES),
    "truncated_bptt": (lambda keys: derivatives(forget=True), BY_DERIVATIVES),
    "rtrl": (lambda keys: derivatives(forget=False), BY_DERIVATIVES),
    "ok": (lambda keys: derivatives(forget=False), BY_DERIVATIVES | {"rank": UNITS}),
    "uoro": (uoro, BY_DERIVATIVES),
    "dodge": (dodge, BY_DERIVATIVES),
}


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=() if name in ("uoro", "ok") else pytest.mark.slow)
        for name in ESTIMATORS
    ],
)
def test_it_is_its_formula(name):
    reference, fields = CASES[name]
    fields = {"num_pairs": GROUPS, "std": STD} | fields
    if name not in ("es", "bptt"):
        fields["staggered"] = False
    estimator = ESTIMATORS[name](ConstantHorizon(T), K, **fields)
    with jax.enable_x64(True):
        keys = [jax.random.fold_in(jax.random.key(0), i) for i in EVERY]
        theta = jax.tree.map(lambda x: jnp.asarray(x, jnp.float64), THETA)
        system = RecurrentNet(jnp.asarray(INPUTS))
        estimate = jax.jit(lambda key, state: estimator.estimate(system, key, theta, state))
        state, found = estimator.init(system, jax.random.key(1), theta), []
        for key in keys:
            result, state = estimate(key, state)
            found.append(ravel_pytree(result.grad)[0])
        groups = [reference([group_keys(key, i) for key in keys]) for i in range(GROUPS)]
    # One truncation's sum, times their number over T. What an inner step weighs is a float32.
    expected = np.mean(groups, axis=0) * len(WINDOWS) / T
    np.testing.assert_allclose(found, expected, rtol=2e-7, atol=1e-12)
