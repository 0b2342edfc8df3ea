"""The estimators' interface carries RTRL, as one short file: it is exact for a recurrent net."""

from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

from meta_train import UnrolledSystem
from meta_train.horizons import ConstantHorizon
from tests.meta_train.rtrl import RTRL

T, K = 7, 3
THETA = {
    "recurrent": np.linspace(-0.6, 0.5, 9).reshape(3, 3),
    "input": np.array([0.4, -0.3, 0.2]),
    "start": np.array([0.1, 0.2, -0.1]),
}


@flax.struct.dataclass
class RecurrentNet(UnrolledSystem):
    """Three tanh units that predict their next input; the state holds a key and a step as well."""

    inputs: Any

    def init(self, key, theta, horizon):
        return theta["start"], jnp.zeros((), jnp.int32), key

    def step(self, key, theta, state):
        units, t, own_key = state
        units = jnp.tanh(theta["recurrent"] @ units + theta["input"] * self.inputs[t])
        loss = jnp.square(jnp.sum(units) - self.inputs[t + 1])
        return (units, t + 1, own_key), loss


def test_it_matches_autodiff_in_float64():
    with jax.enable_x64(True):
        theta = jax.tree.map(lambda x: jnp.asarray(x, jnp.float64), THETA)
        system = RecurrentNet(jnp.sin(jnp.arange(T + 1, dtype=jnp.float64)))
        rtrl = RTRL(ConstantHorizon(T), K, staggered=False)
        key = jax.random.key(0)

        def mean_loss(theta):
            state = system.init(key, theta, jnp.int32(T))
            total = 0.0
            for _ in range(T):
                state, loss = system.step(key, theta, state)
                total += loss
            return total / T

        state = rtrl.init(system, key, theta)
        estimate = jax.jit(lambda state: rtrl.estimate(system, key, theta, state))
        grads = []
        for _ in range(-(-T // K)):
            result, state = estimate(state)
            grads.append(ravel_pytree(result.grad)[0])
        expected = ravel_pytree(jax.jit(jax.grad(mean_loss))(theta))[0]
        np.testing.assert_allclose(np.mean(grads, axis=0), expected, rtol=1e-6)
        assert not np.allclose(grads[0], expected, rtol=1e-2)  # one truncation is not the episode
