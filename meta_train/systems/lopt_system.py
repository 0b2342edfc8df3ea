"""Training a task with a learned optimizer, as an unrolled system.

The one bridge between learned optimizers and tasks on one side and gradient estimators on the
other.
"""

from typing import Any, NamedTuple

import flax.struct
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from lopt.averages import evaluation_params
from lopt.base import LearnedOptimizer
from meta_train.objective import MetaObjective
from meta_train.systems.inner_step import inner_step
from meta_train.types import Theta, UnrolledSystem
from tasks.base import Task


class LoptState(NamedTuple):
    """One inner training run."""

    params: Any
    opt_state: Any
    cfg: Any
    """The sampled member of the task family."""
    horizon: Int[Array, ""]
    """T of this run, in inner steps, with which the optimizer is bound."""
    key_eval: jax.Array
    """Gives the batches on which the episode is judged, where one batch serves all of it."""
    first_loss: Float[Array, ""]
    """Inner loss at initialisation."""
    last_loss: Float[Array, ""]
    """Shaped inner loss after the step before; 0 before the first."""


@flax.struct.dataclass
class LoptSystem(UnrolledSystem):
    """Inner training of ``task`` by ``learned_optimizer``; theta are the optimizer's.

    Args:
        learned_optimizer: what is meta-trained.
        task: the inner problem; its data are leaves of this pytree.
        objective: what an inner step contributes to the meta-loss.
        unit: positive number by which losses are divided, so that tasks of different sizes of
            loss can be weighed against each other. With the mean loss of a reference optimizer,
            such as the first theta, the mean over tasks has the gradient that their mean log loss
            has there.
        valid_unit: the same for the validation loss, where the objective has both.
    """

    learned_optimizer: LearnedOptimizer = flax.struct.field(pytree_node=False)
    task: Task
    objective: MetaObjective = flax.struct.field(pytree_node=False, default=MetaObjective())
    unit: Any = 1.0
    valid_unit: Any = 1.0

    def init_theta(self, key: jax.Array) -> Theta:
        return self.learned_optimizer.init(key)

    def init(self, key: jax.Array, theta: Theta, horizon: Int[Array, ""]) -> LoptState:
        key_cfg, key_params, key_eval, key_first = jax.random.split(key, 4)
        cfg = self.task.sample(key_cfg)
        params = self.task.init(key_params, cfg)
        opt_state = self.learned_optimizer.bind(theta, horizon).init(params)
        first_loss = self._judge(key_first, cfg, params)
        return LoptState(params, opt_state, cfg, horizon, key_eval, first_loss, jnp.zeros(()))

    def step(
        self, key: jax.Array, theta: Theta, state: LoptState
    ) -> tuple[LoptState, Float[Array, ""]]:
        key_batch, key_loss, key_judge = jax.random.split(key, 3)
        optimizer = self.learned_optimizer.bind(theta, state.horizon)
        params, opt_state, loss = inner_step(
            self.task, optimizer, state.cfg, state.params, state.opt_state, key_batch, key_loss
        )
        loss = self.objective.apply(loss.astype(jnp.float32), state.first_loss)
        if self.objective.uses_training_loss:
            loss = loss / self.unit
        else:
            key_judge = state.key_eval if self.objective.kind == "final" else key_judge
            judged = self._judge(key_judge, state.cfg, evaluation_params(opt_state, params))
            judged = self.objective.apply(judged, state.first_loss)
            loss = self._mix(loss, judged)
        meta_loss = loss
        if self.objective.kind == "final":
            meta_loss = state.horizon * (loss - state.last_loss)
        next_state = state._replace(params=params, opt_state=opt_state, last_loss=loss)
        return next_state, meta_loss

    def _mix(self, loss: Float[Array, ""], judged: Float[Array, ""]) -> Float[Array, ""]:
        """What the objective makes of the training loss of a step and of the other one."""
        if self.objective.split != "mixed":
            return judged / self.unit
        weight = self.objective.valid_weight
        return (1.0 - weight) * loss / self.unit + weight * judged / self.valid_unit

    def _judge(self, key: jax.Array, cfg: Any, params: Any) -> Float[Array, ""]:
        """Loss, or error, of ``params`` on a batch of the objective's split."""
        key_batch, key_loss = jax.random.split(key)
        split = "train" if self.objective.split == "train" else "valid"
        batch = self.task.batch(key_batch, cfg, split)
        loss, metrics = self.task.loss(key_loss, cfg, params, batch)
        if self.objective.measure == "error":
            loss = 1.0 - metrics["accuracy"]
        return loss.astype(jnp.float32)
