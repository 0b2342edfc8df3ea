"""What the tests of every registered rule share."""

import jax
import jax.numpy as jnp
import numpy as np

import lopt

HORIZON = 50
SCHEDULES = [("sgd_schedule", {"schedule": s}) for s in ("linear", "inverse_time")]
VARIANTS = [*((name, {}) for name in lopt.LOPTS), *SCHEDULES]


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
