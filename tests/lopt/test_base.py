"""How a rule of one's own becomes an Optax optimizer, and what the base refuses."""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import lopt
from lopt import transform


class TinyState(NamedTuple):
    count: jax.Array


@dataclasses.dataclass(frozen=True)
class Tiny(lopt.LearnedOptimizer):
    """As little as a rule can be."""

    def init(self, key):
        return {"rate": jnp.float32(0.1)}

    def init_state(self, theta, params):
        return TinyState(transform.zero_count())

    def step(self, theta, state, inputs):
        assert all(x.dtype == jnp.float32 for x in jax.tree.leaves(inputs[:3]))
        factor = -theta["rate"] * (1.0 if inputs.value is None else inputs.value)
        steps = jax.tree.map(lambda g, p: factor * g * jnp.abs(p), inputs.grads, inputs.params)
        return steps, TinyState(transform.increment(state.count))


@dataclasses.dataclass(frozen=True)
class Own(lopt.LearnedOptimizer):
    """Makes its optimizer itself."""

    def init(self, key):
        return {"rate": jnp.float32(0.1)}

    def bind(self, theta, num_steps=None):
        return optax.with_extra_args_support(optax.sgd(theta["rate"]))


def test_a_rule_of_two_functions():
    tx = Tiny().bind(Tiny().init(jax.random.key(0)))
    params = {"a": jnp.full(2, -2.0, jnp.bfloat16), "b": np.full(3, 3.0, np.float32)}
    grads = {"a": jnp.ones(2, jnp.bfloat16), "b": np.ones(3)}
    updates, state = tx.update(grads, tx.init(params), params, value=jnp.bfloat16(2.0))
    assert (updates["a"].dtype, updates["b"].dtype) == (jnp.bfloat16, jnp.float32)
    np.testing.assert_allclose(updates["a"].astype(float), -0.4, rtol=2**-8)
    np.testing.assert_allclose(updates["b"], -0.6, rtol=1e-6)
    assert int(state.count) == 1
    updates, _ = tx.update(grads, state, params)
    np.testing.assert_allclose(updates["b"], -0.3, rtol=1e-6)


def test_a_rule_that_binds_itself():
    tx = Own().bind(Own().init(jax.random.key(0)), 10)
    updates, _ = tx.update(jnp.ones(3), tx.init(jnp.ones(3)), value=jnp.float32(1.0))
    np.testing.assert_allclose(updates, -0.1, rtol=1e-6)
    with pytest.raises(NotImplementedError, match="Own defines bind alone"):
        Own().init_state({}, {})
    with pytest.raises(NotImplementedError, match="Own defines bind alone"):
        Own().step({}, (), lopt.StepInputs({}, {}, None, None))


def test_binding_may_be_wrapped():
    @dataclasses.dataclass(frozen=True)
    class Clipped(Tiny):
        def bind(self, theta, num_steps=None):
            return optax.chain(optax.clip(0.5), super().bind(theta, num_steps))

    tx = Clipped().bind(Clipped().init(jax.random.key(0)))
    updates, _ = tx.update(jnp.full(2, 9.0), tx.init(jnp.ones(2)), jnp.ones(2))
    np.testing.assert_allclose(updates, -0.05, rtol=1e-6)


@pytest.mark.parametrize("given", [(), ("init_state",), ("step",)])
def test_half_a_rule_is_refused(given):
    methods = {name: getattr(Tiny, name) for name in ("init", *given)}
    with pytest.raises(TypeError, match="Half must define init_state and step, or bind alone"):
        type("Half", (lopt.LearnedOptimizer,), methods)


def test_params_are_needed():
    tx = Tiny().bind({"rate": 0.1})
    with pytest.raises(ValueError, match="Tiny looks at the parameters, but update"):
        tx.update(jnp.ones(3), tx.init(jnp.ones(3)))


def test_loss_must_be_a_scalar():
    tx, params = Tiny().bind({"rate": 0.1}), jnp.ones(3)
    with pytest.raises(ValueError, match=r"value has shape \(3,\), but must be the training loss"):
        tx.update(params, tx.init(params), params, value=jnp.ones(3))


def test_progress_is_exactly_one_at_the_end():
    ends = jnp.arange(1, 3000)
    assert np.all(jax.jit(jax.vmap(transform.progress))(ends, ends) == 1.0)
    # 41 * float32(1 / 41) is not 1: what compilers make of a constant must not show.
    for end in (41, 47, 55):
        progress = jax.jit(lambda t, end=end: transform.progress(t, end))
        assert progress(jnp.int32(end)) == 1.0
        assert progress(jnp.int32(end - 1)) < 1.0 < progress(jnp.int32(end + 1))
