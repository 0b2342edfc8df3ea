"""Every registered rule thinks in float32, whatever the parameters' dtype and with x64 or not."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import lopt
from tests.lopt.cases import HORIZON, VARIANTS, converts_float16, draw_theta, types, variant_id

SHAPES = {"bfloat16": (5,), "float16": (2, 3), "float32": (), "float64": (6, 4)}


def is_type(x):
    return isinstance(x, tuple) and len(x) == 3 and isinstance(x[1], np.dtype)


@pytest.mark.parametrize("variant", VARIANTS, ids=variant_id)
def test_types_are_stable(variant):
    """From the initial state through two updates, in scan; the numbers are looked at with x64."""
    name, fields = variant
    rule = lopt.LOPTS[name](**fields)
    theta = draw_theta(rule)
    draw = np.random.default_rng(0).normal
    numbers = {dtype: draw(size=shape) for dtype, shape in SHAPES.items()}

    def trace():
        assert types(jax.eval_shape(rule.init, jax.random.key(0))) == types(theta)
        params = {
            dtype: jnp.asarray(x, dtype)
            for dtype, x in numbers.items()
            if dtype != "float64" or jax.config.jax_enable_x64
        }
        # With x64 the horizon is an int64.
        tx = rule.bind(theta, jnp.asarray(HORIZON))
        start = types(jax.eval_shape(tx.init, params))
        dtypes = {(dtype, weak) for _, dtype, weak in jax.tree.leaves(start, is_leaf=is_type)}
        assert dtypes <= {(jnp.dtype("int32"), False), (jnp.dtype("float32"), False)}

        def body(carry, factor):
            params, state = carry
            grads = jax.tree.map(lambda p: factor.astype(p.dtype) * p, params)
            # The loss has another dtype than most parameters.
            updates, after = tx.update(grads, state, params, value=grads["float16"][0, 0])
            assert types(updates) == types(params)
            assert types(after) == start
            return (optax.apply_updates(params, updates), after), updates

        def train(params, factors):
            return jax.lax.scan(body, (params, tx.init(params)), factors)

        return jax.jit(train).trace(params, np.array([1.0, 2.0])), params

    trace()
    with jax.enable_x64(True):
        traced, params = trace()
        if not converts_float16():
            pytest.skip("XLA does not convert float16 with these instructions; types were right.")
        found = jax.device_get(traced.lower().compile()(params, np.array([1.0, 2.0])))
    assert all(np.all(np.isfinite(x)) for x in jax.tree.leaves(found))
    assert all(np.all(u != 0) for u in jax.tree.leaves(found[1]))
