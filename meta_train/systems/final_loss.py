"""Any system with the loss after its last inner step as the meta-loss of the episode.

[1] Vicol, Kolter and Swersky, "Low-Variance Gradient Estimation in Unrolled Computation Graphs
    with ES-Single", ICML 2023, arXiv:2304.11153, eq. 6.
"""

from typing import Any, NamedTuple

import flax.struct
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from meta_train.types import Theta, UnrolledSystem


class Telescope(NamedTuple):
    """The state of the system within, and what its losses are set against."""

    inner: Any
    horizon: Int[Array, ""]
    """T of the episode."""
    last_loss: Float[Array, ""]
    """L_{t-1}; 0 before the first step."""


@flax.struct.dataclass
class FinalLoss(UnrolledSystem):
    """Inner step t has the loss T (L_t - L_{t-1}) with L_0 = 0, so that their mean is L_T.

    Written as a sum over inner steps the last loss is seen by estimators that work by truncations
    too; see ``telescoped`` of ``GradientEstimator``. Where T is random, their
    ``mean_over = "episodes"`` makes J = E[L_T]; "steps" weighs the last losses by T. The training
    of a task has the same by ``MetaObjective``, which judges all of an episode on one batch too.

    Args:
        system: whose losses L_t are meant; its episodes must end.
    """

    system: Any

    def init_theta(self, key: jax.Array) -> Theta:
        return self.system.init_theta(key)

    def init(self, key: jax.Array, theta: Theta, horizon: Int[Array, ""]) -> Telescope:
        return Telescope(self.system.init(key, theta, horizon), horizon, jnp.zeros(()))

    def step(
        self, key: jax.Array, theta: Theta, state: Telescope
    ) -> tuple[Telescope, Float[Array, ""]]:
        inner, loss = self.system.step(key, theta, state.inner)
        return Telescope(inner, state.horizon, loss), state.horizon * (loss - state.last_loss)
