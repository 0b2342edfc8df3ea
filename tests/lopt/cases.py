"""What the tests of every registered rule share."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import lopt

HORIZON = 50
SCHEDULES = [("sgd_schedule", {"schedule": s}) for s in ("linear", "inverse_time")]
REPEATS = [("celo2_base", {}), *SCHEDULES]
"""Of a rule that is there already; its tests by default are those of that rule."""
VARIANTS = [
    *((name, {}) for name in lopt.LOPTS if name != "celo2_base"),
    *(pytest.param(variant, marks=pytest.mark.slow) for variant in REPEATS),
]


def variant_id(variant):
    name, fields = variant
    return "-".join([name, *map(str, fields.values())])


def draw_theta(rule, seed=0):
    """Meta-parameters of which every part matters; nothing is compiled to draw them."""
    draw = np.random.default_rng(seed).normal
    shapes = jax.eval_shape(rule.init, jax.random.key(0))
    return jax.tree.map(lambda x: jnp.asarray(draw(0, 0.1, x.shape), x.dtype), shapes)


def draw_params(seed=0):
    draw = np.random.default_rng(seed).normal

    def leaf(*shape):
        return jnp.asarray(draw(size=shape), jnp.float32)

    half = leaf(5).astype(jnp.bfloat16)
    return {
        "a": {"s": leaf(), "b": half.astype(jnp.float32), "w": leaf(6, 4)},
        "c": (leaf(3, 1, 2, 5), leaf(0, 3), leaf(6, 4)),
        "half": half,
    }


def types(tree):
    """Shapes, dtypes and whether they are weak, of arrays, traced ones and shapes alike."""
    return jax.tree.map(lambda x: (x.shape, x.dtype, x.weak_type), jax.tree.map(jax.typeof, tree))


def assert_close(found, expected, tolerance=1e-5):
    """Equal up to a part of every tensor's largest number: what sums in another order may do.

    By default twice the 5e-6 by which one program may be off (``rnn_mlp`` is by 4e-6, of a
    comparison with float64 in test_recurrent_reference.py).
    """
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        largest = np.max(np.abs(b), initial=0.0)
        np.testing.assert_allclose(a, b, rtol=0, atol=tolerance * largest)


@functools.cache
def converts_float16():
    """Whether XLA can: not for a CPU that is asked for nothing newer than SSE4.2."""
    try:
        jax.jit(lambda x: x.astype(jnp.float16))(jnp.float32(1.0))
    except jax.errors.JaxRuntimeError:
        return False
    return True
