"""A multilayer perceptron applied to every parameter by itself (``mlp``).

Step of one parameter with gradient g, value p and momenta m_k, at inner step t:

    (d, a) = MLP(g, p, m_1, ..., m_6 | tanh(t / x_1 - 1), ..., tanh(t / x_11 - 1))
    p <- p - d * exp(exp_mult * a) * step_mult

where the first eight inputs are each divided by their root mean square over the tensor. The first
theta makes small steps down along m_3, the momentum with the decay 0.9
(``per_parameter.point_down``).

References:
    [1] Metz et al. 2019, "Understanding and correcting pathologies in the training of learned
        optimizers", https://arxiv.org/abs/1810.10180
    [2] Metz et al. 2022, "Practical tradeoffs between memory, compute, and performance in learned
        optimizers", https://arxiv.org/abs/2203.11860
"""

import dataclasses
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Array, Int

from lopt import per_parameter, transform
from lopt.base import LearnedOptimizer, StepInputs, Theta
from lopt.kernels import Fields

MOMENTUM_DECAYS = (0.1, 0.5, 0.9, 0.99, 0.999, 0.9999)
MOMENTUM_RATES = (1.0 - np.array(MOMENTUM_DECAYS)).astype(np.float32)
SQUARE_SCALE = 2.0**-32
"""Keeps the rule right for gradients up to 1e28; 1e-9 is still far below the RMS's epsilon."""
DESCENT_FEATURE = 2 + MOMENTUM_DECAYS.index(0.9)
"""The momentum that the first theta follows."""
NUM_INPUTS = 2 + len(MOMENTUM_DECAYS) + len(per_parameter.TIMESCALES)


class MLPState(NamedTuple):
    """State of ``mlp``: six float32 numbers per parameter."""

    count: Int[Array, ""]  # pyright: ignore[reportIncompatibleMethodOverride]
    momenta: Any
    """Tree like the parameters with leaves ``[6, *shape]``."""


@dataclasses.dataclass(frozen=True)
class MLPLopt(LearnedOptimizer):
    """The 19-feature MLP of Metz et al.; 1,762 meta-parameters by default.

    Attributes:
        hidden: widths of the hidden layers, at least 2.
        step_mult: scale of the step.
        exp_mult: scale of the magnitude output within the exponential.
    """

    hidden: tuple[int, ...] = (32, 32)
    step_mult: float = 0.001
    exp_mult: float = 0.001

    def __post_init__(self) -> None:
        object.__setattr__(self, "hidden", transform.check_widths("hidden", self.hidden, 2))

    def init(self, key: jax.Array) -> Theta:
        """Draw theta: ``{"mlp": {"w0": [19, 32], "b0": [32], ...}}``."""
        net = per_parameter.init_net(key, (NUM_INPUTS, *self.hidden, 2))
        return {"mlp": per_parameter.point_down(net, DESCENT_FEATURE)}

    def init_state(self, theta: Theta, params: Any) -> MLPState:
        momenta = transform.zeros_like(params, len(MOMENTUM_DECAYS))
        return MLPState(transform.zero_count(), momenta)

    def step(self, theta: Theta, state: MLPState, inputs: StepInputs) -> tuple[Any, MLPState]:
        constants = per_parameter.time_features(state.count)
        net = per_parameter.fold_constants(theta["mlp"], constants)
        combine = per_parameter.direction_and_magnitude(self.step_mult, self.exp_mult)

        advance = per_parameter.advance_by(_advance, combine, square_scale=SQUARE_SCALE)

        def step_leaf(
            param: jax.Array, grad: jax.Array, momenta: jax.Array
        ) -> tuple[jax.Array, jax.Array]:
            rates = transform.constants(MOMENTUM_RATES, grad.ndim)
            return advance(net, momenta, (grad[None], param[None], rates))

        new = jax.tree.map(step_leaf, inputs.params, inputs.grads, state.momenta)
        steps, momenta = (jax.tree.map(lambda _, x, i=i: x[i], inputs.grads, new) for i in range(2))
        return steps, MLPState(transform.increment(state.count), momenta)


def _advance(momenta: Fields, inputs: Fields) -> tuple[list[Fields], Fields]:
    """Features of every parameter, and its next momenta."""
    grad, param, rates = inputs
    momenta = transform.moving_averages(momenta, grad, rates)
    return [grad, param, momenta], momenta
