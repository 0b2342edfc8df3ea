"""Influence balancing: a linear system in which the near past misleads about the far one.

[1] Tallec and Ollivier, "Unbiasing Truncated Backpropagation Through Time", 2017,
    arXiv:1705.08209.
[2] Vicol, Metz and Sohl-Dickstein, "Unbiased Gradient Estimation in Unrolled Computation Graphs
    with Persistent Evolution Strategies", ICML 2021, arXiv:2112.13835.
"""

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from meta_train.types import Theta, UnrolledSystem

State = Float[Array, " units"]


@flax.struct.dataclass
class InfluenceBalancing(UnrolledSystem):
    """s <- A s + theta v, with the loss (s_1 - 1)^2 / 2 of the new state, for ever.

    A has 1/2 on its diagonal and on the one above it, v is 1 for the first units and -1 for the
    others. Within a few steps theta moves s_1 up, by the units near it; in the long run, where all
    units have come through, it moves it down, if there are more of the others. So a gradient of
    short truncations has the wrong sign.

    Args:
        num_positive: units through which theta moves s_1 up.
        num_negative: the others; s_1 tends to 2 (num_positive - num_negative) theta.
        first_theta: that meta-training starts at.
    """

    num_positive: int = flax.struct.field(pytree_node=False, default=10)
    num_negative: int = flax.struct.field(pytree_node=False, default=13)
    first_theta: float = flax.struct.field(pytree_node=False, default=0.5)

    def init_theta(self, key: jax.Array) -> Theta:
        del key
        return {"theta": jnp.float32(self.first_theta)}

    def init(self, key: jax.Array, theta: Theta, horizon: Int[Array, ""]) -> State:
        del key, theta, horizon
        return jnp.ones(self.num_positive + self.num_negative)

    def step(self, key: jax.Array, theta: Theta, state: State) -> tuple[State, Float[Array, ""]]:
        del key
        signs = np.ones(len(state), np.float32)
        signs[self.num_positive :] = -1.0
        state = 0.5 * (state + jnp.append(state[1:], 0.0)) + theta["theta"] * signs
        return state, 0.5 * jnp.square(state[0] - 1.0)
