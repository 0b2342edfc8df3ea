"""Update kernels compute what ``jax.numpy`` does, and become programs of GPUs and TPUs."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import lopt
from lopt import kernels, pallas
from meta_train.particles import Execution
from tests.lopt.cases import HORIZON, assert_close, draw_theta

RULES = {
    "mlp": {"hidden": (4, 3)},
    "adafac_mlp": {"hidden": (2,)},
    "schedule_free_mlp": {"hidden": (3, 2)},
}
SHAPE = (29, 20)
"""More than 512 parameters, divided by no block of a GPU."""
CALLS = {"gpu": ("cuda", "triton"), "tpu": ("tpu", "tpu_custom_call")}
"""Platform and name of a kernel, by the backend that JAX finds."""


def update_of(name, shape=SHAPE, fields=None):
    """One rule's update as a function of the kernel and theta, and arguments amid a training."""
    rule = lopt.LOPTS[name](**(RULES[name] if fields is None else fields))
    draw = np.random.default_rng(0).normal
    params, grads = ({"w": np.float32(draw(size=shape))} for _ in range(2))
    theta = draw_theta(rule)
    state = jax.tree.map(
        lambda x: np.abs(draw(size=x.shape)).astype(x.dtype),
        jax.eval_shape(rule.bind(theta, HORIZON).init, params),
    )

    def update(kernel, theta, grads, state, params):
        with kernels.update_kernel(kernel):
            return rule.bind(theta, HORIZON).update(grads, state, params, value=jnp.float32(2.0))

    return update, (theta, grads, state, params)


def uses_kernel(function, *args):
    return "pallas_call" in str(jax.make_jaxpr(function)(*args))


@pytest.fixture(params=["tpu", pytest.param("gpu", marks=pytest.mark.slow)])
def interpreted(request, monkeypatch):
    """The layout of a TPU, or that of a GPU with its masks, in the interpreter."""
    target = pallas.TARGETS[request.param]._replace(options={"interpret": True})
    monkeypatch.setitem(pallas.TARGETS, "interpreted", target)
    monkeypatch.setattr(jax, "default_backend", lambda: "interpreted")


@pytest.mark.parametrize("name", RULES)
def test_kernel_agrees_with_jnp(name, interpreted):
    update, args = update_of(name)
    found, expected = (jax.jit(functools.partial(update, x))(*args) for x in ("pallas", "jnp"))
    assert_close(found, expected)


@pytest.mark.parametrize("backend", CALLS)
@pytest.mark.parametrize("name", RULES)
def test_kernels_of_particles_are_lowered(name, backend, monkeypatch):
    platform, call = CALLS[backend]
    monkeypatch.setattr(jax, "default_backend", lambda: backend)
    update, args = update_of(name)
    particles = jax.tree.map(lambda x: np.stack([x, x]), args)
    run = jax.jit(jax.vmap(functools.partial(update, "pallas")))
    lowered = run.trace(*particles).lower(lowering_platforms=(platform,))
    assert call in lowered.as_text()


def test_padding_is_no_part_of_sums(interpreted):
    """The interpreter pads with NaN, so that a sum over a whole block could not be finite."""
    x = jnp.asarray(np.random.default_rng(0).normal(size=(2, *SHAPE)), jnp.float32)
    rows = x[:, :, :1]
    with kernels.update_kernel("pallas"):
        found = kernels.means(lambda fields: list(fields), (x, rows), SHAPE)
    expected = np.concatenate([x.mean((1, 2)), rows.mean((1, 2))])
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)


def test_derivatives_are_those_of_jnp():
    x, weight = np.float32([np.linspace(0.1, 1.0, 600)]), np.float32([[3.0]])

    def loss(kernel, theta):
        def scale(theta, state, inputs):
            return theta[0, 0] * inputs[0] * state[0], jnp.square(state)

        with kernels.update_kernel(kernel):
            step, state = kernels.update(scale, theta, jnp.asarray(x), x + 1.0, (600,))
            return jnp.sum(step) + theta[0, 0] * kernels.means(jnp.square, state, (600,))[0]

    found, expected = (jax.grad(functools.partial(loss, k))(weight) for k in ("pallas", "jnp"))
    np.testing.assert_allclose(found, expected, rtol=1e-5)


@pytest.mark.parametrize(
    ("fields", "shape", "taken"),
    [
        ([(3, 30, 20), (3, 30, 1), (3, 1, 20), (3, 1, 1)], (30, 20), True),
        ([(3, 600), (1, 600)], (600,), True),
        ([(1, 4, 30, 20), (1, 4, 1, 20), (1, 1, 1, 1)], (4, 30, 20), True),
        ([(1, 4, 5, 30, 20), (1, 1, 5, 30, 20)], (4, 5, 30, 20), False),
        ([(3, 16, 32)], (16, 32), False),  # small
        ([(1,)], (), False),
    ],
)
def test_what_a_kernel_takes(fields, shape, taken, monkeypatch):
    fields = [jnp.zeros(x) for x in fields]
    assert not kernels.takes(fields, shape)
    with kernels.update_kernel("auto"):
        assert not kernels.takes(fields, shape)
    with kernels.update_kernel("pallas"):
        assert kernels.takes(fields, shape) == taken
        monkeypatch.setattr(jax, "device_count", lambda: 2)
        assert not kernels.takes(fields, shape)


def test_a_kernel_is_chosen_for_an_optimizer_or_an_execution():
    rule = lopt.LOPTS["mlp"](hidden=(2,))
    tx = rule.bind(draw_theta(rule))
    params = {"w": jnp.zeros(SHAPE, jnp.bfloat16)}
    state = tx.init(params)
    chosen = lopt.with_options(tx, update_kernel="pallas", weight_decay=0.1)
    assert uses_kernel(chosen.update, params, chosen.init(params), params)
    assert not uses_kernel(tx.update, params, state, params)
    for choose in (functools.partial(lopt.with_options, tx), Execution):
        with pytest.raises(ValueError, match=r"update_kernel = 'triton' must be one of auto, jnp"):
            choose(update_kernel="triton")


def test_parameters_may_be_bfloat16(interpreted):
    update, (theta, grads, state, params) = update_of("mlp")
    half = jax.tree.map(lambda x: jnp.asarray(x, jnp.bfloat16), (grads, params))
    found, expected = (
        jax.jit(functools.partial(update, x))(theta, half[0], state, half[1])
        for x in ("pallas", "jnp")
    )
    assert found[0]["w"].dtype == jnp.bfloat16
    assert_close(found, expected, 2.0**-8)  # rounded once
