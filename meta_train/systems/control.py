"""Control: an environment with a policy whose parameters are theta, as an unrolled system.

[1] Mania, Guy and Recht, "Simple random search of static linear policies is competitive for
    reinforcement learning", NeurIPS 2018, arXiv:1803.07055.
"""

import abc
from typing import Any, ClassVar

import flax.struct
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from meta_train.types import Theta, UnrolledSystem

Physics = Any
"""State of an environment: a pytree of arrays."""


class Environment(abc.ABC):
    """What a policy acts in; a frozen dataclass registered as a pytree, as systems are."""

    num_actions: ClassVar[int]

    @abc.abstractmethod
    def reset(self, key: jax.Array) -> Physics:
        """State at the start of an episode."""

    @abc.abstractmethod
    def observe(self, state: Physics) -> Float[Array, " observations"]:
        """What the policy sees of a state."""

    @abc.abstractmethod
    def step(
        self, state: Physics, action: Float[Array, " actions"]
    ) -> tuple[Physics, Float[Array, ""]]:
        """Take a step; return the next state and the reward. The action may have any size."""


@flax.struct.dataclass
class LinearPolicy(UnrolledSystem):
    """A linear policy, actions = W observations [1], with the negative reward as the loss.

    Args:
        environment: acted in; its arrays are leaves of this pytree.
    """

    environment: Any

    def init_theta(self, key: jax.Array) -> Theta:
        """W of zeros: a policy that does nothing."""
        state = jax.eval_shape(self.environment.reset, key)
        observations = jax.eval_shape(self.environment.observe, state)
        return {"weights": jnp.zeros((self.environment.num_actions, *observations.shape))}

    def init(self, key: jax.Array, theta: Theta, horizon: Int[Array, ""]) -> Physics:
        del theta, horizon
        return self.environment.reset(key)

    def step(
        self, key: jax.Array, theta: Theta, state: Physics
    ) -> tuple[Physics, Float[Array, ""]]:
        del key
        action = theta["weights"] @ self.environment.observe(state)
        state, reward = self.environment.step(state, action)
        return state, -reward
