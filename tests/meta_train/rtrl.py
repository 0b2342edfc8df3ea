"""Real-time recurrent learning, written against the estimators' interface.

[1] Williams and Zipser, "A Learning Algorithm for Continually Running Fully Recurrent Neural
    Networks", Neural Computation, 1989.
"""

import dataclasses
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree

from meta_train.estimators.clocks import Clocks
from meta_train.types import GradientEstimator
from meta_train.unroll import differentiable, empty_state, unroll


class Forward(NamedTuple):
    """A system's state, and its derivative by theta."""

    state: Any
    influence: Any
    """ds/dtheta [S, P], S the number of floating-point elements of the state."""


@dataclasses.dataclass(frozen=True)
class RTRL(GradientEstimator):
    """Forward-mode differentiation that goes on from truncation to truncation.

        J_t = ds_t/ds_{t-1} J_{t-1} + ds_t/dtheta,   dl_t/dtheta = dl/ds J_{t-1} + dl/dtheta
        g = C / K * mean over particles of the truncation's sum of dl_t/dtheta

    Bias: none.
    Variance: of the system's own draws alone.
    Cost per meta-step: N K system steps and their P + S directional derivatives; N S P floats.
    """

    unbiased: ClassVar[bool] = True

    num_particles: int = 1
    staggered: bool = dataclasses.field(default=True, kw_only=True)

    @property
    def num_groups(self):
        return self.num_particles

    @property
    def clocks(self):
        length, count = self.steps_per_truncation, self.num_particles
        return Clocks(self.episodes, length, count, self.mean_over, self.staggered)

    def init(self, system, key, theta):
        state = empty_state(system, theta)
        num_floats = len(ravel_pytree(differentiable(state)[0])[0])
        influence = jnp.zeros((num_floats, len(ravel_pytree(theta)[0])))
        return self.clocks.start(key, Forward(state, influence))

    def estimate(self, system, key, theta, state):
        flat, unravel = ravel_pytree(theta)

        def floats(state):
            return ravel_pytree(differentiable(state)[0])[0]

        def truncation(keys, clock, carry):
            def begin():
                def first(flat):
                    state = system.init(keys.init, unravel(flat), clock.horizon)
                    return floats(state), state

                influence, state = jax.jacfwd(first, has_aux=True)(flat)
                return Forward(state, influence)

            def step(key, carry):
                leaves, rebuild = differentiable(carry.state)
                values, restore = ravel_pytree(leaves)

                def advance(values, flat):
                    state, loss = system.step(key, unravel(flat), rebuild(restore(values)))
                    return jnp.append(floats(state), loss), (state, loss)

                (by_state, by_theta), (state, loss) = jax.jacfwd(advance, (0, 1), has_aux=True)(
                    values, flat
                )
                derivative = by_state @ carry.influence + by_theta
                return Forward(state, derivative[:-1]), (loss, derivative[-1])

            carry = jax.lax.cond(clock.starts, begin, lambda: carry)
            carry, (loss, grad) = unroll(step, keys.unroll, carry, clock)
            return carry, grad, loss[None]

        return self.clocks.estimate(key, theta, state, truncation)
